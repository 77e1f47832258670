#include "native/bpf/program.h"

#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>

#include "native/bpf/descriptor.h"

namespace hadal::bpf {
namespace {

// Where BPF_PROG_TEST_RUN may write the packet: a program may grow it, by no more than a page in practice.
constexpr size_t kPacketRoom = 4096;
// Kernel-internal errno that this call lets out.
constexpr int kNotSupported = 524;

// What each program type may be attached to at a cgroup, for programs whose own attach type is unknown.
std::vector<bpf_attach_type> cgroup_attach_types(bpf_prog_type type) {
  switch (type) {
    case BPF_PROG_TYPE_CGROUP_SOCK_ADDR:
      return {BPF_CGROUP_INET4_CONNECT,     BPF_CGROUP_INET6_CONNECT,     BPF_CGROUP_INET4_BIND,
              BPF_CGROUP_INET6_BIND,        BPF_CGROUP_UDP4_SENDMSG,      BPF_CGROUP_UDP6_SENDMSG,
              BPF_CGROUP_UDP4_RECVMSG,      BPF_CGROUP_UDP6_RECVMSG,      BPF_CGROUP_INET4_GETPEERNAME,
              BPF_CGROUP_INET6_GETPEERNAME, BPF_CGROUP_INET4_GETSOCKNAME, BPF_CGROUP_INET6_GETSOCKNAME};
    case BPF_PROG_TYPE_CGROUP_SOCK:
      return {BPF_CGROUP_INET_SOCK_CREATE, BPF_CGROUP_INET_SOCK_RELEASE, BPF_CGROUP_INET4_POST_BIND,
              BPF_CGROUP_INET6_POST_BIND};
    case BPF_PROG_TYPE_CGROUP_SKB:
      return {BPF_CGROUP_INET_INGRESS, BPF_CGROUP_INET_EGRESS};
    case BPF_PROG_TYPE_CGROUP_SOCKOPT:
      return {BPF_CGROUP_GETSOCKOPT, BPF_CGROUP_SETSOCKOPT};
    case BPF_PROG_TYPE_SOCK_OPS:
      return {BPF_CGROUP_SOCK_OPS};
    case BPF_PROG_TYPE_CGROUP_DEVICE:
      return {BPF_CGROUP_DEVICE};
    case BPF_PROG_TYPE_CGROUP_SYSCTL:
      return {BPF_CGROUP_SYSCTL};
    default:
      return {};
  }
}

std::vector<bpf_attach_type> sock_map_attach_types(bpf_prog_type type) {
  switch (type) {
    case BPF_PROG_TYPE_SK_MSG:
      return {BPF_SK_MSG_VERDICT};
    case BPF_PROG_TYPE_SK_SKB:
      return {BPF_SK_SKB_VERDICT, BPF_SK_SKB_STREAM_VERDICT, BPF_SK_SKB_STREAM_PARSER};
    default:
      return {};
  }
}

}  // namespace

Result<Program> Program::adopt(UniqueFd fd, std::string name, std::optional<bpf_attach_type> attach_type) {
  bpf_prog_info info{};
  uint32_t length = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd.get(), &info, &length) != 0) {
    return system_failure("ERR_BPF_PROGRAM", "cannot describe program " + name, "bpf(BPF_OBJ_GET_INFO_BY_FD)",
                          errno);
  }
  Program program;
  program.fd_ = std::move(fd);
  program.name_ = name.empty() ? info.name : std::move(name);
  program.type_ = info.type;
  program.id_ = info.id;
  program.attach_type_ = attach_type;
  return program;
}

Result<Program> Program::open_pinned(const std::string& path) {
  auto fd = bpf::open_pinned(path, DescriptorKind::program);
  if (!fd) {
    return std::unexpected(std::move(fd.error()));
  }
  return adopt(std::move(*fd));
}

std::string Program::type_name() const {
  const char* name = libbpf_bpf_prog_type_str(type());
  return name == nullptr ? "type " + std::to_string(type_) : name;
}

Result<Link> Program::attach(int target_fd, const std::string& where,
                             std::span<const bpf_attach_type> candidates) const {
  const std::string what = "program " + name_ + " (" + type_name() + ") ";
  if (candidates.empty()) {
    return failure("ERR_BPF_ATTACH", what + "cannot be attached " + where + ": its type is for other places");
  }
  int error = 0;
  for (const bpf_attach_type type : candidates) {
    UniqueFd fd(bpf_link_create(this->fd(), target_fd, type, nullptr));
    if (fd.valid()) {
      return Link::adopt(std::move(fd), "link of " + name_ + " " + where);
    }
    error = errno;
    if (error != EINVAL) {
      break;
    }
  }
  return system_failure("ERR_BPF_ATTACH", "cannot attach " + what + where, "bpf(BPF_LINK_CREATE)", error);
}

