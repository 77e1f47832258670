// HTTP/2 without TLS, prior knowledge. A test switch: it exists so that the demo can prove that its search
// for clear text on the wire would find some.
#pragma once

#include "native/tls/channel.h"

namespace hadal::tls {

class ClearChannel final : public Channel {
 public:
  /// `claimed_identity` stands for the peer, since nothing proves one here.
  ClearChannel(Wire& wire, std::string claimed_identity) : wire_(wire) {
    peer_.identity = std::move(claimed_identity);
  }

  [[nodiscard]] Progress handshake() override { return Progress::done; }

  [[nodiscard]] ReadOutcome read(std::span<uint8_t> into) override {
    if (!wire_.input.readable()) {
      return {ReadStatus::drained, 0};
    }
    const net::SocketInput::Outcome outcome = wire_.input.read(wire_.fd, into.data(), into.size());
    return {static_cast<ReadStatus>(outcome.status), outcome.bytes};
  }

  [[nodiscard]] bool write(std::span<const uint8_t> plaintext) override {
    return wire_.output.append(plaintext);
  }
  void end() override {}
  [[nodiscard]] Agreement agreement() const override { return {}; }

 private:
  static_assert(static_cast<int>(ReadStatus::failed) == static_cast<int>(net::SocketInput::Status::failed));

  Wire& wire_;
};

}  // namespace hadal::tls
