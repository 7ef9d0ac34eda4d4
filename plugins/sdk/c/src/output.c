// The columns that go back, written in place, and left out where everything is inherited.
//
// Columns are lazy. An output writes only into those it differs in; entries that it has skipped are filled when a later
// output writes, or at the end. Their memory is kept from batch to batch.
#include "columns.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct { uint8_t *data; size_t size, capacity; } buffer;
typedef struct { buffer data, lengths; } column;

// How many outputs there are so far, and how many of them are of records before. The last is the current one.
static size_t outputs, before;
static buffer outcomes, reasons, reason_ends, reason_list, to, timestamps, header_counts;
static column keys, values, header_names, header_values;
// What sg_reject said last.
static char reason[1024];

// ---- Buffers ----

static uint8_t *grow(buffer *to_grow, size_t by) {
  if (by > SIZE_MAX / 4 || to_grow->size > SIZE_MAX / 4) sg_panic("a batch's outputs are too large");
  size_t needed = to_grow->size + by;
  if (needed > to_grow->capacity) {
    size_t capacity = needed > 2 * to_grow->capacity ? needed : 2 * to_grow->capacity;
    uint8_t *data = realloc(to_grow->data, capacity < 64 ? 64 : capacity);
    if (!data) sg_panic("no memory for %zu bytes of outputs", capacity);
    to_grow->data = data;
    to_grow->capacity = capacity < 64 ? 64 : capacity;
  }
  uint8_t *end = to_grow->data + to_grow->size;
  to_grow->size = needed;
  return end;
}

static void push_s32(buffer *list, int32_t number) { memcpy(grow(list, sizeof number), &number, sizeof number); }
static void push_s64(buffer *list, int64_t number) { memcpy(grow(list, sizeof number), &number, sizeof number); }
static size_t count_s32(const buffer *list) { return list->size / sizeof(int32_t); }
static int32_t *last_s32(buffer *list) { return (int32_t *)(void *)(list->data + list->size) - 1; }

static void fill_s32(buffer *list, size_t count, int32_t number) {
  while (count_s32(list) < count) push_s32(list, number);
}

// ---- Columns ----

static void pop(column *from) {
  int32_t length = *last_s32(&from->lengths);
  from->data.size -= length > 0 ? (size_t)length : 0;
  from->lengths.size -= sizeof length;
}

static uint8_t *push(column *into, size_t size) {
  if (size > INT32_MAX) sg_panic("%zu bytes are too many for one output", size);
  push_s32(&into->lengths, (int32_t)size);
  return grow(&into->data, size);
}

static void push_bytes(column *into, sg_bytes bytes) {
  if (sg_is_null(bytes)) { push_s32(&into->lengths, SG_LENGTH_NULL); return; }
  if (bytes.size) memcpy(push(into, bytes.size), bytes.data, bytes.size);
  else push(into, 0);
}

static void check_begun(void) {
  if (outputs == before) sg_panic("sg_emit begins an output, and comes first");
}

// Brings a column to the entry of the current output, without it.
static void reach(column *of) {
  check_begun();
  if (count_s32(&of->lengths) == outputs) pop(of);
  fill_s32(&of->lengths, outputs - 1, SG_INHERIT);
}

// ---- A batch ----

void sg_begin_batch(void) {
  buffer *all[] = {&outcomes, &reasons, &reason_ends, &reason_list, &to, &timestamps, &header_counts,
                   &keys.data, &keys.lengths, &values.data, &values.lengths, &header_names.data,
                   &header_names.lengths, &header_values.data, &header_values.lengths};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) all[i]->size = 0;
  outputs = before = 0;
}

static void take_back_headers(void) {
  for (int32_t count = *last_s32(&header_counts); count > 0; count--) { pop(&header_names); pop(&header_values); }
  header_counts.size -= sizeof(int32_t);
}

static void shorten(buffer *list, size_t size) {
  if (list->size > size) list->size = size;
}

// Undoes the current record's outputs.
static void take_back(void) {
  outputs = before;
  shorten(&to, before * sizeof(int32_t));
  shorten(&timestamps, before * sizeof(int64_t));
  while (count_s32(&keys.lengths) > before) pop(&keys);
  while (count_s32(&values.lengths) > before) pop(&values);
  while (count_s32(&header_counts) > before) take_back_headers();
}

static void close_rejected(void) {
  const char *words = reason[0] ? reason : "rejected without a reason";
  size_t size = strlen(words);
  memcpy(grow(&reasons, size), words, size);
  memcpy(grow(&reason_ends, sizeof reasons.size), &reasons.size, sizeof reasons.size);
}

