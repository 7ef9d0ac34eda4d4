// What the runtime calls, and what a plugin says outside of records.
#include "columns.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define EXPORT(name) __attribute__((export_name(name)))

const sg_batch *sg_this_batch;
const sg_record *sg_this_record;

// ---- Memory for what the runtime passes ----

EXPORT("cabi_realloc") void *sg_realloc(void *old, size_t old_size, size_t align, size_t size) {
  (void)old_size;
  if (size == 0) return (void *)align;
  void *memory = realloc(old, size);
  if (!memory) __builtin_trap();
  return memory;
}

static void give_back(const void *memory, size_t size) {
  if (size) free((void *)memory);
}

static void give_back_column(const sg_column *column) {
  give_back(column->data.data, column->data.size);
  give_back(column->lengths.at, column->lengths.size);
}

// ---- describe, configure, process ----

EXPORT("sluicegate:plugin/lifecycle@0.1.0#describe") void *sg_describe(void) {
  static struct { sg_bytes name, version, summary; uint32_t has_schema; sg_bytes schema; } description;
  const sg_plugin *plugin = &sluicegate_plugin;
  description.name = sg_text(plugin->name ? plugin->name : "");
  description.version = sg_text(plugin->version ? plugin->version : "");
  description.summary = sg_text(plugin->summary ? plugin->summary : "");
  description.has_schema = 1;
  const char *nothing = "{\"type\":\"object\",\"additionalProperties\":false}";
  description.schema = sg_text(plugin->config_schema ? plugin->config_schema : nothing);
  return &description;
}

EXPORT("sluicegate:plugin/lifecycle@0.1.0#configure")
void *sg_configure(const uint8_t *json, size_t size, const sg_list_u8 *outputs, size_t count) {
  static struct { uint32_t failed; sg_bytes error; } result;
  static sg_error error;
  // Neither is given back: both are kept for as long as the instance lives.
  const sg_config *config = sg_config_of(sg_of(json, size));
  sg_keep_outputs(outputs, count);
  result.failed = sluicegate_plugin.configure && !sluicegate_plugin.configure(config, &error);
  sg_make_utf8(error.text);
  result.error = sg_text(error.text[0] ? error.text : "configure failed without a word");
  return &result;
}

// The next string of a column.
static sg_bytes next(const sg_column *column, size_t index, size_t *at) {
  int32_t length = column->lengths.at[index];
  if (length < 0) return sg_null();
  sg_bytes bytes = sg_of(column->data.data + *at, (size_t)length);
  *at += (size_t)length;
  return bytes;
}

EXPORT("sluicegate:plugin/batch-transform@0.1.0#process") void *sg_process(sg_batch *batch) {
  static sg_outcomes outcomes;
  sg_this_batch = batch;
  sg_begin_batch();
  sg_begin_headers();
  sg_begin_random();
  sg_record record = {.topic = sg_of(batch->topic.data, batch->topic.size), .partition = batch->partition};
  size_t key_at = 0, value_at = 0;
  for (size_t i = 0; i < batch->offsets.size; i++) {
    record.index = i;
    record.offset = batch->offsets.at[i];
    record.timestamp = batch->timestamps.at[i];
    record.key = next(&batch->keys, i, &key_at);
    record.value = next(&batch->values, i, &value_at);
    sg_this_record = &record;
    sg_close(sluicegate_plugin.process(&record));
  }
  sg_this_record = NULL;
  sg_flush_counts();
  sg_finish_batch(&outcomes);
  give_back(batch->topic.data, batch->topic.size);
  give_back(batch->offsets.at, batch->offsets.size);
  give_back(batch->timestamps.at, batch->timestamps.size);
  give_back_column(&batch->keys);
  give_back_column(&batch->values);
  give_back(batch->headers.counts.at, batch->headers.counts.size);
  give_back_column(&batch->headers.names);
  give_back_column(&batch->headers.values);
  free(batch);
  return &outcomes;
}

// ---- Log, counters, panics ----

static void log_line(sg_level level, char *line) {
  sg_make_utf8(line);
  sg_host_log((int32_t)level, (const uint8_t *)line, strlen(line));
}

void sg_log(sg_level level, const char *format, ...) {
  char line[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  log_line(level, line);
}

static struct { const char *name; uint64_t sum; } counts[32];

void sg_count(const char *name, uint64_t by) {
  size_t i = 0;
  while (i < 32 && counts[i].name && strcmp(counts[i].name, name) != 0) i++;
  // The runtime refuses a 33rd name too, and says so.
  if (i == 32) { sg_host_count((const uint8_t *)name, strlen(name), by); return; }
  counts[i].name = name;
  counts[i].sum += by;
}

void sg_flush_counts(void) {
  for (size_t i = 0; i < 32 && counts[i].name; i++) {
    if (counts[i].sum) sg_host_count((const uint8_t *)counts[i].name, strlen(counts[i].name), counts[i].sum);
    counts[i].sum = 0;
  }
}

static const char *file_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

void sg_panic_at(const char *file, int line, const char *format, ...) {
  char words[1024], all[1100];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(words, sizeof words, format, arguments);
  va_end(arguments);
  // The last line of level error is what the runtime shows as the reason of a trap.
  snprintf(all, sizeof all, "panicked at %s:%d: %s", file_name(file), line, words);
  log_line(SG_ERROR, all);
  __builtin_trap();
}

// What assert() calls, in place of the libc's, which would write to a standard error.
_Noreturn void __assert_fail(const char *condition, const char *file, int line, const char *function) {
  sg_panic_at(file, line, "assertion failed in %s: %s", function, condition);
}
