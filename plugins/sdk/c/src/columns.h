// The boundary as wit/plugin.wit has it in memory: lists are an address and a length, records are their fields.
#ifndef SLUICEGATE_COLUMNS_H
#define SLUICEGATE_COLUMNS_H

#include <sluicegate.h>

enum { SG_LENGTH_NULL = -1, SG_INHERIT = -2 };

typedef struct { const uint8_t *data; size_t size; } sg_list_u8;
typedef struct { const int32_t *at; size_t size; } sg_list_s32;
typedef struct { sg_list_u8 data; sg_list_s32 lengths; } sg_column;
typedef struct { sg_list_s32 counts; sg_column names, values; } sg_header_columns;

typedef struct {
  sg_list_u8 topic;
  uint32_t partition;
  struct { const uint64_t *at; size_t size; } offsets;
  struct { const int64_t *at; size_t size; } timestamps;
  sg_column keys, values;
  sg_header_columns headers;
} sg_batch;

typedef struct {
  sg_list_s32 outcomes;
  struct { const sg_list_u8 *at; size_t size; } reasons;
  sg_list_s32 to;
  struct { const int64_t *at; size_t size; } timestamps;
  sg_column keys, values;
  sg_header_columns headers;
} sg_outcomes;

_Static_assert(sizeof(sg_batch) == 100 && sizeof(sg_outcomes) == 104, "the layout of the component model on wasm32");

// The batch at hand, and the record in it.
extern const sg_batch *sg_this_batch;
extern const sg_record *sg_this_record;

// ---- The columns that go back (output.c): lazy, as an output writes only into those it differs in. ----

void sg_begin_batch(void);
void sg_close(sg_outcome outcome);
void sg_finish_batch(sg_outcomes *outcomes);

// Where the headers of records begin (record.c).
void sg_begin_headers(void);
// Puts a question mark for every byte that keeps a text from being UTF-8: the boundary refuses others.
void sg_make_utf8(char *text);
// The seed of the batch's records is made again when it is asked for (random.c).
void sg_begin_random(void);
// Hands on what was counted (plugin.c).
void sg_flush_counts(void);
// Parses the configuration, which stays where it is (config.c).
const sg_config *sg_config_of(sg_bytes json);
void sg_keep_outputs(const sg_list_u8 *names, size_t count);

// What the host gives.
__attribute__((import_module("sluicegate:plugin/log@0.1.0"), import_name("log")))
void sg_host_log(int32_t level, const uint8_t *line, size_t size);
__attribute__((import_module("sluicegate:plugin/metrics@0.1.0"), import_name("count")))
void sg_host_count(const uint8_t *name, size_t size, uint64_t by);
__attribute__((import_module("sluicegate:plugin/seed@0.1.0"), import_name("stage")))
uint64_t sg_host_stage_seed(void);

#endif
