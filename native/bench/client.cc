#include "client.h"

#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>
#include <thread>
#include <vector>

#include "latency_samples.h"
#include "socket_options.h"

namespace hadal::bench {
namespace {

constexpr int kWarmUpExchanges = 100;
constexpr size_t kBulkBytes = 256 * 1024;
constexpr size_t kEchoBytes = 64;

struct Work {
  LatencySamples latencies;
  uint64_t operations = 0;
  uint64_t bytes = 0;
  uint64_t failures = 0;
  std::string failure;

  void clear() {
    latencies.clear();
    operations = bytes = failures = 0;
  }
  void fail(const char* step) {
    if (failures++ == 0) failure = std::string(step) + ": " + std::strerror(errno);
  }
};

class Client {
 public:
  explicit Client(const ClientOptions& options)
      : options_(options),
        target_(parse_target(options.host, options.port)),
        gate_(options.connections + 1),
        work_(options.connections) {}

  int run() {
    for (int i = 0; i < options_.connections; i++) threads_.emplace_back([this, i] { work_thread(i); });
    gate_.arrive_and_wait();  // all warm
    for (const Work& work : work_) {
      if (work.failures > 0) die("warm-up failed: " + work.failure);
    }
    std::printf("{\"ready\":%d}\n", options_.connections);
    std::fflush(stdout);
    for (std::string command; std::getline(std::cin, command);) {
      unsigned milliseconds = 0;
      if (std::sscanf(command.c_str(), "run %u", &milliseconds) != 1)
        die("unknown command '" + command + "'; use: run MILLISECONDS");
      slice(milliseconds);
    }
    std::_Exit(0);
  }

 private:
  void slice(unsigned milliseconds) {
    for (Work& work : work_) work.clear();
    const uint64_t start = monotonic_ns();
    deadline_.store(start + milliseconds * 1'000'000ULL);
    gate_.arrive_and_wait();  // go
    gate_.arrive_and_wait();  // all done
    report(start, monotonic_ns());
  }

  void report(uint64_t start, uint64_t end) {
    Work sum;
    for (const Work& work : work_) {
      sum.operations += work.operations;
      sum.bytes += work.bytes;
      sum.failures += work.failures;
      if (work.failures > 0) std::fprintf(stderr, "hadal-bench: %s\n", work.failure.c_str());
      sum.latencies.merge(work.latencies);
    }
    std::printf("{\"operations\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"ns\":%" PRIu64 ",\"start\":%" PRIu64
                ",\"failures\":%" PRIu64 ",\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f}\n",
                sum.operations, sum.bytes, end - start, start, sum.failures, sum.latencies.quantile_us(0.50),
                sum.latencies.quantile_us(0.90), sum.latencies.quantile_us(0.99));
    std::fflush(stdout);
  }

  void work_thread(int index) {
    Work& work = work_[static_cast<size_t>(index)];
    std::vector<char> buffer(
        options_.load == Load::round_trip ? static_cast<size_t>(options_.message_bytes) : kBulkBytes, 'h');
    const int fd = warm_up(work, buffer);
    gate_.arrive_and_wait();
    for (;;) {
      gate_.arrive_and_wait();
      const uint64_t deadline = deadline_.load();
      while (work.failures == 0 && monotonic_ns() < deadline) once(fd, work, buffer);
      gate_.arrive_and_wait();
    }
  }

  int warm_up(Work& work, std::vector<char>& buffer) {
    if (options_.load == Load::connections) {
      for (int i = 0; i < kWarmUpExchanges && work.failures == 0; i++) once(-1, work, buffer);
      return -1;
    }
    const int fd = connect_to(target_);
    if (fd < 0) {
      work.fail("connect");
      return fd;
    }
    if (options_.load == Load::round_trip) {
      for (int i = 0; i < kWarmUpExchanges && work.failures == 0; i++) once(fd, work, buffer);
    }
    return fd;
  }

  void once(int fd, Work& work, std::vector<char>& buffer) {
    switch (options_.load) {
      case Load::round_trip:
        return round_trip(fd, work, buffer);
      case Load::connections:
        return connection(work, buffer);
      case Load::upload:
        return upload(fd, work, buffer);
      case Load::download:
        return download(fd, work, buffer);
      case Load::idle:
        return;
    }
  }

  static void round_trip(int fd, Work& work, std::vector<char>& buffer) {
    const uint64_t start = monotonic_ns();
    if (!write_all(fd, buffer.data(), buffer.size())) return work.fail("write");
    if (!read_all(fd, buffer.data(), buffer.size())) return work.fail("read");
    work.latencies.add(monotonic_ns() - start);
    work.operations++;
    work.bytes += buffer.size();
  }

  void connection(Work& work, std::vector<char>& buffer) const {
    const uint64_t start = monotonic_ns();
    const int fd = connect_to(target_);
    if (fd < 0) return work.fail("connect");
    const bool echoed = write_all(fd, buffer.data(), kEchoBytes) && read_all(fd, buffer.data(), kEchoBytes);
    if (!echoed) work.fail("echo on a new connection");
    close_by_reset(fd);
    work.latencies.add(monotonic_ns() - start);
    work.operations++;
  }

  static void upload(int fd, Work& work, std::vector<char>& buffer) {
    if (!write_all(fd, buffer.data(), buffer.size())) return work.fail("write");
    work.operations++;
    work.bytes += buffer.size();
  }

  static void download(int fd, Work& work, std::vector<char>& buffer) {
    const ssize_t n = recv(fd, buffer.data(), buffer.size(), 0);
    if (n <= 0) return work.fail("read");
    work.operations++;
    work.bytes += static_cast<uint64_t>(n);
  }

  ClientOptions options_;
  Target target_;
  std::barrier<> gate_;
  std::vector<Work> work_;
  std::vector<std::thread> threads_;
  std::atomic<uint64_t> deadline_{0};
};

/** Thousands of connections, one exchange each, then held open until stdin ends. */
int hold_idle(const ClientOptions& options) {
  const rlimit limit{.rlim_cur = 1 << 17, .rlim_max = 1 << 17};
  setrlimit(RLIMIT_NOFILE, &limit);
  const Target target = parse_target(options.host, options.port);
  char message[kEchoBytes] = "hadal";
  std::vector<int> held;
  for (int i = 0; i < options.connections; i++) {
    const int fd = connect_to(target);
    if (fd < 0) die("connection " + std::to_string(i) + ": " + std::strerror(errno));
    if (!write_all(fd, message, sizeof message) || !read_all(fd, message, sizeof message)) {
      die("exchange on connection " + std::to_string(i) + ": " + std::strerror(errno));
    }
    held.push_back(fd);
  }
  std::printf("{\"ready\":%zu}\n", held.size());
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
  }
  return 0;
}

}  // namespace

int run_client(const ClientOptions& options) {
  if (options.load == Load::idle) return hold_idle(options);
  return std::make_unique<Client>(options)->run();
}

}  // namespace hadal::bench
