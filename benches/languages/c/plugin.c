// Does to every record what its configuration says: the same in each language, for benches/src/bin/languages.rs. C brings no
// JSON: the field is looked for, and written over.
#define _GNU_SOURCE
#include <sluicegate.h>
#include <string.h>

static enum { PASS, REWRITE, JSON } task;

static bool configure(const sg_config *config, sg_error *error) {
  (void)error;
  sg_bytes name = sg_config_text(config, "task", sg_text("pass"));
  task = sg_equal(name, sg_text("json")) ? JSON : sg_equal(name, sg_text("rewrite")) ? REWRITE : PASS;
  return true;
}

static uint8_t upper(uint8_t byte) { return byte >= 'a' && byte <= 'z' ? byte - 32 : byte; }

static sg_outcome rewrite(sg_bytes value) {
  sg_emit();
  uint8_t *to = sg_write_value(value.size);
  for (size_t i = 0; i < value.size; i++) to[i] = upper(value.data[i]);
  return SG_EMIT;
}

static sg_outcome change_field(sg_bytes value) {
  static const char name[] = "\"symbol\":\"", symbol[] = "ACME";
  const uint8_t *found = memmem(value.data, value.size, name, sizeof name - 1);
  const uint8_t *end = value.data + value.size;
  if (!found) return sg_reject("there is no symbol");
  const uint8_t *from = found + sizeof name - 1;
  const uint8_t *rest = memchr(from, '"', end - from);
  if (!rest) return sg_reject("the value is not JSON");
  size_t before = from - value.data, after = end - rest;
  sg_emit();
  uint8_t *to = sg_write_value(before + sizeof symbol - 1 + after);
  memcpy(to, value.data, before);
  memcpy(to + before, symbol, sizeof symbol - 1);
  memcpy(to + before + sizeof symbol - 1, rest, after);
  return SG_EMIT;
}

static sg_outcome process(const sg_record *record) {
  if (task == PASS || sg_is_null(record->value)) return SG_PASS;
  return task == REWRITE ? rewrite(record->value) : change_field(record->value);
}

SLUICEGATE_PLUGIN(
  .name = "bench",
  .version = "0.1.0",
  .summary = "Does what its configuration says",
  .config_schema = "{\"type\":\"object\",\"properties\":{\"task\":{\"enum\":[\"pass\",\"rewrite\",\"json\"]}}}",
  .configure = configure,
  .process = process)
