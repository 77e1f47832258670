#include "native/tunnel/forwarded.h"

#include <algorithm>
#include <cctype>

namespace hadal::tunnel {
namespace {

constexpr size_t kMaxHeaderBytes = 1024;

bool same_name(std::string_view a, std::string_view lower) {
  return std::ranges::equal(a, lower, [](char x, char y) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(x))) == y;
  });
}

bool is_token_character(char c) {
  // `:` and brackets are not token characters, but peers write `for=10.0.0.1:80` without quotes.
  static constexpr std::string_view kExtra = "!#$%&'*+-.^_`|~:[]/";
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || kExtra.find(c) != std::string_view::npos;
}

void skip_blanks(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
}

/// A token or a quoted string with its escapes undone.
std::optional<std::string> take_value(std::string_view& text) {
  std::string value;
  if (!text.starts_with('"')) {
    const auto end = std::ranges::find_if_not(text, is_token_character);
    value.assign(text.begin(), end);
    text.remove_prefix(value.size());
    return value.empty() ? std::nullopt : std::optional(value);
  }
  for (size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '"') {
      text.remove_prefix(i + 1);
      return value;
    }
    if (text[i] == '\\' && ++i == text.size()) {
      return std::nullopt;
    }
    if (static_cast<unsigned char>(text[i]) < ' ') {
      return std::nullopt;
    }
    value.push_back(text[i]);
  }
  return std::nullopt;
}

}  // namespace

std::optional<Forwarded> Forwarded::parse(std::string_view text) {
  if (text.size() > kMaxHeaderBytes) {
    return std::nullopt;
  }
  Forwarded forwarded;
  while (true) {
    skip_blanks(text);
    const auto name_end =
        std::ranges::find_if_not(text, [](char c) { return is_token_character(c) && c != '='; });
    const std::string_view name(text.begin(), name_end);
    text.remove_prefix(name.size());
    if (name.empty() || !text.starts_with('=')) {
      return std::nullopt;
    }
    text.remove_prefix(1);
    auto value = take_value(text);
    if (!value) {
      return std::nullopt;
    }
    if (same_name(name, "for")) {
      forwarded.source = net::SocketAddress::parse(*value);
    } else if (same_name(name, "host")) {
      forwarded.host = std::move(*value);
    }
    skip_blanks(text);
    if (text.empty() || text.starts_with(',')) {
      return forwarded;
    }
    if (!text.starts_with(';')) {
      return std::nullopt;
    }
    text.remove_prefix(1);
  }
}

std::string write_forwarded(const net::SocketAddress& source, std::string_view host) {
  std::string text = "for=\"" + source.text() + "\"";
  if (!host.empty()) {
    text.append(";host=").append(host);
  }
  return text;
}

}  // namespace hadal::tunnel
