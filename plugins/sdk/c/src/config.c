// The configuration: JSON that the runtime has checked against the plugin's schema, looked through for one key at a time.
#include "columns.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct sg_config { sg_bytes json; };

static sg_config config;
static const sg_list_u8 *output_names;
static size_t output_count;

const sg_config *sg_config_of(sg_bytes json) {
  config.json = json;
  return &config;
}

void sg_keep_outputs(const sg_list_u8 *names, size_t count) {
  output_names = names;
  output_count = count;
}

// ---- Walking through JSON ----

typedef struct { const char *at, *end; } reader;

static char peek(reader *in) {
  while (in->at < in->end && strchr(" \t\r\n", *in->at)) in->at++;
  return in->at < in->end ? *in->at : 0;
}

static bool take(reader *in, char wanted) {
  if (peek(in) != wanted) return false;
  in->at++;
  return true;
}

static void skip_string(reader *in) {
  if (!take(in, '"')) return;
  while (in->at < in->end && *in->at != '"') in->at += *in->at == '\\' ? 2 : 1;
  if (in->at < in->end) in->at++;
}

// Moves past one value, however deep it is.
static void skip_value(reader *in) {
  size_t depth = 0;
  do {
    char next = peek(in);
    if (next == 0) return;
    if (next == '"') skip_string(in);
    else {
      depth += next == '{' || next == '[';
      depth -= next == '}' || next == ']';
      // A word or a number ends where a sign begins.
      if (strchr("{}[],:", next)) in->at++;
      else in->at += strcspn(in->at, ",:]} \t\r\n\"");
    }
  } while (depth > 0);
}

// The bytes of a string without escapes, in memory that stays, with a zero byte behind them; null where there is none.
static sg_bytes unescaped(reader in);

// Moves `in` to the value of a key of the object that it is at.
static bool enter(reader *in, const char *key, size_t size) {
  if (!take(in, '{')) return false;
  while (peek(in) == '"') {
    sg_bytes name = unescaped(*in);
    bool found = name.size == size && memcmp(name.data, key, size) == 0;
    free((void *)name.data);
    skip_string(in);
    if (!take(in, ':')) return false;
    if (found) return true;
    skip_value(in);
    take(in, ',');
  }
  return false;
}

static bool find(const sg_config *of, const char *path, reader *in) {
  in->at = (const char *)of->json.data;
  in->end = in->at + of->json.size;
  for (;;) {
    size_t size = strcspn(path, ".");
    if (!enter(in, path, size)) return false;
    if (path[size] == 0) return true;
    path += size + 1;
  }
}

// ---- Strings ----

static uint32_t hex4(const char *at) {
  char digits[5] = {at[0], at[1], at[2], at[3], 0};
  return (uint32_t)strtoul(digits, NULL, 16);
}

static uint8_t *put_utf8(uint8_t *to, uint32_t c) {
  if (c < 0x80) { *to++ = (uint8_t)c; return to; }
  int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  *to++ = (uint8_t)((0xf00 >> more) | (c >> (6 * more)));
  while (more--) *to++ = 0x80 | ((c >> (6 * more)) & 0x3f);
  return to;
}

// The character of an escape; `*at` is behind the backslash, and is moved past it.
static uint32_t escape(const char **at, const char *end) {
  char letter = *(*at)++;
  const char *letters = "bfnrt", *known = strchr(letters, letter);
  if (known && letter) return (uint32_t)"\b\f\n\r\t"[known - letters];
  if (letter != 'u' || end - *at < 4) return (uint8_t)letter;
  uint32_t c = hex4(*at);
  *at += 4;
  if (c >= 0xd800 && c < 0xdc00 && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u') {
    c = 0x10000 + ((c - 0xd800) << 10) + (hex4(*at + 2) - 0xdc00);
    *at += 6;
  }
  return c;
}

static sg_bytes unescaped(reader in) {
  if (!take(&in, '"')) return sg_null();
  reader whole = {in.at - 1, in.end};
  skip_string(&whole);
  const char *at = in.at, *end = whole.at - 1;
  // No escape is shorter than the character it stands for.
  uint8_t *text = malloc((size_t)(end - at) + 1), *to = text;
  if (!text) sg_panic("no memory for the configuration");
  while (at < end) {
    if (*at != '\\') { *to++ = (uint8_t)*at++; continue; }
    at++;
    to = put_utf8(to, escape(&at, end));
  }
  *to = 0;
  return sg_of(text, (size_t)(to - text));
}

// ---- Values ----

sg_bytes sg_config_json(const sg_config *of) { return of->json; }

sg_bytes sg_config_text(const sg_config *of, const char *key, sg_bytes otherwise) {
  reader in;
  if (!find(of, key, &in) || peek(&in) != '"') return otherwise;
  return unescaped(in);
}

// The number at a key, as text with a zero byte behind it.
static bool number(const sg_config *of, const char *key, char *text, size_t size) {
  reader in;
  if (!find(of, key, &in)) return false;
  peek(&in);
  size_t length = strspn(in.at, "+-.0123456789eE");
  if (length == 0 || length >= size || length > (size_t)(in.end - in.at)) return false;
  memcpy(text, in.at, length);
  text[length] = 0;
  return true;
}

int64_t sg_config_integer(const sg_config *of, const char *key, int64_t otherwise) {
  const double exact_below = 9007199254740992;
  char text[512], *end;
  if (!number(of, key, text, sizeof text)) return otherwise;
  errno = 0;
  long long integer = strtoll(text, &end, 10);
  if (*end == 0 && errno == 0) return integer;
  // To JSON Schema, 1000.0 and 1e3 are integers too.
  double value = strtod(text, NULL);
  bool is_exact = value > -exact_below && value < exact_below && value == (double)(int64_t)value;
  if (!is_exact) sg_panic("%s: %s is no 64-bit integer", key, text);
  return (int64_t)value;
}

double sg_config_number(const sg_config *of, const char *key, double otherwise) {
  char text[512];
  return number(of, key, text, sizeof text) ? strtod(text, NULL) : otherwise;
}

bool sg_config_flag(const sg_config *of, const char *key, bool otherwise) {
  reader in;
  if (!find(of, key, &in)) return otherwise;
  char first = peek(&in);
  return first == 't' || (first != 'f' && otherwise);
}

// ---- Outputs and errors ----

sg_bytes sg_output_name(size_t index) {
  if (index >= output_count) return sg_null();
  return sg_of(output_names[index].data, output_names[index].size);
}

bool sg_find_output(const char *name, sg_output *output, sg_error *error) {
  for (size_t i = 0; i < output_count; i++) {
    if (!sg_equal(sg_output_name(i), sg_text(name))) continue;
    *output = (sg_output)i;
    return true;
  }
  char known[512] = "the pipeline names no outputs";
  size_t size = output_count ? (size_t)snprintf(known, sizeof known, "the pipeline has ") : 0;
  for (size_t i = 0; i < output_count && size < sizeof known; i++) {
    sg_bytes other = sg_output_name(i);
    int length = other.size < 256 ? (int)other.size : 256;
    size += (size_t)snprintf(known + size, sizeof known - size, "%s`%.*s`", i ? ", " : "", length, other.data);
  }
  return sg_fail(error, "no output is named `%s`: %s", name, known);
}

bool sg_fail(sg_error *error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error->text, sizeof error->text, format, arguments);
  va_end(arguments);
  return false;
}

const char *sg_error_text(const sg_error *error) { return error->text; }
