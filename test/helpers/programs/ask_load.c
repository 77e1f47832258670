/*
 * Load for a resolver: ask_load NAMESERVER NAME SECONDS PER_SECOND DISTINCT
 * PER_SECOND 0: as fast as it goes. DISTINCT > 0: that many names, each with a number in front.
 * Sends without waiting, takes answers as they come, and prints one line of JSON: sent, answered, and of the
 * answers' times in microseconds p50, p99 and the largest.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { IDS = 65536, MOST_SAMPLES = 4000000 };

static int64_t sent_at[IDS];
static uint32_t* samples;
static size_t sample_count;
static unsigned long answered, refused;

static int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static size_t write_query(uint8_t* out, uint16_t id, const char* name) {
  static const uint8_t rest[] = {1, 0, 0, 1, 0, 0, 0, 0, 0, 0};
  size_t at = 12;
  out[0] = id >> 8;
  out[1] = id & 255;
  memcpy(out + 2, rest, sizeof(rest));
  while (*name) {
    size_t length = strcspn(name, ".");
    out[at++] = (uint8_t)length;
    memcpy(out + at, name, length);
    at += length;
    name += length + (name[length] == '.');
  }
  memcpy(out + at, "\0\0\1\0\1", 5);
  return at + 5;
}

static void take_answers(int fd) {
  uint8_t answer[4096];
  for (;;) {
    ssize_t length = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
    int64_t* sent;
    if (length < 0) return;
    if (length < 12) continue;
    sent = &sent_at[answer[0] << 8 | answer[1]];
    if (*sent == 0) continue;
    answered++;
    if ((answer[3] & 15) != 0) refused++;
    if (sample_count < MOST_SAMPLES) samples[sample_count++] = (uint32_t)(now_us() - *sent);
    *sent = 0;
  }
}

static int by_size(const void* left, const void* right) {
  uint32_t a = *(const uint32_t*)left, b = *(const uint32_t*)right;
  return a < b ? -1 : a > b;
}

static uint32_t part(double share) {
  return sample_count ? samples[(size_t)((double)(sample_count - 1) * share)] : 0;
}

int main(int argc, char** argv) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53)};
  int64_t started, end;
  unsigned long sent = 0;
  double rate;
  unsigned distinct;
  uint8_t query[600];
  int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 4 << 20;
  if (argc != 6) return 2;
  samples = malloc(sizeof(*samples) * MOST_SAMPLES);
  inet_pton(AF_INET, argv[1], &to.sin_addr);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
  if (connect(fd, (struct sockaddr*)&to, sizeof(to)) != 0) return 1;
  rate = atof(argv[4]);
  distinct = (unsigned)atoi(argv[5]);
  started = now_us();
  end = started + (int64_t)(atof(argv[3]) * 1e6);
  for (int64_t now = started; now < end; now = now_us()) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (rate == 0 || (double)sent < (double)(now - started) * 1e-6 * rate) {
      char name[300];
      uint16_t id = (uint16_t)(sent + 1);
      if (distinct)
        snprintf(name, sizeof(name), "n%lu.%s", sent % distinct, argv[2]);
      else
        snprintf(name, sizeof(name), "%s", argv[2]);
      sent_at[id] = now;
      if (send(fd, query, write_query(query, id, name), 0) < 0 && errno != ECONNREFUSED) return 1;
      sent++;
      if (sent % 16 == 0) take_answers(fd);
    } else {
      poll(&ready, 1, 1);
      take_answers(fd);
    }
  }
  usleep(300000);
  take_answers(fd);
  qsort(samples, sample_count, sizeof(*samples), by_size);
  printf("{\"sent\":%lu,\"answered\":%lu,\"refused\":%lu,\"p50\":%u,\"p99\":%u,\"max\":%u}\n", sent, answered,
         refused, part(0.5), part(0.99), part(1));
  return 0;
}
