/* What a stream consists of: a byte follows from the seed and its place, so that one at another place is
 * seen. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t mixed(uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

static inline uint64_t next_random(uint64_t* state) { return *state = mixed(*state); }

static inline uint64_t word_at(uint64_t seed, uint64_t index) { return mixed(seed ^ (index << 1)); }

static inline uint8_t byte_at(uint64_t seed, uint64_t place) {
  return (uint8_t)(word_at(seed, place >> 3) >> ((place & 7) * 8));
}

static inline void content(uint64_t seed, uint64_t place, uint8_t* out, size_t count) {
  for (; count > 0 && (place & 7) != 0; place++, count--) *out++ = byte_at(seed, place);
  for (; count >= 8; place += 8, count -= 8, out += 8) {
    uint64_t word = word_at(seed, place >> 3);
    memcpy(out, &word, 8);
  }
  for (; count > 0; place++, count--) *out++ = byte_at(seed, place);
}

/* The place of the first byte that is not as sent, -1 when all are. */
static inline int64_t first_wrong(uint64_t seed, uint64_t place, const uint8_t* got, size_t count) {
  for (; count >= 8 && (place & 7) == 0; place += 8, count -= 8, got += 8) {
    uint64_t word = word_at(seed, place >> 3);
    if (memcmp(got, &word, 8) != 0) break;
  }
  for (; count > 0; place++, count--, got++) {
    if (*got != byte_at(seed, place)) return (int64_t)place;
    if ((place & 7) == 7) return count == 1 ? -1 : first_wrong(seed, place + 1, got + 1, count - 1);
  }
  return -1;
}
