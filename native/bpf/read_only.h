// Values of read-only variables, checked against their BTF types.
#pragma once

#include "native/bpf/object.h"

namespace hadal::bpf {

/// Writes `value` as `type` into `into`; `name` is used in messages. Numbers must fit the type.
[[nodiscard]] Result<void> write_read_only(const std::string& name, const Type& type,
                                           const ReadOnlyValue& value, std::span<uint8_t> into);

}  // namespace hadal::bpf
