// Does what each record asks for; ../README.md says how it asks.
#include <inttypes.h>
#include <stdarg.h>
#include <sluicegate.h>
#include <stdio.h>
#include <stdlib.h>

static sg_bytes greeting;

static bool configure(const sg_config *config, sg_error *error) {
  sg_bytes panic = sg_config_text(config, "panic", sg_null());
  if (!sg_is_null(panic)) sg_panic("%s", (const char *)panic.data);
  greeting = sg_config_text(config, "greeting", sg_text("hello"));
  sg_bytes refuse = sg_config_text(config, "refuse", sg_null());
  return sg_is_null(refuse) || sg_fail(error, "%s", (const char *)refuse.data);
}

// The front of `rest` up to a sign, which is taken off with it.
static sg_bytes cut(sg_bytes *rest, char sign) {
  const uint8_t *end = memchr(rest->data, sign, rest->size);
  size_t size = end ? (size_t)(end - rest->data) : rest->size;
  sg_bytes front = sg_of(rest->data, size);
  size_t taken = end ? size + 1 : size;
  *rest = sg_of(rest->data + taken, rest->size - taken);
  return front;
}

static bool is(sg_bytes bytes, const char *text) { return sg_equal(bytes, sg_text(text)); }

// The bytes as a C string; good until the next call.
static const char *text(sg_bytes bytes) {
  static char text[1024];
  snprintf(text, sizeof text, "%.*s", (int)bytes.size, bytes.data);
  return text;
}

static int64_t number(sg_bytes bytes) { return strtoll(text(bytes), NULL, 10); }

__attribute__((format(printf, 1, 2))) static void set_text(const char *format, ...) {
  char words[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(words, sizeof words, format, arguments);
  va_end(arguments);
  sg_set_value(sg_text(words));
}

static void write_log(sg_bytes words) {
  static const char *levels[] = {"trace", "debug", "info", "warn", "error"};
  sg_bytes level = cut(&words, ' ');
  for (int i = 0; i < 5; i++) if (is(level, levels[i])) sg_log((sg_level)i, "%s", text(words));
}

// ---- Copies into the value ----

static uint8_t *append(uint8_t *to, sg_bytes bytes) {
  if (bytes.size) memcpy(to, bytes.data, bytes.size);
  return to + bytes.size;
}

static void copy_headers(const sg_record *record) {
  sg_header header;
  size_t size = 0;
  for (sg_headers at = sg_headers_of(record); sg_next_header(&at, &header);) {
    size += header.name.size + header.value.size + (sg_is_null(header.value) ? 1 : 2);
  }
  uint8_t *to = sg_write_value(size);
  for (sg_headers at = sg_headers_of(record); sg_next_header(&at, &header);) {
    to = append(to, header.name);
    if (!sg_is_null(header.value)) to = append(append(to, sg_text("=")), header.value);
    to = append(to, sg_text(";"));
  }
}

static void copy_outputs(void) {
  size_t size = 0;
  for (size_t i = 0; !sg_is_null(sg_output_name(i)); i++) size += sg_output_name(i).size + 1;
  uint8_t *to = sg_write_value(size);
  for (size_t i = 0; !sg_is_null(sg_output_name(i)); i++) to = append(append(to, sg_output_name(i)), sg_text(","));
}

static void copy_place(const sg_record *record) {
  if (record->timestamp == SG_NO_TIMESTAMP) set_text("%" PRIu32 "/%" PRIu64 "/-", record->partition, record->offset);
  else set_text("%" PRIu32 "/%" PRIu64 "/%" PRId64, record->partition, record->offset, record->timestamp);
}

static void copy(const sg_record *record, sg_bytes what) {
  sg_header header = {sg_null(), sg_null()};
  if (is(what, "key")) sg_set_value(record->key);
  else if (is(what, "value")) sg_set_value(record->value);
  else if (is(what, "topic")) sg_set_value(record->topic);
  else if (is(what, "place")) copy_place(record);
  else if (is(what, "headers")) copy_headers(record);
  else if (is(what, "outputs")) copy_outputs();
  else if (is(what, "now")) set_text("%" PRId64, sg_now(record));
  else if (is(what, "random")) {
    sg_random random = sg_random_of(record);
    set_text("%" PRIu64, sg_next_u64(&random));
  } else {
    cut(&what, ' ');
    sg_find_header(record, text(what), &header);
    sg_set_value(header.value);
  }
}

// ---- Instructions ----

// Sets something of the current output. False, and a reason, where the line asks for what is not there.
static bool set(const sg_record *record, sg_bytes line) {
  sg_bytes argument = line, word = cut(&argument, ' ');
  if (is(word, "key")) sg_set_key(argument);
  else if (is(word, "value")) sg_set_value(argument);
  else if (is(line, "null key")) sg_set_key(sg_null());
  else if (is(line, "null value")) sg_set_value(sg_null());
  else if (is(line, "null timestamp")) sg_set_timestamp(SG_NO_TIMESTAMP);
  else if (is(word, "timestamp")) sg_set_timestamp(number(argument));
  else if (is(word, "clear")) sg_clear_headers();
  else if (is(word, "copy")) copy(record, argument);
  else if (is(word, "header")) {
    bool has_value = argument.size && memchr(argument.data, '=', argument.size);
    sg_bytes name = cut(&argument, '=');
    sg_add_header(name, has_value ? argument : sg_null());
  } else if (is(word, "to")) {
    sg_output output;
    sg_error error;
    if (!sg_find_output(text(argument), &output, &error)) return sg_reject("%s", sg_error_text(&error)), false;
    sg_set_output(output);
  } else if (is(word, "fill")) {
    size_t size = (size_t)number(argument);
    memset(sg_write_value(size), 'x', size);
  } else if (is(word, "greet")) {
    uint8_t *to = sg_write_value(greeting.size + 2 + argument.size);
    append(append(append(to, greeting), sg_text(", ")), argument);
  } else {
    return sg_reject("unknown instruction `%s`", text(line)), false;
  }
  return true;
}

static void split(int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    sg_emit();
    set_text("%" PRId64, i);
  }
}

