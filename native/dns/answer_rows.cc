#include "native/dns/answer_rows.h"

#include <utility>

namespace hadal::dns {
namespace {

/// A pod that asks for ever new names pushes out its own rows, nobody else's.
constexpr size_t kMaxBytes = 128 * 1024;
constexpr size_t kMaxKeyBytes = 512;
constexpr size_t kEntryBytes = 160;

size_t cost_of(const std::string& key, const Row& row) {
  return kEntryBytes + key.size() + row.message.size() + row.addresses.size() * sizeof(uint16_t);
}

}  // namespace

bool Row::is_sound() const {
  if (message.size() < kHeaderBytes || message.size() > kMaxMessageBytes) {
    return false;
  }
  return std::ranges::all_of(addresses,
                             [&](uint16_t at) { return size_t{at} + address_bytes <= message.size(); });
}

void AnswerRows::make_key(std::string_view message, Protocol protocol, std::string& key) {
  key.assign(message);
  key[0] = 0;
  key[1] = static_cast<char>(protocol);
}

Row* AnswerRows::find(std::string_view key) {
  const auto found = rows_.find(key);
  return found == rows_.end() ? nullptr : &found->second;
}

void AnswerRows::put(std::string key, Row row) {
  const size_t cost = cost_of(key, row);
  if (key.size() > kMaxKeyBytes || cost > kMaxBytes / 4) {
    return;
  }
  if (bytes_ + cost > kMaxBytes) {
    clear();
  }
  if (rows_.insert_or_assign(std::move(key), std::move(row)).second) {
    bytes_ += cost;
  }
}

void AnswerRows::clear() {
  rows_.clear();
  bytes_ = 0;
}

}  // namespace hadal::dns
