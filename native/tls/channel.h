// The bytes of one tunnel between its HTTP/2 session and its socket. Two kinds: TLS, and clear text for the
// demo's negative control.
#pragma once

#include <climits>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "native/net/output_buffer.h"
#include "native/net/socket_input.h"
#include "native/tls/peer_verification.h"
#include "native/tls/revocation_list.h"

namespace hadal::tls {

/// The socket's two halves, owned by the tunnel.
struct Wire {
  int fd = -1;
  net::SocketInput input;
  /// What one call of OpenSSL's may still read: it would go on for as long as messages come that carry no
  /// payload.
  int reads_left = INT_MAX;
  net::OutputBuffer output;

  explicit Wire(net::BlockPool& pool) : output(pool) {}
};

class Channel {
 public:
  enum class Progress : uint8_t { done, waiting, failed };
  enum class ReadStatus : uint8_t { bytes, drained, ended, failed };
  struct ReadOutcome {
    ReadStatus status = ReadStatus::drained;
    size_t bytes = 0;
  };

  virtual ~Channel() = default;

  [[nodiscard]] virtual Progress handshake() = 0;
  [[nodiscard]] virtual ReadOutcome read(std::span<uint8_t> into) = 0;
  /// Into the wire's output; false when the channel is broken.
  [[nodiscard]] virtual bool write(std::span<const uint8_t> plaintext) = 0;
  /// Says goodbye (close_notify) into the wire's output.
  virtual void end() = 0;

  /// What the handshake agreed on; empty text for clear channels.
  struct Agreement {
    std::string version;
    std::string cipher;
    std::string group;
  };
  [[nodiscard]] virtual Agreement agreement() const = 0;
  /// How long the peer's certificate is still valid; nothing where there is none.
  [[nodiscard]] virtual std::optional<int64_t> peer_valid_seconds() const { return std::nullopt; }
  /// What holds from now on, for a handshake that is under way and for the peer that is verified already: in
  /// words if that one is revoked.
  [[nodiscard]] virtual std::optional<std::string> set_revocations(
      std::shared_ptr<const RevocationList> /*revocations*/) {
    return std::nullopt;
  }

  [[nodiscard]] const PeerVerification& peer() const { return peer_; }
  [[nodiscard]] const std::string& failure_detail() const { return failure_detail_; }
  /// bpf/shared/reasons.h
  [[nodiscard]] uint16_t failure_reason() const { return failure_reason_; }

 protected:
  PeerVerification peer_;
  std::string failure_detail_;
  uint16_t failure_reason_ = 0;
};

}  // namespace hadal::tls
