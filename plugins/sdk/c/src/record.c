// What a plugin sees of a record.
#include "columns.h"

// Where the headers of a record begin. Moved only when headers are asked for: most plugins never do.
static struct { size_t record; sg_headers at; } read_up_to;

void sg_begin_headers(void) { memset(&read_up_to, 0, sizeof read_up_to); }

static bool has_headers(void) { return sg_this_batch->headers.counts.size != 0; }

static void skip(sg_headers *at) {
  const sg_header_columns *headers = &sg_this_batch->headers;
  int32_t name = headers->names.lengths.at[at->header], value = headers->values.lengths.at[at->header];
  at->name_at += name > 0 ? (size_t)name : 0;
  at->value_at += value > 0 ? (size_t)value : 0;
  at->header++;
}

sg_headers sg_headers_of(const sg_record *record) {
  sg_headers none = {0, 0, 0, 0};
  if (!has_headers()) return none;
  const int32_t *counts = sg_this_batch->headers.counts.at;
  if (record->index < read_up_to.record) sg_begin_headers();
  for (; read_up_to.record < record->index; read_up_to.record++) {
    for (int32_t i = 0; i < counts[read_up_to.record]; i++) skip(&read_up_to.at);
  }
  sg_headers at = read_up_to.at;
  at.left = (size_t)counts[record->index];
  return at;
}

static sg_bytes string(const sg_column *column, size_t index, size_t at) {
  int32_t length = column->lengths.at[index];
  return length < 0 ? sg_null() : sg_of(column->data.data + at, (size_t)length);
}

bool sg_next_header(sg_headers *at, sg_header *header) {
  if (at->left == 0) return false;
  at->left--;
  header->name = string(&sg_this_batch->headers.names, at->header, at->name_at);
  header->value = string(&sg_this_batch->headers.values, at->header, at->value_at);
  skip(at);
  return true;
}

bool sg_find_header(const sg_record *record, const char *name, sg_header *header) {
  bool found = false;
  sg_header seen;
  sg_bytes wanted = sg_text(name);
  for (sg_headers at = sg_headers_of(record); sg_next_header(&at, &seen);) {
    if (!sg_equal(seen.name, wanted)) continue;
    *header = seen;
    found = true;
  }
  return found;
}

int64_t sg_now(const sg_record *record) { return record->timestamp == SG_NO_TIMESTAMP ? 0 : record->timestamp; }

// How many bytes the character at the front of legal UTF-8 takes; 0 where the front is not legal. By table 3-7 of Unicode:
// no surrogates, nothing above U+10FFFF, no longer form than needed.
static size_t character(const uint8_t *at, size_t size) {
  uint8_t first = at[0], low = 0x80, high = 0xbf;
  if (first < 0x80) return 1;
  size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || size < length) return 0;
  if (first == 0xe0) low = 0xa0;
  if (first == 0xed) high = 0x9f;
  if (first == 0xf0) low = 0x90;
  if (first == 0xf4) high = 0x8f;
  if (at[1] < low || at[1] > high) return 0;
  for (size_t i = 2; i < length; i++) if ((at[i] & 0xc0) != 0x80) return 0;
  return length;
}

bool sg_is_utf8(sg_bytes bytes) {
  for (size_t at = 0; at < bytes.size;) {
    size_t length = character(bytes.data + at, bytes.size - at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

void sg_make_utf8(char *text) {
  for (size_t at = 0, size = strlen(text); at < size;) {
    size_t length = character((const uint8_t *)text + at, size - at);
    if (length == 0) text[at] = '?';
    at += length ? length : 1;
  }
}
