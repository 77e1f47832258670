/*
 * Both ends of streams whose every byte is looked at, and one line of JSON about them:
 *
 *   streams server PORT SEED BYTES [MODE...]           one port for each mode, from PORT on
 *   streams client ADDRESS[,ADDRESS] PORT SEED BYTES [MODE...]
 *   streams knock ADDRESS[,ADDRESS] PORT               at each mode's port, so that who carries connections
 * knows them streams relay PORT TO_PORT swap|drop|double|change|cut PLACE   on the loopback, for one
 * connection
 *
 * BYTES is the sum over all modes for each direction. The modes run at the same time, each on one connection.
 * Of several addresses a mode takes the one whose turn it is.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "flow.h"
#include "relay.h"

static const struct mode modes[] = {
    {"random", BOTH_WAYS, WRITE, READ, 6, false},
    {"peek", BOTH_WAYS, WRITE, PEEK, 6, false},
    {"waitall", BOTH_WAYS, WRITE, WAITALL, 6, false},
    {"splice", BOTH_WAYS, SPLICE_IN, SPLICE_OUT, 6, false},
    {"sendfile", BOTH_WAYS, SENDFILE, READ, 6, false},
    {"vectors", BOTH_WAYS, WRITEV, SCATTER, 6, false},
    {"counted", BOTH_WAYS, WRITE, COUNTED, 6, false},
    {"edge-triggered", EDGE_TRIGGERED, WRITE, READ, 6, false},
    {"slow", BOTH_WAYS, WRITE, SLOWLY, 1, false},
    {"small-buffers", BOTH_WAYS, WRITE, READ, 1, true},
    {"nodelay", BOTH_WAYS, TINY, READ, 1, false},
    {"corked", BOTH_WAYS, CORKED, READ, 1, false},
    {"turns", TURNS, WRITE, READ, 1, false},
    {"server-first", SERVER_FIRST, WRITE, READ, 1, false},
    {"late-accept", LATE_ACCEPT, WRITE, READ, 2, false},
    {"client-ends-first", CLIENT_ENDS_FIRST, WRITE, READ, 3, false},
    {"server-ends-first", SERVER_ENDS_FIRST, WRITE, READ, 3, false},
    {"client-resets", CLIENT_RESETS, WRITE, READ, 1, false},
    {"server-resets", SERVER_RESETS, WRITE, READ, 1, false},
    {"client-leaves", CLIENT_LEAVES, WRITE, READ, 1, false},
    {"held-back", HELD_BACK, WRITE, READ, 0, false},
};

enum { MODES = sizeof(modes) / sizeof(modes[0]), LATE_MS = 300, STALL_SECONDS = 20 };

static struct peer peers[MODES];
static struct sockaddr_in6 targets[MODES];
static uint16_t first_port;

static void die(const char* what) {
  fprintf(stderr, "streams: %s: %s\n", what, strerror(errno));
  exit(1);
}

static struct sockaddr_in6 target(const char* text, uint16_t port) {
  struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  char mapped[64];
  snprintf(mapped, sizeof(mapped), "%s%s", strchr(text, ':') ? "" : "::ffff:", text);
  if (inet_pton(AF_INET6, mapped, &address.sin6_addr) != 1) die(text);
  return address;
}

static void shrink_buffers(int fd) {
  int bytes = 4096;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

static int listener(uint16_t port, bool small_buffers) {
  struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
  if (small_buffers) shrink_buffers(fd);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd, (struct sockaddr*)&any, sizeof(any)) != 0 || listen(fd, 8) != 0) die("listen");
  return fd;
}

static int connected(const struct sockaddr_in6* address, bool small_buffers) {
  /* A mapped address on an IPv6 socket is captured by another hook than an IPv4 socket's; both are tried. */
  bool v4 = IN6_IS_ADDR_V4MAPPED(&address->sin6_addr) && !small_buffers;
  int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in plain = {.sin_family = AF_INET, .sin_port = address->sin6_port};
  if (small_buffers) shrink_buffers(fd);
  memcpy(&plain.sin_addr, address->sin6_addr.s6_addr + 12, 4);
  if (v4 ? connect(fd, (struct sockaddr*)&plain, sizeof(plain))
         : connect(fd, (const struct sockaddr*)address, sizeof(*address)))
    return -1;
  return fd;
}

static void run_connected(struct peer* peer) {
  peer->read_buffer = malloc(MOST_BYTES);
  if (pipe2(peer->out_pipe, O_CLOEXEC) != 0 || pipe2(peer->in_pipe, O_CLOEXEC) != 0 || !prepare_writing(peer))
    die("prepare");
  run_flow(peer);
  conclude(peer);
  if (peer->fd >= 0) close(peer->fd);
}

static void* serve(void* argument) {
  struct peer* peer = argument;
  int listening = peer->fd;
  if (peer->mode->flow == LATE_ACCEPT) {
    struct pollfd ready = {.fd = listening, .events = POLLIN};
    poll(&ready, 1, -1);
    usleep(LATE_MS * 1000);
  }
  peer->fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
  if (peer->fd < 0) die("accept");
  run_connected(peer);
  peer->done = true;
  return NULL;
}

static void* dial(void* argument) {
  struct peer* peer = argument;
  peer->fd = connected(&targets[peer->mode - modes], peer->mode->small_buffers);
  if (peer->fd < 0)
    snprintf(peer->end, sizeof(peer->end), "connect %s", strerrorname_np(errno));
  else
    run_connected(peer);
  peer->done = true;
  return NULL;
}

static bool is_wanted(const struct mode* mode, char** names, int count) {
  for (int i = 0; i < count; i++)
    if (strcmp(names[i], mode->name) == 0) return true;
  return count == 0;
}