static sg_outcome process(const sg_record *record) {
  sg_header header = {sg_null(), sg_null()};
  sg_bytes program = sg_find_header(record, "do", &header) && header.value.data ? header.value : record->value;
  if (sg_is_null(program)) return SG_PASS;
  bool emitted = false, has_output = false;
  while (program.size) {
    sg_bytes line = cut(&program, '\n'), argument = line, word = cut(&argument, ' ');
    if (line.size == 0) continue;
    if (is(word, "pass")) return SG_PASS;
    if (is(word, "drop")) return SG_DROP;
    if (is(word, "reject")) return sg_reject("%s", text(argument));
    if (is(word, "panic")) sg_panic("%s", text(argument));
    if (is(word, "log")) write_log(argument);
    else if (is(word, "count")) {
      sg_bytes name = cut(&argument, ' ');
      sg_count(is(name, "seen") ? "seen" : "other", (uint64_t)number(argument));
    } else if (is(word, "split")) {
      split(number(argument));
      emitted = true;
    } else if (is(word, "emit")) {
      sg_emit();
      emitted = has_output = true;
    } else if (!has_output) {
      return sg_reject("unknown instruction `%s`", text(line));
    } else if (!set(record, line)) {
      return SG_REJECT;
    }
  }
  return emitted ? SG_EMIT : SG_PASS;
}

SLUICEGATE_PLUGIN(
  .name = "conformance",
  .version = "0.1.0",
  .summary = "Does what each record asks for",
  .config_schema = "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
                   "\"greeting\":{\"type\":\"string\"},\"refuse\":{\"type\":\"string\"},\"panic\":{\"type\":\"string\"}}}",
  .configure = configure,
  .process = process)
