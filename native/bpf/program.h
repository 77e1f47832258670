// A loaded program by its descriptor, and what it can be attached to. Attaching is always a bpf_link (multi
// semantics): what others attached stays.
#pragma once

#include <bpf/bpf.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "native/base/failure.h"
#include "native/base/unique_fd.h"
#include "native/bpf/link.h"
#include "native/bpf/map.h"

namespace hadal::bpf {

struct TestRunInput {
  std::optional<std::vector<uint8_t>> packet;
  std::optional<std::vector<uint8_t>> context;
  uint32_t repeat = 1;
};

struct TestRunOutput {
  uint32_t return_value = 0;
  uint32_t duration_ns = 0;
  std::optional<std::vector<uint8_t>> packet;
  std::optional<std::vector<uint8_t>> context;
};

class Program {
 public:
  /// Takes over `fd`. Without `attach_type` (a pinned program: the kernel does not tell it) attaching tries
  /// those that its type allows; the kernel accepts only the right one.
  [[nodiscard]] static Result<Program> adopt(UniqueFd fd, std::string name = {},
                                             std::optional<bpf_attach_type> attach_type = std::nullopt);
  [[nodiscard]] static Result<Program> open_pinned(const std::string& path);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bpf_prog_type type() const { return static_cast<bpf_prog_type>(type_); }
  [[nodiscard]] std::string type_name() const;
  [[nodiscard]] uint32_t id() const { return id_; }
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] bool is_open() const { return fd_.valid(); }
  void close() { fd_.reset(); }

  /// To a cgroup v2 directory.
  [[nodiscard]] Result<Link> attach_cgroup(const std::string& path) const;
  /// sk_lookup and flow dissectors, to the network namespace behind `netns_fd`.
  [[nodiscard]] Result<Link> attach_netns(int netns_fd) const;
  /// sk_msg and sk_skb. A bpf_link since 6.10; before, a plain attachment that the link's handle undoes.
  [[nodiscard]] Result<Link> attach_sock_map(const Map& map) const;
  [[nodiscard]] Result<Link> attach_iterator() const;

  [[nodiscard]] Result<TestRunOutput> test_run(const TestRunInput& input) const;
  [[nodiscard]] Result<void> pin(const std::string& path) const;

 private:
  Program() = default;
  [[nodiscard]] Result<Link> attach(int target_fd, const std::string& where,
                                    std::span<const bpf_attach_type> candidates) const;

  UniqueFd fd_;
  std::string name_;
  uint32_t type_ = 0;
  uint32_t id_ = 0;
  std::optional<bpf_attach_type> attach_type_;
};

}  // namespace hadal::bpf
