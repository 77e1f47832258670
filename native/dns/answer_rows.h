// Decisions on queries of one pod, written down until the mesh or the pod's search list changes: the answer
// to repeat, or that the nameserver is to be asked.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "native/dns/message.h"

namespace hadal::dns {

struct Row {
  /// The whole answer, whose id is replaced; of a query that is passed on, what is said when the nameserver
  /// fails.
  std::string message{};
  /// The nameserver answers.
  bool forward = false;
  /// Under which its queries are counted.
  uint32_t labels = 0;
  /// Where addresses stand in the message, each of `address_bytes`: they come in another order each time.
  std::vector<uint16_t> addresses{};
  uint8_t address_bytes = 0;

  /// The offsets and the size fit the message.
  [[nodiscard]] bool is_sound() const;
  template <typename Random>
  void shuffle(Random& random);
};

class AnswerRows {
 public:
  /// `key` as key_of() makes it.
  [[nodiscard]] Row* find(std::string_view key);
  void put(std::string key, Row row);
  void clear();

  [[nodiscard]] size_t size() const { return rows_.size(); }

  /// A query without its id. Names vary in the case of their letters and messages in their flags, and the
  /// answer repeats both, so the key is all the rest as it came.
  static void make_key(std::string_view message, Protocol protocol, std::string& key);

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  std::unordered_map<std::string, Row, Hash, std::equal_to<>> rows_;
  size_t bytes_ = 0;
};

template <typename Random>
void Row::shuffle(Random& random) {
  for (size_t last = addresses.size(); last > 1; --last) {
    char* one = message.data() + addresses[last - 1];
    char* other = message.data() + addresses[random() % last];
    if (one != other) {
      std::swap_ranges(one, one + address_bytes, other);
    }
  }
}

}  // namespace hadal::dns
