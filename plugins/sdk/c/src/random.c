// Random numbers of a record's own: SplitMix64, seeded by pipeline, stage, topic, partition and offset. The numbers are
// the same as those of the other SDKs, and part of the interface.
#include "columns.h"

static const uint64_t GAMMA = 0x9e3779b97f4a7c15;

static uint64_t mix(uint64_t of) {
  of = (of ^ (of >> 30)) * 0xbf58476d1ce4e5b9;
  of = (of ^ (of >> 27)) * 0x94d049bb133111eb;
  return of ^ (of >> 31);
}

static uint64_t join(uint64_t seed, uint64_t with) { return mix((seed + GAMMA) ^ with); }

static bool known;
static uint64_t batch_seed;

void sg_begin_random(void) { known = false; }

static void make_seed(void) {
  sg_list_u8 topic = sg_this_batch->topic;
  uint64_t seed = join(sg_host_stage_seed(), topic.size);
  for (size_t at = 0; at < topic.size; at += 8) {
    uint64_t chunk = 0;
    memcpy(&chunk, topic.data + at, topic.size - at < 8 ? topic.size - at : 8);
    seed = join(seed, chunk);
  }
  batch_seed = join(seed, sg_this_batch->partition);
  known = true;
}

sg_random sg_random_of(const sg_record *record) {
  if (!known) make_seed();
  sg_random random = {join(batch_seed, record->offset)};
  return random;
}

uint64_t sg_next_u64(sg_random *random) { return mix(random->state += GAMMA); }

uint64_t sg_next_below(sg_random *random, uint64_t bound) {
  return (uint64_t)(((unsigned __int128)sg_next_u64(random) * bound) >> 64);
}

double sg_next_f64(sg_random *random) { return (double)(sg_next_u64(random) >> 11) / (double)(1ull << 53); }
