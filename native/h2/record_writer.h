// Turns HTTP/2 frames into TLS records. Small frames of all streams share a record; a large DATA frame
// becomes a record of its own, its 9 byte header written into the room that its payload keeps in front.
#pragma once

#include <cstdint>
#include <span>

#include "native/net/output_buffer.h"
#include "native/tls/channel.h"

namespace hadal::h2 {

inline constexpr size_t kFrameHeaderBytes = 9;
inline constexpr size_t kRecordBytes = 16384;
/// A payload that fills one record together with its header. 16,384 would make two records of every frame.
inline constexpr size_t kSlotPayloadBytes = kRecordBytes - kFrameHeaderBytes;

class RecordWriter {
 public:
  /// `gather_pool` lends blocks of kRecordBytes.
  RecordWriter(tls::Channel& channel, net::BlockPool& gather_pool)
      : channel_(channel), gather_pool_(gather_pool) {}
  ~RecordWriter();
  RecordWriter(const RecordWriter&) = delete;
  RecordWriter& operator=(const RecordWriter&) = delete;

  /// Copies whole frames or parts of them.
  void append(std::span<const uint8_t> bytes);
  /// `payload` has kFrameHeaderBytes of room in front of it.
  void write_data_frame(const uint8_t* header, uint8_t* payload, size_t size);
  /// Encrypts what was gathered.
  void finish();

  [[nodiscard]] bool failed() const { return failed_; }

 private:
  void write_record(std::span<const uint8_t> plaintext) { failed_ = !channel_.write(plaintext) || failed_; }

  tls::Channel& channel_;
  net::BlockPool& gather_pool_;
  net::BlockPool::Block gathered_;
  size_t gathered_bytes_ = 0;
  bool failed_ = false;
};

}  // namespace hadal::h2
