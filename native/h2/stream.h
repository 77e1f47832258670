// One CONNECT on a session, from the view of whoever carries a connection over it.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "native/net/intrusive_list.h"

namespace hadal::h2 {

class Session;

struct TouchedTag;

class Stream : public net::ListHook<TouchedTag> {
 public:
  [[nodiscard]] int32_t stream_id() const { return stream_id_; }
  [[nodiscard]] bool attached() const { return session_ != nullptr; }

 protected:
  ~Stream() = default;

  /// Inside the parser: note it, do nothing else. False refuses the header block.
  virtual bool on_header(std::string_view name, std::string_view value) = 0;
  /// Inside the parser: the header block is complete.
  virtual void on_headers_end() = 0;
  /// After the parser, once for all that happened: headers, `take_received()`, `received_end()`,
  /// `stream_closed()`, or room in a window that was full.
  virtual void on_stream_activity() = 0;

  /// Takes over the payload that arrived, and the duty to consume() it. It still lies inside the decrypted
  /// buffer: valid during on_stream_activity() only. Returns its size.
  size_t take_received(std::vector<iovec>& into);
  /// Payload arrived that nobody has taken yet.
  [[nodiscard]] bool has_received() const { return received_bytes_ > 0; }
  [[nodiscard]] bool received_end() const { return received_end_; }
  [[nodiscard]] bool stream_closed() const { return closed_; }
  /// RST_STREAM's code; NO_ERROR when both ends finished.
  [[nodiscard]] uint32_t close_code() const { return close_code_; }

  [[nodiscard]] Session* session() const { return session_; }
  /// After leaving a session: ready to be opened on another.
  void forget_stream();

 private:
  friend class Session;
  friend struct SessionCallbacks;

  static constexpr uint32_t kNoChunk = UINT32_MAX;

  Session* session_ = nullptr;
  int32_t stream_id_ = -1;
  uint32_t first_chunk_ = kNoChunk;
  uint32_t last_chunk_ = kNoChunk;
  uint32_t received_bytes_ = 0;
  uint32_t close_code_ = 0;
  bool received_end_ = false;
  bool closed_ = false;
  bool ending_ = false;
};

/// DATA payloads found in one decrypted buffer, for all streams of it; one per worker, reused.
struct ChunkList {
  struct Chunk {
    iovec bytes;
    uint32_t next;
  };
  std::vector<Chunk> chunks;
};

}  // namespace hadal::h2
