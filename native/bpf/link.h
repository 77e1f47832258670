// An attachment. Closing the last descriptor of a link that is not pinned detaches its program.
#pragma once

#include <bpf/bpf.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "native/base/failure.h"
#include "native/base/unique_fd.h"

namespace hadal::bpf {

class Program;

class Link {
 public:
  /// Takes over the descriptor of a bpf_link. `what` describes it in messages ("link of connect4 at
  /// /sys/fs/...").
  [[nodiscard]] static Result<Link> adopt(UniqueFd fd, std::string what);
  /// For kernels without links on sock maps: undone by detach() and close().
  [[nodiscard]] static Link plain(UniqueFd program, UniqueFd target, bpf_attach_type type, std::string what);
  [[nodiscard]] static Result<Link> open_pinned(const std::string& path);

  Link(Link&&) = default;
  Link& operator=(Link&&) = default;
  ~Link() { close(); }

  [[nodiscard]] const std::string& what() const { return what_; }
  /// 0 for a plain attachment.
  [[nodiscard]] uint32_t id() const { return id_; }
  /// -1 for a plain attachment.
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] bool is_open() const { return fd_.valid() || plain_target_.valid(); }
  void close();

  [[nodiscard]] Result<void> update(const Program& program);
  [[nodiscard]] Result<void> detach();
  [[nodiscard]] Result<void> pin(const std::string& path) const;

  /// Runs an iterator to its end; `netns_fd`: created inside that network namespace, which decides what
  /// iter/tcp lists.
  [[nodiscard]] Result<std::vector<uint8_t>> read_iterator(std::optional<int> netns_fd) const;

 private:
  Link() = default;

  UniqueFd fd_;
  UniqueFd plain_program_;
  UniqueFd plain_target_;
  bpf_attach_type plain_type_ = BPF_CGROUP_INET_INGRESS;
  uint32_t id_ = 0;
  std::string what_;
};

}  // namespace hadal::bpf
