#include "native/h2/record_writer.h"

#include <algorithm>
#include <cstring>

namespace hadal::h2 {
namespace {

// Below this, copying into a shared record is cheaper than a record of its own (about a microsecond each).
constexpr size_t kGatherBytes = 4096;

}  // namespace

RecordWriter::~RecordWriter() {
  if (gathered_ != nullptr) {
    gather_pool_.give_back(std::move(gathered_));
  }
}

void RecordWriter::append(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    if (gathered_ == nullptr) {
      gathered_ = gather_pool_.lend();
    }
    const size_t part = std::min(bytes.size(), kRecordBytes - gathered_bytes_);
    std::memcpy(gathered_.get() + gathered_bytes_, bytes.data(), part);
    gathered_bytes_ += part;
    bytes = bytes.subspan(part);
    if (gathered_bytes_ == kRecordBytes) {
      finish();
    }
  }
}

void RecordWriter::write_data_frame(const uint8_t* header, uint8_t* payload, size_t size) {
  uint8_t* frame = payload - kFrameHeaderBytes;
  std::memcpy(frame, header, kFrameHeaderBytes);
  const std::span<const uint8_t> bytes(frame, kFrameHeaderBytes + size);
  if (bytes.size() <= kGatherBytes) {
    append(bytes);
    return;
  }
  finish();
  write_record(bytes);
}

void RecordWriter::finish() {
  if (gathered_ == nullptr) {
    return;
  }
  if (gathered_bytes_ > 0) {
    write_record({gathered_.get(), gathered_bytes_});
  }
  gathered_bytes_ = 0;
  gather_pool_.give_back(std::move(gathered_));
}

}  // namespace hadal::h2
