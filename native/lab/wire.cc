// hadal-wire: a bad link for the lab, where the kernel has no netem. It carries frames between two
// interfaces; those that come in at the first wait, and some are lost. One thread; frames keep their offload
// headers, so checksums and segmentation that the kernel put off stay put off.
//
//   hadal-wire INTERFACE INTERFACE DELAY_MICROSECONDS LOST_PER_MILLION

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <random>
#include <span>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

// virtio_net_hdr and the largest packet that segmentation offload makes.
constexpr size_t kMaxFrame = 10 + 14 + 65536 + 64;
// What a link of 10 Gbit/s and 20 ms holds; beyond it frames are lost, as a queue would lose them.
constexpr size_t kMaxQueuedBytes = 25'000'000;
constexpr int kFramesPerTurn = 64;

struct Waiting {
  Clock::time_point due;
  std::vector<uint8_t> frame;
};

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "hadal-wire: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

int open_interface(const char* name) {
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) die("socket");
  const int on = 1;
  if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) != 0) die("PACKET_VNET_HDR");
  // Without it each frame that is sent comes back as one that was received.
  if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) != 0) die("PACKET_IGNORE_OUTGOING");
  const int buffer = 64 << 20;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) != 0) die("SO_RCVBUFFORCE");
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer)) != 0) die("SO_SNDBUFFORCE");
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(if_nametoindex(name));
  if (address.sll_ifindex == 0) die(name);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) die("bind");
  return fd;
}

long number(const char* text, long max, const char* what) {
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (*text == '\0' || *end != '\0' || value < 0 || value > max) {
    std::fprintf(stderr, "hadal-wire: %s '%s' is not a number from 0 to %ld\n", what, text, max);
    std::exit(2);
  }
  return value;
}

// A frame that the other side cannot take is lost, as on any link.
void send_frame(int fd, std::span<const uint8_t> frame) {
  [[maybe_unused]] const ssize_t sent = send(fd, frame.data(), frame.size(), MSG_DONTWAIT);
}

class Wire {
 public:
  Wire(int slow, int fast, std::chrono::microseconds delay, long lost_per_million)
      : slow_(slow), fast_(fast), delay_(delay), lost_per_million_(lost_per_million) {}

  [[noreturn]] void run() {
    std::array<pollfd, 2> polled{pollfd{slow_, POLLIN, 0}, pollfd{fast_, POLLIN, 0}};
    while (true) {
      const timespec wait = time_to_next();
      if (ppoll(polled.data(), polled.size(), queue_.empty() ? nullptr : &wait, nullptr) < 0 &&
          errno != EINTR) {
        die("ppoll");
      }
      // In turns: a flood in one direction must neither silence the other nor keep frames beyond their time.
      for (int turn = 0; turn < kFramesPerTurn; ++turn) {
        if (!receive(slow_, [this](std::span<const uint8_t> frame) { delay(frame); })) break;
      }
      for (int turn = 0; turn < kFramesPerTurn; ++turn) {
        if (!receive(fast_, [this](std::span<const uint8_t> frame) { send_frame(slow_, frame); })) break;
      }
      release();
    }
  }

 private:
  template <typename Use>
  bool receive(int fd, Use use) {
    const ssize_t length = recv(fd, buffer_.data(), buffer_.size(), 0);
    if (length <= 0) return false;
    use(std::span<const uint8_t>(buffer_.data(), static_cast<size_t>(length)));
    return true;
  }

  void delay(std::span<const uint8_t> frame) {
    if (std::uniform_int_distribution<long>(0, 999'999)(random_) < lost_per_million_) return;
    if (queued_ + frame.size() > kMaxQueuedBytes) return;
    queued_ += frame.size();
    queue_.push_back({Clock::now() + delay_, {frame.begin(), frame.end()}});
  }

  void release() {
    const auto now = Clock::now();
    while (!queue_.empty() && queue_.front().due <= now) {
      send_frame(fast_, queue_.front().frame);
      queued_ -= queue_.front().frame.size();
      queue_.pop_front();
    }
  }

  timespec time_to_next() const {
    if (queue_.empty()) return {};
    const auto left =
        std::max(std::chrono::nanoseconds(0), std::chrono::nanoseconds(queue_.front().due - Clock::now()));
    return {left.count() / 1'000'000'000, left.count() % 1'000'000'000};
  }

  const int slow_;
  const int fast_;
  const std::chrono::microseconds delay_;
  const long lost_per_million_;
  // The same losses in each run: a test that fails can be repeated.
  std::minstd_rand random_{1};
  std::deque<Waiting> queue_;
  size_t queued_ = 0;
  std::array<uint8_t, kMaxFrame> buffer_{};
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("usage: hadal-wire INTERFACE INTERFACE DELAY_MICROSECONDS LOST_PER_MILLION\n", stderr);
    return 2;
  }
  const auto delay = std::chrono::microseconds(number(argv[3], 60'000'000, "delay"));
  const long lost = number(argv[4], 1'000'000, "loss");
  const int slow = open_interface(argv[1]);
  const int fast = open_interface(argv[2]);
  std::puts("carrying");
  std::fflush(stdout);
  static Wire wire(slow, fast, delay, lost);
  wire.run();
}
