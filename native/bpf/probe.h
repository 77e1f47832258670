// What this kernel can do, by trying.
#pragma once

#include <string>

#include "native/base/failure.h"

namespace hadal::bpf {

/// Names as in bpf.h without their prefix, lower case: `sk_lookup`, `ringbuf`, `sk_storage_get`.
[[nodiscard]] Result<bool> probe_program_type(const std::string& name);
[[nodiscard]] Result<bool> probe_map_type(const std::string& name);
/// For tracing program types the kernel answers only at load with a target, so they cannot be probed.
[[nodiscard]] Result<bool> probe_helper(const std::string& program_type, const std::string& helper);

}  // namespace hadal::bpf
