// BTF types as plain values: sizes, offsets and names, typedefs and qualifiers resolved. TypeScript reads the
// layout of map keys and values from here, so a struct is written once, in C.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

struct btf;

namespace hadal::bpf {

struct Type;
using TypePtr = std::shared_ptr<const Type>;

struct Member {
  std::string name;
  uint32_t bit_offset = 0;
  /// Width of a bit field, 0 for an ordinary member.
  uint32_t bit_size = 0;
  TypePtr type;
};

struct Type {
  enum class Kind : uint8_t { integer, enumeration, array, structure, union_type, opaque };
  Kind kind = Kind::opaque;
  std::string name;
  uint32_t size = 0;
  bool is_signed = false;
  bool is_bool = false;
  /// Elements of an array.
  uint32_t length = 0;
  TypePtr element;
  std::vector<std::pair<std::string, int64_t>> values;
  std::vector<Member> members;
};

/// `id` 0 (void) gives nullptr. Pointers are opaque, so a type never contains itself.
[[nodiscard]] TypePtr describe_type(const btf* types, uint32_t id);

/// A struct, union, enum, int or typedef by its name; nullptr when there is none.
[[nodiscard]] TypePtr find_type(const btf* types, const std::string& name);

}  // namespace hadal::bpf
