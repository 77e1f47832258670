#include "native/bpf/btf_type.h"

#include <bpf/btf.h>

namespace hadal::bpf {
namespace {

// The kernel's own bound for nested types is 32 (BTF resolve depth); deeper input is not from a compiler.
constexpr int kMaxDepth = 32;

std::string name_of(const btf* types, uint32_t offset) {
  const char* name = btf__name_by_offset(types, offset);
  return name == nullptr ? std::string{} : std::string{name};
}

TypePtr describe(const btf* types, uint32_t id, int depth);

void add_members(const btf* types, const btf_type* raw, int depth, Type& out) {
  const btf_member* members = btf_members(raw);
  for (uint32_t i = 0; i < btf_vlen(raw); ++i) {
    out.members.push_back(Member{.name = name_of(types, members[i].name_off),
                                 .bit_offset = btf_member_bit_offset(raw, i),
                                 .bit_size = btf_member_bitfield_size(raw, i),
                                 .type = describe(types, members[i].type, depth + 1)});
  }
}

// A data section (.rodata, .bss) reads as a struct of its variables.
void add_variables(const btf* types, const btf_type* raw, int depth, Type& out) {
  const btf_var_secinfo* sections = btf_var_secinfos(raw);
  for (uint32_t i = 0; i < btf_vlen(raw); ++i) {
    const btf_type* variable = btf__type_by_id(types, sections[i].type);
    if (variable == nullptr || !btf_is_var(variable)) {
      continue;
    }
    out.members.push_back(Member{.name = name_of(types, variable->name_off),
                                 .bit_offset = sections[i].offset * 8,
                                 .bit_size = 0,
                                 .type = describe(types, variable->type, depth + 1)});
  }
}

void add_enumerators(const btf* types, const btf_type* raw, Type& out) {
  out.kind = Type::Kind::enumeration;
  out.is_signed = btf_kflag(raw);
  for (uint32_t i = 0; i < btf_vlen(raw); ++i) {
    if (btf_is_enum64(raw)) {
      const auto& value = btf_enum64(raw)[i];
      out.values.emplace_back(name_of(types, value.name_off), static_cast<int64_t>(btf_enum64_value(&value)));
    } else {
      const auto& value = btf_enum(raw)[i];
      out.values.emplace_back(name_of(types, value.name_off),
                              out.is_signed ? static_cast<int64_t>(value.val)
                                            : static_cast<int64_t>(static_cast<uint32_t>(value.val)));
    }
  }
}

TypePtr describe(const btf* types, uint32_t id, int depth) {
  const btf_type* raw = btf__type_by_id(types, id);
  std::string alias;
  while (raw != nullptr && (btf_is_mod(raw) || btf_is_typedef(raw) || btf_is_type_tag(raw))) {
    if (alias.empty() && btf_is_typedef(raw)) {
      alias = name_of(types, raw->name_off);
    }
    id = raw->type;
    raw = btf__type_by_id(types, id);
  }
  auto out = std::make_shared<Type>();
  const int64_t size = raw == nullptr ? -1 : btf__resolve_size(types, id);
  out->size = size > 0 ? static_cast<uint32_t>(size) : 0;
  if (raw == nullptr || depth > kMaxDepth) {
    return out;
  }
  out->name = name_of(types, raw->name_off);
  if (btf_is_int(raw)) {
    out->kind = Type::Kind::integer;
    out->is_signed = (btf_int_encoding(raw) & BTF_INT_SIGNED) != 0;
    out->is_bool = (btf_int_encoding(raw) & BTF_INT_BOOL) != 0;
  } else if (btf_is_any_enum(raw)) {
    add_enumerators(types, raw, *out);
  } else if (btf_is_array(raw)) {
    out->kind = Type::Kind::array;
    out->length = btf_array(raw)->nelems;
    out->element = describe(types, btf_array(raw)->type, depth + 1);
  } else if (btf_is_composite(raw)) {
    out->kind = btf_is_union(raw) ? Type::Kind::union_type : Type::Kind::structure;
    add_members(types, raw, depth, *out);
  } else if (btf_is_datasec(raw)) {
    out->kind = Type::Kind::structure;
    add_variables(types, raw, depth, *out);
  }
  // An anonymous struct is known by its typedef; __u32 and the like are known by what they are.
  if (out->name.empty()) {
    out->name = alias;
  }
  return out;
}

}  // namespace

TypePtr describe_type(const btf* types, uint32_t id) {
  return types == nullptr || id == 0 ? nullptr : describe(types, id, 0);
}

TypePtr find_type(const btf* types, const std::string& name) {
  if (types == nullptr || name.empty()) {
    return nullptr;
  }
  constexpr uint32_t kinds[] = {BTF_KIND_STRUCT,  BTF_KIND_UNION, BTF_KIND_ENUM,   BTF_KIND_ENUM64,
                                BTF_KIND_TYPEDEF, BTF_KIND_INT,   BTF_KIND_DATASEC};
  for (const uint32_t kind : kinds) {
    const int32_t id = btf__find_by_name_kind(types, name.c_str(), kind);
    if (id > 0) {
      return describe(types, static_cast<uint32_t>(id), 0);
    }
  }
  return nullptr;
}

}  // namespace hadal::bpf
