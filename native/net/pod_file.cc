#include "native/net/pod_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>
#include <vector>

#include "native/base/unique_fd.h"

namespace hadal::net {
namespace {

constexpr size_t kMaxFileBytes = 65'536;
constexpr size_t kMaxMountBytes = 1 << 20;
/// kubelet, pod, container: processes stand below the pod's own cgroup.
constexpr int kDeepest = 3;
constexpr size_t kMaxGroups = 64;
constexpr size_t kMaxProcesses = 8;

/// Up to `most` bytes; EOF ends it earlier.
Result<std::string> read_some(int fd, size_t most, const std::string& what) {
  std::string text(most, '\0');
  size_t length = 0;
  while (length < most) {
    const ssize_t got = read(fd, text.data() + length, most - length);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return system_failure(kPodFileCode, what, "read", errno);
    }
    if (got == 0) {
      break;
    }
    length += static_cast<size_t>(got);
  }
  text.resize(length);
  text.shrink_to_fit();
  return text;
}

Result<std::string> read_below(const std::string& root, const std::string& path) {
  const std::string what = path + " below " + root;
  const UniqueFd top(open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  open_how how{};
  // Not opened yet: with the agent's rights a device of the pod's making would do what devices do.
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  const UniqueFd found(
      top.valid() ? static_cast<int>(syscall(SYS_openat2, top.get(), path.c_str(), &how, sizeof(how))) : -1);
  struct stat status {};
  if (!found.valid() || fstat(found.get(), &status) != 0) {
    return system_failure(kPodFileCode, what, "openat2", errno);
  }
  if (!S_ISREG(status.st_mode)) {
    return failure(kPodFileCode, what + " is no regular file");
  }
  const std::string same = "/proc/self/fd/" + std::to_string(found.get());
  const UniqueFd file(open(same.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.valid()) {
    return system_failure(kPodFileCode, what, "open", errno);
  }
  return read_some(file.get(), kMaxFileBytes, what);
}

Result<std::string> read_own(const std::string& path, size_t most) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) {
    return system_failure(kPodFileCode, path, "open", errno);
  }
  return read_some(file.get(), most, path);
}

std::vector<std::string> groups_in(const std::string& cgroup) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(cgroup.c_str()), closedir);
  while (directory != nullptr && names.size() < kMaxGroups) {
    const dirent* entry = readdir(directory.get());
    if (entry == nullptr) {
      break;
    }
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
      names.emplace_back(entry->d_name);
    }
  }
  return names;
}

/// A pod that may make cgroups can make many of them.
void add_processes(const std::string& cgroup, int depth, size_t& groups_left,
                   std::vector<std::string>& found) {
  if (groups_left == 0) {
    return;
  }
  --groups_left;
  const auto own = read_own(cgroup + "/cgroup.procs", kMaxFileBytes);
  std::string_view rest = own ? std::string_view(*own) : std::string_view();
  while (!rest.empty() && found.size() < kMaxProcesses) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    if (end > 0) {
      found.emplace_back(rest.substr(0, end));
    }
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (depth == 0 || (own && !own->empty())) {
    return;
  }
  for (const std::string& name : groups_in(cgroup)) {
    if (found.size() >= kMaxProcesses) {
      return;
    }
    add_processes(cgroup + "/" + name, depth - 1, groups_left, found);
  }
}

/// Fields of a line of mountinfo are parted by single spaces; optional ones end with a lone `-`.
struct Mount {
  std::string_view point;
  std::string_view type;
};
Mount parse_mount(std::string_view line) {
  Mount mount;
  bool behind_dash = false;
  for (size_t field = 0; !line.empty(); ++field) {
    const size_t end = std::min(line.find(' '), line.size());
    const std::string_view word = line.substr(0, end);
    if (field == 4) {
      mount.point = word;
    } else if (behind_dash) {
      mount.type = word;
      break;
    } else if (field > 5 && word == "-") {
      behind_dash = true;
    }
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return mount;
}

bool holds(std::string_view point, std::string_view path) {
  return point == "/" || point == path ||
         (path.starts_with(point) && path.size() > point.size() && path[point.size()] == '/');
}

bool asks_somebody(std::string_view type) {
  static constexpr std::array kTypes{"fuseblk", "nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs"};
  return type == "fuse" || type.starts_with("fuse.") || std::ranges::find(kTypes, type) != kTypes.end();
}

}  // namespace

std::string unanswering_file_system(std::string_view mountinfo, const std::string& path) {
  Mount nearest;
  while (!mountinfo.empty()) {
    const size_t end = std::min(mountinfo.find('\n'), mountinfo.size());
    const Mount mount = parse_mount(mountinfo.substr(0, end));
    // In the order of their making, so the last one that holds the path is on top, also of what is below it.
    if (!mount.point.empty() && holds(mount.point, path)) {
      nearest = mount;
    }
    mountinfo.remove_prefix(std::min(end + 1, mountinfo.size()));
  }
  return asks_somebody(nearest.type) ? std::string(nearest.type) : std::string();
}

Result<std::string> read_pod_file(const std::string& cgroup, const std::string& path) {
  std::vector<std::string> processes;
  size_t groups_left = kMaxGroups;
  add_processes(cgroup, kDeepest, groups_left, processes);
  Result<std::string> last = failure(kPodEmptyCode, "no process runs below " + cgroup);
  for (const std::string& pid : processes) {
    const auto mounts = read_own("/proc/" + pid + "/mountinfo", kMaxMountBytes);
    const std::string type = mounts ? unanswering_file_system(*mounts, path) : "";
    // A thread that waits for such an answer cannot even be killed, and with it the whole agent.
    last = type.empty()
               ? read_below("/proc/" + pid + "/root", path)
               : failure(kPodFileCode, path + " of process " + pid + " lies on a file system of type " +
                                           type + ", which need not answer, so it is not read");
    if (last) {
      return last;
    }
  }
  return last;
}

}  // namespace hadal::net
