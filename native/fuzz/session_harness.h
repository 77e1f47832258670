// An HTTP/2 session of ours with a fuzzed peer: everything around it that a tunnel would be, in memory, and
// what must hold whatever the peer sends.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "native/fuzz/require.h"
#include "native/h2/session.h"
#include "native/tls/channel.h"

namespace hadal::fuzz {

/// Takes records and keeps only how much there was.
class MemoryChannel final : public tls::Channel {
 public:
  [[nodiscard]] Progress handshake() override { return Progress::done; }
  [[nodiscard]] ReadOutcome read(std::span<uint8_t> /*into*/) override { return {}; }
  [[nodiscard]] bool write(std::span<const uint8_t> plaintext) override {
    require(plaintext.size() <= h2::kRecordBytes, "a record is no larger than TLS allows");
    for (const uint8_t byte : plaintext) {
      sum_ += byte;
    }
    written_ += plaintext.size();
    return true;
  }
  void end() override {}
  [[nodiscard]] Agreement agreement() const override { return {}; }
  [[nodiscard]] size_t written() const { return written_; }

 private:
  size_t written_ = 0;
  /// Every byte is looked at, so that the sanitizers see one that was freed.
  volatile uint64_t sum_ = 0;
};

class SessionHarness;

class FuzzStream final : public h2::Stream {
 public:
  explicit FuzzStream(SessionHarness& harness) : harness_(harness) {}

  bool on_header(std::string_view name, std::string_view value) override;
  void on_headers_end() override { ++header_blocks_; }
  void on_stream_activity() override;

  [[nodiscard]] size_t header_blocks() const { return header_blocks_; }
  [[nodiscard]] bool is_closed() const { return stream_closed(); }
  [[nodiscard]] size_t kept() const { return kept_; }
  void release(size_t bytes) { kept_ -= bytes; }
  void forget() { forget_stream(); }
  [[nodiscard]] bool answered() const { return answered_; }
  void set_answered() { answered_ = true; }
  [[nodiscard]] bool ended() const { return ended_; }
  void set_ended() { ended_ = true; }

 private:
  SessionHarness& harness_;
  size_t header_blocks_ = 0;
  size_t kept_ = 0;
  bool answered_ = false;
  bool ended_ = false;
};

class SessionHarness final : public h2::SessionOwner {
 public:
  SessionHarness(h2::Role role, const h2::SessionSettings& settings);
  ~SessionHarness();

  h2::Stream* on_new_stream() override;
  void on_goaway() override { ++goaways_; }
  void on_ping_answer() override { ++pings_; }
  void on_more_room() override {}
  void on_output(h2::Urgency /*urgency*/) override {}

  /// What a tunnel does with one batch of bytes. False when the tunnel is over.
  bool feed(std::span<const uint8_t> bytes, int64_t now_ns);
  /// Something that our side may do at any time, chosen by the number.
  void act(uint8_t choice, uint8_t which);
  /// A client's CONNECT.
  void open_stream();
  /// How our streams behave: one bit each for taking payload later, refusing headers, refusing streams.
  void set_manners(uint8_t manners) { manners_ = manners; }

  [[nodiscard]] bool holds_payload() const { return (manners_ & 1) != 0; }
  [[nodiscard]] bool refuses_headers() const { return (manners_ & 2) != 0; }
  [[nodiscard]] bool refuses_streams() const { return (manners_ & 4) != 0; }
  [[nodiscard]] h2::Session& session() { return *session_; }

 private:
  [[nodiscard]] FuzzStream* pick(uint8_t which);
  void answer(FuzzStream& stream, bool end);
  void send(FuzzStream& stream, size_t size);
  void leave(FuzzStream& stream, uint32_t code);
  void sweep();
  void check() const;

  h2::Role role_;
  h2::SessionSettings settings_;
  net::BlockPool blocks_{h2::kRecordBytes, 2};
  MemoryChannel channel_;
  h2::RecordWriter writer_{channel_, blocks_};
  h2::ChunkList chunks_;
  std::vector<uint8_t> slots_ = std::vector<uint8_t>(4 * h2::kRecordBytes);
  std::unique_ptr<h2::Session> session_;
  std::vector<std::unique_ptr<FuzzStream>> streams_;
  size_t received_ = 0;
  size_t goaways_ = 0;
  size_t pings_ = 0;
  uint8_t manners_ = 0;
  bool over_ = false;
};

/// A session that hears whatever bytes, after `beginning` or without it. A client has two CONNECTs on their
/// way. Input: manners, size of the pieces, then the peer's bytes.
void hear_bytes(h2::Role role, std::string_view beginning, std::span<const uint8_t> input);

}  // namespace hadal::fuzz