Result<Link> Program::attach_cgroup(const std::string& path) const {
  const UniqueFd cgroup(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup.valid()) {
    return system_failure("ERR_BPF_ATTACH", "cannot attach program " + name_ + ": cannot open cgroup " + path,
                          "open", errno);
  }
  struct statfs info {};
  if (::fstatfs(cgroup.get(), &info) != 0 ||
      static_cast<unsigned long>(info.f_type) != static_cast<unsigned long>(CGROUP2_SUPER_MAGIC)) {
    return failure("ERR_BPF_ATTACH",
                   "cannot attach program " + name_ + ": " + path +
                       " is not in a cgroup v2 file system; /proc/mounts tells where one is");
  }
  const auto all = cgroup_attach_types(type());
  if (attach_type_ && std::ranges::find(all, *attach_type_) != all.end()) {
    return attach(cgroup.get(), "at cgroup " + path, {&*attach_type_, 1});
  }
  return attach(cgroup.get(), "at cgroup " + path, all);
}

Result<Link> Program::attach_netns(int netns_fd) const {
  std::vector<bpf_attach_type> types;
  if (type() == BPF_PROG_TYPE_SK_LOOKUP) {
    types.push_back(BPF_SK_LOOKUP);
  } else if (type() == BPF_PROG_TYPE_FLOW_DISSECTOR) {
    types.push_back(BPF_FLOW_DISSECTOR);
  }
  return attach(netns_fd, "to the network namespace behind descriptor " + std::to_string(netns_fd), types);
}

Result<Link> Program::attach_sock_map(const Map& map) const {
  const auto all = sock_map_attach_types(type());
  const std::string where = "to sock map " + map.name();
  const bool known = attach_type_ && std::ranges::find(all, *attach_type_) != all.end();
  auto link = attach(map.fd(), where, known ? std::span(&*attach_type_, 1) : std::span(all));
  if (link || link.error().error_number != EINVAL) {
    return link;
  }
  // Before 6.10 sock maps took no links; EINVAL is how those kernels say so.
  const bpf_attach_type type = known ? *attach_type_ : all.front();
  if (bpf_prog_attach(fd(), map.fd(), type, 0) != 0) {
    return system_failure("ERR_BPF_ATTACH", "cannot attach program " + name_ + " " + where,
                          "bpf(BPF_PROG_ATTACH)", errno);
  }
  auto program = duplicate(fd(), "program " + name_);
  auto target = duplicate(map.fd(), "map " + map.name());
  if (!program || !target) {
    bpf_prog_detach2(fd(), map.fd(), type);
    return std::unexpected(std::move(program ? target.error() : program.error()));
  }
  return Link::plain(std::move(*program), std::move(*target), type, "attachment of " + name_ + " " + where);
}

Result<Link> Program::attach_iterator() const {
  if (type() != BPF_PROG_TYPE_TRACING) {
    return attach(-1, "as an iterator", {});
  }
  const bpf_attach_type type = BPF_TRACE_ITER;
  return attach(0, "as an iterator", {&type, 1});
}

Result<TestRunOutput> Program::test_run(const TestRunInput& input) const {
  LIBBPF_OPTS(bpf_test_run_opts, options);
  TestRunOutput out;
  if (input.packet) {
    out.packet.emplace(input.packet->size() + kPacketRoom);
    options.data_in = input.packet->data();
    options.data_size_in = static_cast<uint32_t>(input.packet->size());
    options.data_out = out.packet->data();
    options.data_size_out = static_cast<uint32_t>(out.packet->size());
  }
  if (input.context) {
    options.ctx_in = input.context->data();
    options.ctx_size_in = static_cast<uint32_t>(input.context->size());
    // Only packet programs write their context back; others refuse to be asked.
    if (input.packet) {
      out.context.emplace(input.context->size());
      options.ctx_out = out.context->data();
      options.ctx_size_out = static_cast<uint32_t>(out.context->size());
    }
  }
  // The kernel refuses a repeat count for types that run once (sk_lookup takes one).
  options.repeat = type() == BPF_PROG_TYPE_SYSCALL || type() == BPF_PROG_TYPE_RAW_TRACEPOINT
                       ? 0
                       : static_cast<int>(input.repeat);
  if (bpf_prog_test_run_opts(fd(), &options) != 0) {
    const int error = errno;
    return system_failure("ERR_BPF_TEST_RUN",
                          "cannot run program " + name_ + " (" + type_name() + ") on the given input" +
                              (error == kNotSupported ? " (this program type has no test run)" : ""),
                          "bpf(BPF_PROG_TEST_RUN)", error);
  }
  out.return_value = options.retval;
  out.duration_ns = options.duration;
  if (out.packet) {
    out.packet->resize(options.data_size_out);
  }
  if (out.context) {
    out.context->resize(options.ctx_size_out);
  }
  return out;
}

Result<void> Program::pin(const std::string& path) const { return bpf::pin(fd(), "program " + name_, path); }

}  // namespace hadal::bpf