static void set_up(struct peer* peer, const struct mode* mode, bool is_server, uint64_t seed,
                   uint64_t bytes) {
  uint64_t own = mixed(seed ^ mixed((uint64_t)(mode - modes)));
  uint64_t total = bytes * mode->share / 64;
  *peer = (struct peer){.mode = mode, .is_server = is_server, .fd = -1, .wrong = -1};
  peer->out_seed = mixed(own + is_server);
  peer->in_seed = mixed(own + !is_server);
  /* Not the same for both, so that neither is hidden behind the other's end. */
  peer->out_total = total + (is_server ? 4711 : 0);
  peer->in_total = total + (is_server ? 0 : 4711);
  if (mode->flow == HELD_BACK) {
    peer->out_total = is_server ? 0 : HELD_BACK_BYTES;
    peer->in_total = is_server ? HELD_BACK_BYTES : 0;
  }
  peer->write_random = mixed(peer->out_seed + 1);
  peer->read_random = mixed(peer->in_seed + 2);
}

static void report(uint64_t seed) {
  const char* between = "";
  printf("{\"seed\":%llu,\"streams\":[", (unsigned long long)seed);
  for (int i = 0; i < MODES; i++) {
    const struct peer* peer = &peers[i];
    if (peer->mode == NULL) continue;
    printf(
        "%s{\"mode\":\"%s\",\"sent\":%llu,\"toSend\":%llu,\"received\":%llu,\"toReceive\":%llu,"
        "\"wrong\":%lld,\"shortReads\":%u,\"wouldBlock\":%u,\"end\":\"%s\"}",
        between, peer->mode->name, (unsigned long long)peer->sent, (unsigned long long)peer->out_total,
        (unsigned long long)peer->received, (unsigned long long)peer->in_total, (long long)peer->wrong,
        peer->short_reads, peer->would_block, peer->done ? peer->end : "stalled");
    between = ",";
  }
  printf("]}\n");
  fflush(stdout);
}

/* Until all are done, or none moves any more. */
static void watch(void) {
  uint64_t before = 0;
  for (int still = 0; still < STALL_SECONDS * 20; still++) {
    uint64_t moved = 0;
    bool all_done = true;
    for (int i = 0; i < MODES; i++) {
      if (peers[i].mode == NULL) continue;
      moved += peers[i].sent + peers[i].received;
      all_done &= peers[i].done;
    }
    if (all_done) return;
    if (moved != before) still = 0;
    before = moved;
    usleep(50000);
  }
}

/* Cuts the first address off the second, if there are two. */
static char* second_address(char* addresses) {
  char* split = addresses ? strchr(addresses, ',') : NULL;
  if (!split) return addresses;
  *split = 0;
  return split + 1;
}

/* Where nobody listens yet: a tunnel connects later than it seems, so each waits for its refusal. */
static int knock(char* addresses, uint16_t port) {
  char* others = second_address(addresses);
  for (int i = 0; i < MODES; i++) {
    struct sockaddr_in6 address = target(i % 2 ? others : addresses, (uint16_t)(port + i));
    int fd = connected(&address, modes[i].small_buffers);
    char nothing;
    if (fd < 0) continue;
    if (recv(fd, &nothing, 1, 0) > 0) die("knock");
    close(fd);
  }
  return 0;
}

static int run_streams(bool is_server, char* addresses, char** rest, int count) {
  uint64_t seed = strtoull(rest[1], NULL, 0), bytes = strtoull(rest[2], NULL, 0);
  char* others = second_address(addresses);
  first_port = (uint16_t)atoi(rest[0]);
  for (int i = 0; i < MODES; i++) {
    const struct mode* mode = &modes[i];
    uint16_t port = (uint16_t)(first_port + i);
    if (!is_wanted(mode, rest + 3, count - 3)) continue;
    set_up(&peers[i], mode, is_server, seed, bytes);
    if (is_server)
      peers[i].fd = listener(port, mode->small_buffers);
    else
      targets[i] = target(i % 2 ? others : addresses, port);
  }
  if (is_server) printf("{\"listening\":%u}\n", first_port);
  fflush(stdout);
  for (int i = 0; i < MODES; i++) {
    pthread_t thread;
    if (peers[i].mode && pthread_create(&thread, NULL, is_server ? serve : dial, &peers[i]) != 0)
      die("thread");
  }
  watch();
  report(seed);
  _exit(0); /* those that stand still as well */
}

int main(int argc, char** argv) {
  const char* role = argc > 1 ? argv[1] : "";
  signal(SIGPIPE, SIG_IGN);
  if (strcmp(role, "server") == 0 && argc >= 5) return run_streams(true, NULL, argv + 2, argc - 2);
  if (strcmp(role, "client") == 0 && argc >= 6) return run_streams(false, argv[2], argv + 3, argc - 3);
  if (strcmp(role, "knock") == 0 && argc == 4) return knock(argv[2], (uint16_t)atoi(argv[3]));
  if (strcmp(role, "relay") == 0 && argc == 6) {
    struct sockaddr_in6 to = target("::1", (uint16_t)atoi(argv[3]));
    int listening = listener((uint16_t)atoi(argv[2]), false);
    printf("{\"listening\":%s}\n", argv[2]);
    fflush(stdout);
    int client = accept4(listening, NULL, NULL, SOCK_CLOEXEC), server = connected(&to, false);
    if (client < 0 || server < 0) die("relay");
    run_relay(client, server, argv[4], strtoull(argv[5], NULL, 0));
    return 0;
  }
  fprintf(stderr, "streams: server, client, knock or relay; see the head of main.c\n");
  return 2;
}
