// A file as the processes of a pod see it. The pod may have made anything of it: a FIFO, a link to elsewhere,
// or a file on a file system of its own that never answers, so this may never return.
#pragma once

#include <string>
#include <string_view>

#include "native/base/failure.h"

namespace hadal::net {

inline constexpr const char* kPodFileCode = "ERR_NET_POD_FILE";
/// There is no process to ask yet.
inline constexpr const char* kPodEmptyCode = "ERR_NET_POD_EMPTY";

/// The first 64 KiB of a regular file, as the first process below `cgroup` that has it would open it:
/// symbolic links lead to nowhere outside its root.
[[nodiscard]] Result<std::string> read_pod_file(const std::string& cgroup, const std::string& path);

/// Of `/proc/<pid>/mountinfo`: the type of the file system on which the path lies as far as mounts tell, when
/// it is one that asks a program or another machine for each answer; '' when not.
[[nodiscard]] std::string unanswering_file_system(std::string_view mountinfo, const std::string& path);

}  // namespace hadal::net
