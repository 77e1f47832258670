// What nameservers answer, and what pods' mounts say: neither is trusted.
#include <cstdint>
#include <string>
#include <string_view>

#include "native/dns/message.h"
#include "native/fuzz/require.h"
#include "native/net/pod_file.h"

using hadal::dns::is_answer_to;
using hadal::dns::kHeaderBytes;
using hadal::dns::message_id;
using hadal::dns::question_of;
using hadal::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A copy of its own size, so that a read past the end is seen.
  const std::string text(reinterpret_cast<const char*>(data), size);
  (void)hadal::net::unanswering_file_system(text, "/etc/resolv.conf");
  const std::string_view question = question_of(text);
  if (question.empty()) {
    return 0;
  }
  require(question.size() >= 5 && question.size() <= 259, "a question has a name, a type and a class");
  require(question.data() == text.data() + kHeaderBytes, "it stands behind the header");
  const bool is_response = (static_cast<uint8_t>(text[2]) & 0x80) != 0;
  require(is_answer_to(text, message_id(text), question) == is_response,
          "an answer with the question is one, a query is none");
  require(!is_answer_to(text, static_cast<uint16_t>(message_id(text) + 1), question),
          "another id is not ours");
  return 0;
}
