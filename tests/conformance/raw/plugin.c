// A plugin without an SDK and without a libc: writes every value in capitals. docs/boundary.md explains what it does.
#include <stddef.h>
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(name)))

// A list or a string is its address and its length; a record is its fields.
typedef struct { uint8_t *at; size_t size; } bytes;
typedef struct { int32_t *at; size_t size; } numbers;
typedef struct { bytes data; numbers lengths; } column;
typedef struct { numbers counts; column keys, values; } headers;
typedef struct {
  bytes topic;
  uint32_t partition;
  bytes offsets, timestamps;
  column keys, values;
  headers headers;
} batch;
typedef struct {
  numbers outcomes;
  bytes reasons;
  numbers to;
  bytes timestamps;
  column keys, values;
  headers headers;
} outcomes;

// The runtime asks for room for what it passes. Here it lies end to end from where the program's own data ends, and all
// of it is free again when the next call begins.
extern uint8_t __heap_base;
static uint8_t *free_from = &__heap_base;

EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
  (void)old, (void)old_size; // The runtime never enlarges what it asked for.
  uintptr_t at = ((uintptr_t)free_from + align - 1) & ~(align - 1);
  while (at + size > __builtin_wasm_memory_size(0) * 65536ul) {
    if (__builtin_wasm_memory_grow(0, 1) == (size_t)-1) __builtin_trap();
  }
  free_from = (uint8_t *)(at + size);
  return (void *)at;
}

#define TEXT(of) (bytes){(uint8_t *)(of), sizeof(of) - 1}

EXPORT("sluicegate:plugin/lifecycle@0.1.0#describe") void *describe(void) {
  static struct { bytes name, version, summary; uint32_t has_schema; bytes schema; } description;
  description.name = TEXT("raw");
  description.version = TEXT("0.1.0");
  description.summary = TEXT("Writes values in capitals, without an SDK");
  return &description; // A has_schema of 0 is none: any configuration will do.
}

EXPORT("sluicegate:plugin/lifecycle@0.1.0#configure")
void *configure(bytes *config, size_t config_size, bytes *outputs, size_t count) {
  static struct { uint32_t failed; bytes error; } result;
  (void)config, (void)config_size, (void)outputs, (void)count;
  free_from = &__heap_base;
  return &result; // A failed of 0 is success.
}

EXPORT("sluicegate:plugin/batch-transform@0.1.0#process") void *process(batch *in) {
  static outcomes out;
  size_t records = in->values.lengths.size;
  out.outcomes.at = cabi_realloc(0, 0, 4, records * 4);
  out.keys.lengths.at = cabi_realloc(0, 0, 4, records * 4);
  out.outcomes.size = out.keys.lengths.size = records;
  for (size_t i = 0; i < records; i++) {
    out.outcomes.at[i] = 1;      // One output for each record,
    out.keys.lengths.at[i] = -2; // with its key; and with its headers and timestamp, whose columns stay empty.
  }
  for (size_t i = 0; i < in->values.data.size; i++) {
    uint8_t *byte = in->values.data.at + i;
    if (*byte >= 'a' && *byte <= 'z') *byte -= 'a' - 'A';
  }
  out.values = in->values; // In place: nulls stay null, by their lengths.
  free_from = &__heap_base; // What lies above is read before the next call writes over it.
  return &out;
}