void sg_close(sg_outcome outcome) {
  static const int32_t codes[] = {[SG_DROP] = 0, [SG_PASS] = -1, [SG_REJECT] = -2};
  if (outcome < SG_DROP || outcome > SG_REJECT) sg_panic("process returned %d, which is no outcome", (int)outcome);
  if (outcome != SG_EMIT && outputs > before) take_back();
  push_s32(&outcomes, outcome == SG_EMIT ? (int32_t)(outputs - before) : codes[outcome]);
  if (outcome == SG_REJECT) close_rejected();
  before = outputs;
  reason[0] = 0;
}

static sg_list_s32 list(const buffer *of) {
  sg_list_s32 list = {(const int32_t *)(const void *)of->data, count_s32(of)};
  return list;
}

static sg_column finished(const column *of) {
  sg_column finished = {{of->data.data, of->data.size}, list(&of->lengths)};
  return finished;
}

// The list of reasons, of which only the ends were noted: their bytes may have moved.
static void finish_reasons(sg_outcomes *into) {
  size_t count = reason_ends.size / sizeof(size_t), start = 0;
  for (size_t i = 0; i < count; i++) {
    size_t end = ((const size_t *)(const void *)reason_ends.data)[i];
    sg_list_u8 reason = {reasons.data + start, end - start};
    memcpy(grow(&reason_list, sizeof reason), &reason, sizeof reason);
    start = end;
  }
  into->reasons.at = (const sg_list_u8 *)(const void *)reason_list.data;
  into->reasons.size = count;
}

void sg_finish_batch(sg_outcomes *into) {
  fill_s32(&keys.lengths, outputs, SG_INHERIT);
  fill_s32(&values.lengths, outputs, SG_INHERIT);
  if (to.size) fill_s32(&to, outputs, SG_DEFAULT_OUTPUT);
  if (header_counts.size) fill_s32(&header_counts, outputs, SG_INHERIT);
  into->outcomes = list(&outcomes);
  finish_reasons(into);
  into->to = list(&to);
  into->timestamps.at = (const int64_t *)(const void *)timestamps.data;
  into->timestamps.size = timestamps.size / sizeof(int64_t);
  into->keys = finished(&keys);
  into->values = finished(&values);
  into->headers.counts = list(&header_counts);
  into->headers.names = finished(&header_names);
  into->headers.values = finished(&header_values);
}

// ---- An output ----

void sg_emit(void) {
  if (!sg_this_record) sg_panic("sg_emit is for use in process");
  outputs++;
  // The one column that has no word for "inherited": once it exists, every output has its entry from the start.
  if (timestamps.size) push_s64(&timestamps, sg_this_record->timestamp);
}

void sg_set_key(sg_bytes key) {
  reach(&keys);
  push_bytes(&keys, key);
}

void sg_set_value(sg_bytes value) {
  reach(&values);
  push_bytes(&values, value);
}

uint8_t *sg_write_value(size_t size) {
  reach(&values);
  return push(&values, size);
}

void sg_set_output(sg_output output) {
  check_begun();
  shorten(&to, (outputs - 1) * sizeof(int32_t));
  fill_s32(&to, outputs - 1, SG_DEFAULT_OUTPUT);
  push_s32(&to, output);
}

// Gives all outputs so far their input's timestamp.
static void inherit_timestamps(void) {
  const int32_t *emitted = (const int32_t *)(const void *)outcomes.data;
  for (size_t record = 0; record < count_s32(&outcomes); record++) {
    for (int32_t i = 0; i < emitted[record]; i++) push_s64(&timestamps, sg_this_batch->timestamps.at[record]);
  }
  while (timestamps.size / sizeof(int64_t) < outputs) push_s64(&timestamps, sg_this_record->timestamp);
}

void sg_set_timestamp(int64_t timestamp) {
  check_begun();
  if (timestamps.size == 0) inherit_timestamps();
  timestamps.size -= sizeof timestamp;
  push_s64(&timestamps, timestamp);
}

void sg_clear_headers(void) {
  check_begun();
  if (count_s32(&header_counts) == outputs) take_back_headers();
  fill_s32(&header_counts, outputs - 1, SG_INHERIT);
  push_s32(&header_counts, 0);
}

static void push_header(sg_bytes name, sg_bytes value) {
  push_bytes(&header_names, sg_of(name.data, name.size));
  push_bytes(&header_values, value);
  ++*last_s32(&header_counts);
}

void sg_add_header(sg_bytes name, sg_bytes value) {
  check_begun();
  if (count_s32(&header_counts) < outputs) {
    sg_clear_headers();
    sg_header inherited;
    for (sg_headers at = sg_headers_of(sg_this_record); sg_next_header(&at, &inherited);) {
      push_header(inherited.name, inherited.value);
    }
  }
  push_header(name, value);
}

sg_outcome sg_reject(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(reason, sizeof reason, format, arguments);
  va_end(arguments);
  sg_make_utf8(reason);
  return SG_REJECT;
}
