// The little of a DNS message that is read here: whether an answer belongs to a question. What a query means
// is TypeScript's to say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hadal::dns {

inline constexpr size_t kHeaderBytes = 12;
inline constexpr size_t kMaxMessageBytes = 65'535;

enum class Protocol : uint8_t { udp = 17, tcp = 6 };

[[nodiscard]] uint16_t message_id(std::string_view message);
void set_message_id(std::string& message, uint16_t id);

/// The question of a message with one, from its name to its class; '' when it is cut short or points
/// elsewhere.
[[nodiscard]] std::string_view question_of(std::string_view message);

/// A server that does not understand the question may leave it out.
[[nodiscard]] bool is_answer_to(std::string_view answer, uint16_t id, std::string_view question);

}  // namespace hadal::dns
