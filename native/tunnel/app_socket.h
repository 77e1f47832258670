// A socket whose other end is an application (or, on plaintext paths, another node): ordered writes with what
// did not fit kept behind, both half-closes, and the choice between a graceful and an abortive end.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstdint>
#include <span>

#include "native/base/unique_fd.h"
#include "native/net/socket_input.h"
#include "native/tunnel/spill_buffer.h"

namespace hadal::tunnel {

class AppSocket {
 public:
  enum class Write : uint8_t { done, kept, failed };

  /// What was written before is kept.
  void open(UniqueFd fd) { fd_ = std::move(fd); }

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] bool valid() const { return fd_.valid(); }
  [[nodiscard]] net::SocketInput& input() { return input_; }

  /// Until the connection stands, everything written is kept.
  void hold_writes(bool hold) { held_ = hold; }

  /// Writes what the socket takes and keeps the rest. `written` is what left now.
  [[nodiscard]] Write write(std::span<iovec> parts, size_t size, size_t& written);
  /// Tries again with what was kept.
  [[nodiscard]] Write write_kept(size_t& written);
  /// Payload that was kept, without what prepend() added.
  [[nodiscard]] size_t kept_bytes() const { return kept_.size() - std::min(kept_.size(), preface_bytes_); }
  /// Ahead of everything kept so far; not counted as written.
  void prepend(std::span<const uint8_t> preface);
  void drop_kept() { kept_.clear(); }

  /// FIN once all that was kept has left. Returns whether it is out.
  bool end_writes();
  [[nodiscard]] bool writes_ended() const { return fin_sent_; }

  void close() { fd_.reset(); }
  /// RST.
  void abort();

 private:
  UniqueFd fd_;
  net::SocketInput input_;
  bool held_ = false;
  bool fin_sent_ = false;
  SpillBuffer kept_;
  size_t preface_bytes_ = 0;
};

}  // namespace hadal::tunnel
