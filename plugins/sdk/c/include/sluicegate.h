// Write Sluicegate plugins in C or C++: one record at a time, while records cross the boundary a batch a call.
//
//   static sg_outcome process(const sg_record *record) {
//     if (sg_is_null(record->value)) return SG_PASS;
//     sg_emit();
//     uint8_t *to = sg_write_value(record->value.size);
//     for (size_t i = 0; i < record->value.size; i++) to[i] = toupper(record->value.data[i]);
//     return SG_EMIT;
//   }
//   SLUICEGATE_PLUGIN(.name = "shout", .version = "0.1.0", .summary = "Writes values in capitals", .process = process)
//
// One thread calls a plugin, and an instance lives until it fails. What it keeps in static variables is therefore a
// cache, never the truth: the same record is to become the same again, whatever came before it.
#ifndef SLUICEGATE_H
#define SLUICEGATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
#include <string_view>
extern "C" {
#endif

// Bytes that are somebody else's: those of a record until `process` returns, those of a configuration for ever.
// `data` is NULL for null, which is not the same as empty.
typedef struct {
  const uint8_t *data;
  size_t size;
} sg_bytes;

static inline bool sg_is_null(sg_bytes bytes) { return bytes.data == NULL; }
static inline sg_bytes sg_null(void) { sg_bytes null = {NULL, 0}; return null; }
// The bytes of a C string, without its end.
static inline sg_bytes sg_text(const char *text) { sg_bytes bytes = {(const uint8_t *)text, strlen(text)}; return bytes; }
// These bytes, never null.
static inline sg_bytes sg_of(const void *data, size_t size) {
  sg_bytes bytes = {data ? (const uint8_t *)data : (const uint8_t *)"", size};
  return bytes;
}
static inline bool sg_equal(sg_bytes a, sg_bytes b) {
  return sg_is_null(a) == sg_is_null(b) && a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}
// Whether the bytes are legal UTF-8.
bool sg_is_utf8(sg_bytes bytes);

// ---- A record -------------------------------------------------------------------------------------------------------

// The timestamp of a record that has none.
#define SG_NO_TIMESTAMP INT64_MIN

typedef struct {
  sg_bytes topic;     // UTF-8
  uint32_t partition;
  uint64_t offset;    // increasing, with gaps where the log was compacted
  int64_t timestamp;  // milliseconds since the Unix epoch, or SG_NO_TIMESTAMP
  sg_bytes key;
  sg_bytes value;     // null is a tombstone
  size_t index;       // the record's number in its batch; for the SDK's own use
} sg_record;

typedef struct {
  sg_bytes name;
  sg_bytes value;
} sg_header;

// Where an iteration over a record's headers stands.
typedef struct {
  size_t left, header, name_at, value_at;
} sg_headers;

// Begins an iteration: for (sg_headers at = sg_headers_of(record); sg_next_header(&at, &header);) …
// In order, and with duplicates.
sg_headers sg_headers_of(const sg_record *record);
// The next header; false at the end.
bool sg_next_header(sg_headers *at, sg_header *header);
// The last header of this name, the one that counts where there are several; false where there is none.
bool sg_find_header(const sg_record *record, const char *name, sg_header *header);

// The record's timestamp where a program would look at a clock, so that it is the same whenever the record is processed.
// Milliseconds since the epoch; 0 where there is no timestamp.
int64_t sg_now(const sg_record *record);

// Random numbers of a record's own: the same whenever the record is processed, other ones in another stage. SplitMix64.
typedef struct {
  uint64_t state;
} sg_random;

sg_random sg_random_of(const sg_record *record);
uint64_t sg_next_u64(sg_random *random);
// Below `bound`; 0 where that is 0.
uint64_t sg_next_below(sg_random *random, uint64_t bound);
// From 0 up to, but never, 1.
double sg_next_f64(sg_random *random);

// ---- What becomes of it ---------------------------------------------------------------------------------------------

// Zero is none of these, and fails the record.
typedef enum {
  SG_DROP = 1, // nothing is produced; the record counts as done
  SG_PASS,     // it goes on as it came
  SG_EMIT,     // what was begun by sg_emit goes on in its place; without any, it is dropped
  SG_REJECT,   // the stage's failure policy decides; return sg_reject(…), which gives the reason
} sg_outcome;

// SG_REJECT with a reason, in the manner of printf; cut after 1,023 bytes.
sg_outcome sg_reject(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Begins an output, of which the functions below speak. It inherits key, value, headers and timestamp of its record, and
// takes the pipeline's default output; what is inherited never crosses the boundary. Setting something twice keeps the
// last. Of any other outcome than SG_EMIT nothing that was written remains.
void sg_emit(void);
void sg_set_key(sg_bytes key);
void sg_set_value(sg_bytes value);
// Room for a value of this many bytes, to be filled before the next call of the SDK: no copy.
uint8_t *sg_write_value(size_t size);
// Milliseconds since the Unix epoch, or SG_NO_TIMESTAMP: then it goes out without, whatever its record has.
void sg_set_timestamp(int64_t timestamp);
// Adds a header after those that are there: the inherited ones, unless they were cleared.
void sg_add_header(sg_bytes name, sg_bytes value);
// Removes all headers, the inherited ones too.
void sg_clear_headers(void);

// Where an output goes.
typedef int32_t sg_output;
#define SG_DEFAULT_OUTPUT ((sg_output)-1)
void sg_set_output(sg_output output);

// ---- How a plugin starts --------------------------------------------------------------------------------------------

typedef struct sg_config sg_config;
typedef struct sg_error sg_error;

// A value of the configuration by its key, or `otherwise` where the key is missing or of another type: the schema sees to
// types before the plugin starts. Keys below others have a dot between: "limits.above". Texts are UTF-8, with a zero
// byte behind them.
sg_bytes sg_config_text(const sg_config *config, const char *key, sg_bytes otherwise);
// 1000.0 and 1e3 are integers too, as in JSON Schema; panics where the number is no integer of 64 bits.
int64_t sg_config_integer(const sg_config *config, const char *key, int64_t otherwise);
double sg_config_number(const sg_config *config, const char *key, double otherwise);
bool sg_config_flag(const sg_config *config, const char *key, bool otherwise);
// The whole of it as JSON, for a parser of your own.
sg_bytes sg_config_json(const sg_config *config);

// The names of the pipeline's outputs, in its order; null past the end.
sg_bytes sg_output_name(size_t index);
// Finds an output by its name. False, and an error that says which there are, where there is none.
bool sg_find_output(const char *name, sg_output *output, sg_error *error);
// Why a plugin does not start, in the manner of printf; returns false, so that `configure` can return it.
bool sg_fail(sg_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
// The words of the error, with a zero byte behind them.
const char *sg_error_text(const sg_error *error);
struct sg_error { char text[1024]; };

typedef struct {
  const char *name, *version, *summary;
  // JSON Schema (2020-12) of the configuration. NULL: there is nothing to set, and any key is refused.
  const char *config_schema;
  // Called once, before the first record; may be NULL. False keeps the pipeline from starting, and shows the error.
  bool (*configure)(const sg_config *config, sg_error *error);
  // Called for each record, in the order of its partition.
  sg_outcome (*process)(const sg_record *record);
} sg_plugin;

extern const sg_plugin sluicegate_plugin;

// Once in a plugin, at file level: what it is. Fields are named, in the order above.
#ifdef __cplusplus
#define SLUICEGATE_PLUGIN(...) extern "C" const sg_plugin sluicegate_plugin = {__VA_ARGS__};
#else
#define SLUICEGATE_PLUGIN(...) const sg_plugin sluicegate_plugin = {__VA_ARGS__};
#endif

// ---- Log, counters, panics ------------------------------------------------------------------------------------------

typedef enum { SG_TRACE, SG_DEBUG, SG_INFO, SG_WARN, SG_ERROR } sg_level;

// A line in the runtime's log, in the manner of printf; cut after 1,023 bytes. It crosses the boundary at once, so one a
// record costs more than the record: use sg_count for what is usual.
void sg_log(sg_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Adds to the stage's counter `plugin_<name>`: at most 64 of a-z0-9_, and 32 names a plugin. Crosses the boundary once a
// batch, after its last record; a batch that is run again after that counts again. `name` has to stay as it is: a
// literal.
void sg_count(const char *name, uint64_t by);

// Fails the record, with these words and the place in the source as the reason. assert() does the same.
#define sg_panic(...) sg_panic_at(__FILE__, __LINE__, __VA_ARGS__)
#ifdef __cplusplus
[[noreturn]]
#else
_Noreturn
#endif
void sg_panic_at(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));

#ifdef __cplusplus
}

// The bytes as a view; an empty one for null.
inline std::string_view sg_view(sg_bytes bytes) {
  return sg_is_null(bytes) ? std::string_view() : std::string_view(reinterpret_cast<const char *>(bytes.data), bytes.size);
}
// The bytes of a view, never null.
inline sg_bytes sg_of(std::string_view view) { return sg_of(view.data(), view.size()); }
#endif

#endif
