/* One end of one connection, and what it is to do. */
#pragma once
#include <stdatomic.h>

#include "content.h"

enum { MOST_BYTES = 1 << 20, GREETING_BYTES = 64 << 10, HELD_BACK_BYTES = 256 << 20, NAME_LENGTH = 48 };

/* How long nothing more is taken until the client of HELD_BACK stops, and how long the server does not read.
 */
enum { FULL_MS = 500, DEAF_MS = 2000 };

enum write_way { WRITE, WRITEV, SENDFILE, SPLICE_IN, CORKED, TINY };
enum read_way { READ, PEEK, WAITALL, SPLICE_OUT, SCATTER, SLOWLY, COUNTED };

enum flow {
  BOTH_WAYS,
  SERVER_FIRST,
  LATE_ACCEPT,
  CLIENT_ENDS_FIRST,
  SERVER_ENDS_FIRST,
  TURNS,
  EDGE_TRIGGERED,
  CLIENT_RESETS,
  SERVER_RESETS,
  CLIENT_LEAVES, /* close() with bytes unread, which the kernel answers with RST */
  HELD_BACK,     /* the server does not read for a while, the client writes what is taken */
};

struct mode {
  const char* name;
  enum flow flow;
  enum write_way write;
  enum read_way read;
  unsigned share; /* of the bytes, in 1/64 */
  bool small_buffers;
};

struct peer {
  const struct mode* mode;
  int fd;
  bool is_server;
  /* Of each direction: the seed, how many bytes there are, how many are done. */
  uint64_t out_seed, out_total, in_seed, in_total;
  atomic_ullong sent, received;
  int64_t wrong;           /* first place that is not as sent, a byte too many or too few; -1 */
  atomic_uint short_reads; /* MSG_PEEK, MSG_WAITALL or FIONREAD promised more than there was */
  atomic_uint would_block; /* reads that were to wait and did not */
  char end[NAME_LENGTH];   /* how reading ended */
  atomic_bool write_was_reset;
  uint64_t write_random, read_random;
  uint8_t *write_buffer, *read_buffer;
  int out_pipe[2], in_pipe[2];
  int file; /* all that is sent, for sendfile() */
  atomic_bool done;
};

static inline size_t random_size(uint64_t* random, unsigned most_bits) {
  uint64_t value = next_random(random);
  return 1 + (size_t)((value >> 8) & ((1ull << (value % (most_bits + 1))) - 1));
}

static inline size_t least(uint64_t left, uint64_t right) { return (size_t)(left < right ? left : right); }
