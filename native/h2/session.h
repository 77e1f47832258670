// An HTTP/2 session of CONNECT streams over nghttp2, for both roles. Bytes come in by receive() and go out
// through a RecordWriter; DATA payload is copied in neither direction.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "native/h2/flood_guard.h"
#include "native/h2/record_writer.h"
#include "native/h2/stream.h"

namespace hadal::h2 {

struct SessionSettings {
  uint32_t stream_window_bytes = 4u << 20;
  uint32_t connection_window_bytes = 16u << 20;
  uint32_t max_frame_bytes = 1u << 20;
  uint32_t max_concurrent_streams = 200;
  uint32_t header_list_bytes = 64u << 10;
  uint32_t resets_per_second = 20'000;
  uint32_t reset_burst = 100'000;
  uint32_t control_frames_per_second = 1'000;
  /// Of a client's streams. There are 2^30 ids: a busy tunnel uses them up in days.
  uint32_t first_stream_id = 1;
};

/// Whether a frame is worth a record, a packet and a wake-up of its own.
enum class Urgency : uint8_t {
  /// Leaves before the turn ends.
  now,
  /// Nobody waits for it: leaves with the next frame that is urgent, within a millisecond or so.
  soon,
};

class SessionOwner {
 public:
  /// A peer's CONNECT begins (server): who carries it, or null to refuse it.
  virtual Stream* on_new_stream() = 0;
  /// The peer will take no new streams.
  virtual void on_goaway() = 0;
  virtual void on_ping_answer() = 0;
  /// Settings or credit of the peer changed: streams that waited may go on.
  virtual void on_more_room() = 0;
  /// Something waits to be written.
  virtual void on_output(Urgency urgency) = 0;

 protected:
  ~SessionOwner() = default;
};

/// Payload read from an application into equal slots, each with room for a frame header in front.
struct SlottedPayload {
  /// Slot i starts at base + i * kRecordBytes; its payload kFrameHeaderBytes later.
  uint8_t* base = nullptr;
  size_t bytes = 0;
};

enum class Role : uint8_t { client, server };

/// What a session works with and does not own; all of it outlives the session.
struct SessionParts {
  SessionOwner& owner;
  RecordWriter& writer;
  ChunkList& chunks;
  /// The peer's budget of RST_STREAM, shared by all its sessions.
  std::shared_ptr<TokenBucket> resets;
};

class Session {
 public:
  [[nodiscard]] static std::unique_ptr<Session> create(Role role, const SessionSettings& settings,
                                                       SessionParts parts);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Parses; afterwards dispatch() tells the streams. False when the peer broke the protocol or a limit.
  [[nodiscard]] bool receive(std::span<const uint8_t> bytes, int64_t now_ns);
  /// on_stream_activity() for every stream that something happened to.
  void dispatch();
  /// Hands waiting control frames to the writer. False when the session is broken.
  [[nodiscard]] bool flush();

  struct Header {
    std::string_view name;
    std::string_view value;
    /// Kept out of the compression table: values that never repeat would push out those that do.
    bool unique = false;
  };
  [[nodiscard]] bool open_stream(Stream& stream, std::span<const Header> headers);
  [[nodiscard]] bool respond(Stream& stream, std::span<const Header> headers, bool end, Urgency urgency);

  /// How much payload send() may be given now.
  [[nodiscard]] size_t sendable(const Stream& stream) const;
  /// Writes all of it: the caller has asked sendable().
  [[nodiscard]] bool send(Stream& stream, const SlottedPayload& payload);
  /// END_STREAM after what was sent.
  void end(Stream& stream);
  /// RST_STREAM if it is still open; the stream hears nothing more.
  void detach(Stream& stream, uint32_t code);

  /// Credit for payload that reached the application (or was dropped for good). The connection has had its
  /// part of it for `lent` of the bytes.
  void consume(const Stream& stream, size_t bytes, size_t lent = 0);
  /// The connection's part of the credit, ahead of the stream's, for payload that waits for its application.
  void lend(size_t bytes);

  /// Asks the peer to open no more streams; those that are on their way still come in (server only).
  void announce_shutdown();
  /// GOAWAY: streams that have not come in by now never will.
  void finish_shutdown();
  void ping();

  [[nodiscard]] size_t open_streams() const { return open_streams_; }
  [[nodiscard]] uint64_t streams_total() const { return streams_total_; }
  [[nodiscard]] uint32_t peer_max_concurrent_streams() const;
  [[nodiscard]] bool wants_close() const;
  [[nodiscard]] bool flooded() const { return flooded_; }
  [[nodiscard]] const std::string& failure_detail() const { return failure_detail_; }

 private:
  friend class Stream;
  friend struct SessionCallbacks;

  Session(Role role, const SessionSettings& settings, SessionParts parts);

  void touch(Stream& stream);
  void drop_untaken(Stream& stream);
  void attach(Stream& stream, int32_t id);
  [[nodiscard]] bool submit_settings();
  [[nodiscard]] bool run_output();
  void announce_output();
  void flood(const char* what);

  Role role_;
  SessionSettings settings_;
  SessionOwner& owner_;
  RecordWriter& writer_;
  ChunkList& chunks_;
  FloodGuard guard_;
  nghttp2_session* session_ = nullptr;
  net::IntrusiveList<Stream, TouchedTag> touched_;
  Stream* sending_ = nullptr;
  SlottedPayload payload_;
  size_t payload_offset_ = 0;
  size_t open_streams_ = 0;
  uint64_t streams_total_ = 0;
  uint32_t header_bytes_ = 0;
  int64_t now_ns_ = 0;
  bool flooded_ = false;
  bool waits_for_company_ = false;
  std::string failure_detail_;
};

}  // namespace hadal::h2
