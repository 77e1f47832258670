// Names of the headers on a CONNECT between agents, and the trace context that each connection gets.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace hadal::tunnel {

inline constexpr std::string_view kForwardedHeader = "forwarded";
inline constexpr std::string_view kForwardedNetworkHeader = "x-forwarded-network";
inline constexpr std::string_view kBaggageHeader = "baggage";
inline constexpr std::string_view kTraceparentHeader = "traceparent";
/// Says that both ends are Hadal agents, which keep an abortive close apart from a graceful one and take
/// payload ahead of the answer. Other proxies ignore it.
inline constexpr std::string_view kHadalHeader = "hadal-tunnel";
inline constexpr std::string_view kHadalVersion = "1";

/// W3C trace context: 00-<trace id>-<parent id>-00.
class Traceparent {
 public:
  Traceparent(uint64_t trace_high, uint64_t trace_low, uint64_t parent) {
    size_t at = 0;
    put("00-", at);
    put_hex(trace_high, at);
    put_hex(trace_low, at);
    put("-", at);
    put_hex(parent, at);
    put("-00", at);
  }

  [[nodiscard]] std::string_view text() const { return {text_.data(), text_.size()}; }

 private:
  void put(std::string_view part, size_t& at) {
    part.copy(text_.data() + at, part.size());
    at += part.size();
  }
  void put_hex(uint64_t value, size_t& at) {
    for (int shift = 60; shift >= 0; shift -= 4) {
      text_[at++] = "0123456789abcdef"[(value >> shift) & 0xf];
    }
  }

  std::array<char, 55> text_{};
};

}  // namespace hadal::tunnel
