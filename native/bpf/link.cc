#include "native/bpf/link.h"

#include <unistd.h>

#include <cerrno>

#include "native/bpf/descriptor.h"
#include "native/bpf/program.h"
#include "native/net/netns_visit.h"

namespace hadal::bpf {

Result<Link> Link::adopt(UniqueFd fd, std::string what) {
  bpf_link_info info{};
  uint32_t length = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd.get(), &info, &length) != 0) {
    return system_failure("ERR_BPF_LINK", "cannot describe the " + what, "bpf(BPF_OBJ_GET_INFO_BY_FD)",
                          errno);
  }
  Link link;
  link.fd_ = std::move(fd);
  link.id_ = info.id;
  link.what_ = std::move(what);
  return link;
}

Link Link::plain(UniqueFd program, UniqueFd target, bpf_attach_type type, std::string what) {
  Link link;
  link.plain_program_ = std::move(program);
  link.plain_target_ = std::move(target);
  link.plain_type_ = type;
  link.what_ = std::move(what);
  return link;
}

Result<Link> Link::open_pinned(const std::string& path) {
  auto fd = bpf::open_pinned(path, DescriptorKind::link);
  if (!fd) {
    return std::unexpected(std::move(fd.error()));
  }
  return adopt(std::move(*fd), "link pinned at " + path);
}

void Link::close() {
  if (plain_target_.valid()) {
    bpf_prog_detach2(plain_program_.get(), plain_target_.get(), plain_type_);
  }
  plain_target_.reset();
  plain_program_.reset();
  fd_.reset();
}

Result<void> Link::update(const Program& program) {
  const std::string what = "cannot put program " + program.name() + " into the " + what_;
  if (plain_target_.valid()) {
    if (bpf_prog_attach(program.fd(), plain_target_.get(), plain_type_, 0) != 0) {
      return system_failure("ERR_BPF_LINK", what, "bpf(BPF_PROG_ATTACH)", errno);
    }
    auto copy = duplicate(program.fd(), "program " + program.name());
    if (!copy) {
      return std::unexpected(std::move(copy.error()));
    }
    plain_program_ = std::move(*copy);
    return {};
  }
  if (bpf_link_update(fd_.get(), program.fd(), nullptr) != 0) {
    const int error = errno;
    return system_failure(
        "ERR_BPF_LINK",
        what + (error == ENOLINK ? " (it was detached, or what it was attached to is gone)" : ""),
        "bpf(BPF_LINK_UPDATE)", error);
  }
  return {};
}

Result<void> Link::detach() {
  if (plain_target_.valid()) {
    if (bpf_prog_detach2(plain_program_.get(), plain_target_.get(), plain_type_) != 0 && errno != ENOENT) {
      return system_failure("ERR_BPF_LINK", "cannot detach the " + what_, "bpf(BPF_PROG_DETACH)", errno);
    }
    return {};
  }
  if (bpf_link_detach(fd_.get()) != 0) {
    return system_failure("ERR_BPF_LINK", "cannot detach the " + what_, "bpf(BPF_LINK_DETACH)", errno);
  }
  return {};
}

Result<void> Link::pin(const std::string& path) const {
  if (!fd_.valid()) {
    return failure("ERR_BPF_PIN",
                   "cannot pin the " + what_ + ": this kernel has no bpf_link on sock maps (6.10)");
  }
  return bpf::pin(fd_.get(), "the " + what_, path);
}

Result<std::vector<uint8_t>> Link::read_iterator(std::optional<int> netns_fd) const {
  UniqueFd iterator;
  const auto create = [&]() -> Result<void> {
    iterator.reset(bpf_iter_create(fd_.get()));
    if (!iterator.valid()) {
      return system_failure("ERR_BPF_ITERATOR", "cannot run the " + what_, "bpf(BPF_ITER_CREATE)", errno);
    }
    return {};
  };
  // Only the creation looks at the caller's namespace; reading works from anywhere.
  if (auto created = netns_fd ? net::run_in_netns(*netns_fd, create) : create(); !created) {
    return std::unexpected(std::move(created.error()));
  }
  constexpr size_t kStep = 64 << 10;
  std::vector<uint8_t> out;
  for (size_t used = 0;;) {
    out.resize(used + kStep);
    const ssize_t count = ::read(iterator.get(), out.data() + used, kStep);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
      // The kernel ends a read early when the program skipped very many elements.
      continue;
    }
    if (count < 0) {
      return system_failure("ERR_BPF_ITERATOR", "cannot read the " + what_, "read", errno);
    }
    used += static_cast<size_t>(count);
    if (count == 0) {
      out.resize(used);
      return out;
    }
  }
}

}  // namespace hadal::bpf
