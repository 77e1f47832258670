#include "native/dns/message.h"

#include <algorithm>

namespace hadal::dns {
namespace {

constexpr size_t kMaxNameBytes = 255;
constexpr size_t kTypeAndClass = 4;
constexpr uint8_t kFormErr = 1;
constexpr uint8_t kNotImp = 4;

uint8_t byte_at(std::string_view bytes, size_t at) { return static_cast<uint8_t>(bytes[at]); }

uint16_t number_at(std::string_view bytes, size_t at) {
  return static_cast<uint16_t>(byte_at(bytes, at) << 8 | byte_at(bytes, at + 1));
}

/// Lengths of labels are below any letter.
char lower(char letter) {
  return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

}  // namespace

uint16_t message_id(std::string_view message) { return number_at(message, 0); }

void set_message_id(std::string& message, uint16_t id) {
  message[0] = static_cast<char>(id >> 8);
  message[1] = static_cast<char>(id & 0xff);
}

std::string_view question_of(std::string_view message) {
  if (message.size() < kHeaderBytes || number_at(message, 4) != 1) {
    return {};
  }
  size_t at = kHeaderBytes;
  for (;;) {
    if (at >= message.size()) {
      return {};
    }
    const uint8_t length = byte_at(message, at);
    if (length > 63 || at - kHeaderBytes + length >= kMaxNameBytes) {
      return {};
    }
    at += 1 + static_cast<size_t>(length);
    if (length == 0) {
      break;
    }
  }
  if (at + kTypeAndClass > message.size()) {
    return {};
  }
  return message.substr(kHeaderBytes, at + kTypeAndClass - kHeaderBytes);
}

bool is_answer_to(std::string_view answer, uint16_t id, std::string_view question) {
  if (answer.size() < kHeaderBytes || message_id(answer) != id || (byte_at(answer, 2) & 0x80) == 0) {
    return false;
  }
  const uint8_t code = byte_at(answer, 3) & 15;
  if (number_at(answer, 4) == 0) {
    return code == kFormErr || code == kNotImp;
  }
  const std::string_view told = question_of(answer);
  if (told.empty() || told.size() != question.size()) {
    return false;
  }
  const size_t name_bytes = told.size() - kTypeAndClass;
  return told.substr(name_bytes) == question.substr(name_bytes) &&
         std::ranges::equal(told.substr(0, name_bytes), question.substr(0, name_bytes), {}, lower, lower);
}

}  // namespace hadal::dns
