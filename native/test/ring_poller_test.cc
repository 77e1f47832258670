// The ring buffers' thread against a program that writes records: raw instructions, so that no compiler is
// needed.
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <thread>

#include "native/bpf/ring_buffer.h"

namespace hadal::bpf {
namespace {

using namespace std::chrono_literals;

constexpr uint32_t kRingBytes = 64 << 10;
constexpr size_t kRecordBytes = 8;
constexpr size_t kPackets = 32;

/// bpf_ringbuf_output(ring, "counter", 8, 0) on each run.
UniqueFd load_writer(int ring_fd) {
  const auto insn = [](uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm) {
    bpf_insn out{};
    out.code = code;
    out.dst_reg = dst & 0xf;
    out.src_reg = src & 0xf;
    out.off = off;
    out.imm = imm;
    return out;
  };
  const bpf_insn program[] = {insn(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_1, 0, 0, 7),
                              insn(BPF_STX | BPF_MEM | BPF_DW, BPF_REG_10, BPF_REG_1, -8, 0),
                              insn(BPF_LD | BPF_IMM | BPF_DW, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, ring_fd),
                              insn(0, 0, 0, 0, 0),
                              insn(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0),
                              insn(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -8),
                              insn(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_3, 0, 0, kRecordBytes),
                              insn(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_4, 0, 0, 0),
                              insn(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_ringbuf_output),
                              insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)};
  return UniqueFd(
      bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "write", "GPL", program, std::size(program), nullptr));
}

class RingPollerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) {
      GTEST_SKIP() << "BPF needs root";
    }
    auto map = Map::adopt(UniqueFd(bpf_map_create(BPF_MAP_TYPE_RINGBUF, "ring", 0, 0, kRingBytes, nullptr)));
    ASSERT_TRUE(map) << map.error().message;
    map_.emplace(std::move(*map));
    writer_ = load_writer(map_->fd());
    ASSERT_TRUE(writer_.valid()) << std::strerror(errno);
  }

  void write(int times) const {
    std::array<uint8_t, kPackets> packet{};
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = packet.data();
    options.data_size_in = packet.size();
    options.repeat = times;
    ASSERT_EQ(bpf_prog_test_run_opts(writer_.get(), &options), 0);
  }

  std::optional<Map> map_;
  UniqueFd writer_;
};

bool soon(const std::function<bool()>& what) {
  for (int i = 0; i < 1000 && !what(); ++i) {
    std::this_thread::sleep_for(5ms);
  }
  return what();
}

/// A reader on a thread of its own, as JavaScript is.
class Reader {
 public:
  Reader(RingPoller& poller, const Map& map, RingBufferSettings settings) : poller_(poller) {
    ring_ = RingBuffer::open(map, settings).value();
    id_ = poller.add(ring_, [this] { ready_ = true; }).value();
    thread_ = std::thread([this] {
      while (!done_) {
        if (ready_.exchange(false)) {
          const RecordBatch batch = ring_->take();
          EXPECT_EQ(batch.bytes.size(), batch.count() * kRecordBytes);
          records_ += batch.count();
          poller_.resume(id_);
        }
        std::this_thread::sleep_for(200us);
      }
    });
  }
  ~Reader() {
    done_ = true;
    thread_.join();
    poller_.remove(id_);
    ring_->close();
  }
  [[nodiscard]] size_t records() const { return records_; }

 private:
  RingPoller& poller_;
  std::shared_ptr<RingBuffer> ring_;
  uint64_t id_ = 0;
  std::atomic<bool> ready_ = false;
  std::atomic<bool> done_ = false;
  std::atomic<size_t> records_ = 0;
  std::thread thread_;
};

TEST_F(RingPollerTest, DeliversEveryRecordThatFits) {
  RingPoller poller;
  const Reader reader(poller, *map_, {.interval = 20ms, .max_batch_bytes = 4096});
  size_t wanted = 0;
  for (int i = 0; i < 30; ++i) {
    write(1000);
    wanted += 1000;
    ASSERT_TRUE(soon([&] { return reader.records() == wanted; })) << reader.records() << " of " << wanted;
  }
}

TEST_F(RingPollerTest, StopsReadingWhileABatchWaits) {
  RingPoller poller;
  auto ring = RingBuffer::open(*map_, {.interval = 1ms}).value();
  std::atomic<int> told = 0;
  const uint64_t id = poller.add(ring, [&] { ++told; }).value();
  write(10);
  ASSERT_TRUE(soon([&] { return told == 1; }));
  write(10);
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(told, 1);
  // A slow machine may read in the middle of the first ten.
  const size_t first = ring->take().count();
  EXPECT_LE(first, 10u);
  poller.resume(id);
  ASSERT_TRUE(soon([&] { return told == 2; }));
  EXPECT_EQ(first + ring->take().count(), 20u);
}

TEST_F(RingPollerTest, ForgetsRingsAndStopsWhileRecordsArrive) {
  std::atomic<bool> done = false;
  std::thread producer([&] {
    while (!done) {
      write(100);
    }
  });
  for (int i = 0; i < 20; ++i) {
    RingPoller poller;
    {
      const Reader reader(poller, *map_, {.interval = 1ms, .max_batch_bytes = 512});
      EXPECT_TRUE(soon([&] { return reader.records() > 0; }));
    }
    if (i % 2 == 0) {
      poller.stop();
    }
  }
  done = true;
  producer.join();
}

}  // namespace
}  // namespace hadal::bpf
