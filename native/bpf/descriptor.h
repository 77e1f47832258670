// Descriptors of BPF objects: what kind they are, how they reach bpffs and come back.
#pragma once

#include <string>

#include "native/base/failure.h"
#include "native/base/unique_fd.h"

namespace hadal::bpf {

enum class DescriptorKind { map, program, link, other };

/// By the name of the anonymous inode: the kernel's own info call does not tell kinds apart.
[[nodiscard]] DescriptorKind kind_of(int fd);

/// Opens what is pinned at `path`, which must be of this kind.
[[nodiscard]] Result<UniqueFd> open_pinned(const std::string& path, DescriptorKind kind);

/// Pins at `path`; `what` names the thing in the message ("map counters").
[[nodiscard]] Result<void> pin(int fd, const std::string& what, const std::string& path);

/// A second descriptor of the same object.
[[nodiscard]] Result<UniqueFd> duplicate(int fd, const std::string& what);

}  // namespace hadal::bpf
