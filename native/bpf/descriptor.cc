#include "native/bpf/descriptor.h"

#include <bpf/bpf.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string_view>

namespace hadal::bpf {
namespace {

const char* name_of(DescriptorKind kind) {
  switch (kind) {
    case DescriptorKind::map:
      return "map";
    case DescriptorKind::program:
      return "program";
    case DescriptorKind::link:
      return "link";
    case DescriptorKind::other:
      break;
  }
  return "something else";
}

bool on_bpffs(const std::string& path) {
  struct statfs info {};
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return ::statfs(parent.empty() ? "." : parent.c_str(), &info) == 0 &&
         static_cast<unsigned long>(info.f_type) == static_cast<unsigned long>(BPF_FS_MAGIC);
}

}  // namespace

DescriptorKind kind_of(int fd) {
  char target[64];
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t length = ::readlink(path.c_str(), target, sizeof(target));
  const std::string_view name(target, length > 0 ? static_cast<size_t>(length) : 0);
  if (name == "anon_inode:bpf-map") {
    return DescriptorKind::map;
  }
  if (name == "anon_inode:bpf-prog") {
    return DescriptorKind::program;
  }
  if (name == "anon_inode:bpf_link" || name == "anon_inode:bpf-link") {
    return DescriptorKind::link;
  }
  return DescriptorKind::other;
}

Result<UniqueFd> open_pinned(const std::string& path, DescriptorKind kind) {
  UniqueFd fd(bpf_obj_get(path.c_str()));
  if (!fd.valid()) {
    return system_failure("ERR_BPF_PIN", "cannot open the pinned " + std::string(name_of(kind)) + " " + path,
                          "bpf(BPF_OBJ_GET)", errno);
  }
  const DescriptorKind found = kind_of(fd.get());
  if (found != kind) {
    return failure("ERR_BPF_PIN", path + " pins a " + name_of(found) + ", expected a " + name_of(kind));
  }
  return fd;
}

Result<void> pin(int fd, const std::string& what, const std::string& path) {
  if (bpf_obj_pin(fd, path.c_str()) == 0) {
    return {};
  }
  const int error = errno;
  std::string message = "cannot pin " + what + " at " + path;
  if (error == EPERM && !on_bpffs(path)) {
    message += " (the directory is not on a bpf file system; mount one: mount -t bpf bpf <directory>)";
  } else if (error == ENOENT) {
    message += " (its directory does not exist)";
  }
  return system_failure("ERR_BPF_PIN", message, "bpf(BPF_OBJ_PIN)", error);
}

Result<UniqueFd> duplicate(int fd, const std::string& what) {
  UniqueFd copy = UniqueFd::duplicate(fd);
  if (!copy.valid()) {
    return system_failure("ERR_BPF_DESCRIPTOR", "cannot duplicate the descriptor of " + what, "fcntl", errno);
  }
  return copy;
}

}  // namespace hadal::bpf
