#include "native/bpf/read_only.h"

#include <cstring>

namespace hadal::bpf {
namespace {

bool fits(const Integer& value, uint32_t size, bool is_signed) {
  const unsigned bits = size * 8;
  if (value.negative) {
    return is_signed && value.magnitude <= (uint64_t{1} << (bits - 1));
  }
  const uint64_t highest = (is_signed ? uint64_t{1} << (bits - 1) : bits == 64 ? 0 : uint64_t{1} << bits) - 1;
  return value.magnitude <= highest;
}

std::string text(const Integer& value) {
  return (value.negative ? "-" : "") + std::to_string(value.magnitude);
}

}  // namespace

Result<void> write_read_only(const std::string& name, const Type& type, const ReadOnlyValue& value,
                             std::span<uint8_t> into) {
  if (const auto* bytes = std::get_if<std::span<const uint8_t>>(&value)) {
    if (bytes->size() != into.size()) {
      return failure("ERR_BPF_SIZE", name + ": " + std::to_string(bytes->size()) + " bytes given, it has " +
                                         std::to_string(into.size()));
    }
    std::memcpy(into.data(), bytes->data(), into.size());
    return {};
  }
  const bool scalar = type.kind == Type::Kind::integer || type.kind == Type::Kind::enumeration;
  if (!scalar || (into.size() != 1 && into.size() != 2 && into.size() != 4 && into.size() != 8)) {
    return failure("ERR_BPF_TYPE", name + " is no number; give its " + std::to_string(into.size()) +
                                       " bytes as a Uint8Array");
  }
  const auto* flag = std::get_if<bool>(&value);
  const Integer number = flag != nullptr ? Integer{.magnitude = *flag ? 1u : 0u} : std::get<Integer>(value);
  if (type.is_bool ? number.negative || number.magnitude > 1
                   : !fits(number, static_cast<uint32_t>(into.size()), type.is_signed)) {
    return failure("ERR_BPF_RANGE", name + ": " + text(number) + " does not fit " +
                                        (type.name.empty() ? "its type" : type.name) + " (" +
                                        (type.is_bool     ? "0 or 1"
                                         : type.is_signed ? "signed"
                                                          : "unsigned") +
                                        ", " + std::to_string(into.size() * 8) + " bits)");
  }
  // Little endian, as x86-64 and arm64 are: the low bytes come first.
  const uint64_t bits = number.negative ? ~number.magnitude + 1 : number.magnitude;
  std::memcpy(into.data(), &bits, into.size());
  return {};
}

}  // namespace hadal::bpf
