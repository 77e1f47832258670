// A peer that speaks HTTP/2 frame by frame over its own TLS, so that it can say what no library would.
#pragma once

#include <openssl/ssl.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "native/base/unique_fd.h"
#include "native/net/address.h"
#include "native/tls/credentials.h"

struct nghttp2_hd_inflater;

namespace hadal::test {

inline constexpr std::string_view kMagic = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kReset = 3,
  kSettings = 4,
  kPing = 6,
  kGoaway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};

inline constexpr uint8_t kAck = 1;
inline constexpr uint8_t kEndStream = 1;
inline constexpr uint8_t kEndHeaders = 4;

struct Frame {
  uint8_t type = 0;
  uint8_t flags = 0;
  uint32_t stream = 0;
  std::string payload;
};

using Fields = std::vector<std::pair<std::string, std::string>>;

[[nodiscard]] std::string frame(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload = {});
/// Big endian, as frames carry codes and increments.
[[nodiscard]] std::string u32(uint32_t value);
/// A header block of literals that enter no table.
[[nodiscard]] std::string block(const Fields& fields);
[[nodiscard]] Fields connect_fields(const std::string& authority);

class HostilePeer {
 public:
  struct Wish {
    /// Null: no certificate at all.
    const tls::IdentityMaterial* material = nullptr;
    /// As in the protocol: a length byte before each name. Empty: no ALPN.
    std::string alpn = std::string("\x02h2", 3);
    int max_version = 0;
  };
  /// Connects the socket; nothing is said yet.
  HostilePeer(int netns_fd, const net::SocketAddress& address, const Wish& wish);
  /// The other side: a server on a connection that it has accepted.
  HostilePeer(UniqueFd accepted, const tls::IdentityMaterial& material);
  ~HostilePeer();
  HostilePeer(const HostilePeer&) = delete;
  HostilePeer& operator=(const HostilePeer&) = delete;

  /// True when TLS stands and the server has not taken it back. What it said instead is in failure().
  [[nodiscard]] bool shake_hands();
  [[nodiscard]] const std::string& failure() const { return failure_; }
  /// TLS, magic and empty SETTINGS.
  [[nodiscard]] bool begin();
  /// A TLS KeyUpdate.
  bool update_keys();

  /// False once the server has closed. May leave what it said readable.
  bool say(std::string_view bytes);
  /// The next frame; nothing at the end of the connection or after 10 s.
  [[nodiscard]] std::optional<Frame> hear();
  [[nodiscard]] std::optional<Frame> hear_until(const std::function<bool(const Frame&)>& wanted);
  /// Code of the GOAWAY that ends the connection.
  [[nodiscard]] std::optional<uint32_t> goaway_code();
  [[nodiscard]] std::optional<uint32_t> reset_code(uint32_t stream);
  /// `:status` of the answer on a stream; empty when there is none.
  [[nodiscard]] std::string status(uint32_t stream);
  /// CONNECT and its answer.
  [[nodiscard]] std::string connect(uint32_t stream, const std::string& authority);
  /// Sends on a stream and reads the same back.
  [[nodiscard]] bool echoes(uint32_t stream, const std::string& text);
  /// The connection is at its end, or comes to it within 10 s of silence.
  [[nodiscard]] bool is_closed();
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  [[nodiscard]] bool fill(size_t size);

  UniqueFd fd_;
  SSL_CTX* context_ = nullptr;
  SSL* ssl_ = nullptr;
  nghttp2_hd_inflater* inflater_ = nullptr;
  std::string failure_;
  std::string heard_;
  bool is_server_ = false;
  bool timed_out_ = false;
};

}  // namespace hadal::test
