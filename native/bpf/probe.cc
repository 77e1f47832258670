#include "native/bpf/probe.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>
#include <optional>
#include <string_view>

#include "native/base/unique_fd.h"
#include "native/bpf/log_capture.h"

namespace hadal::bpf {
namespace {

template <typename Enum>
std::optional<Enum> by_name(const std::string& name, const char* (*name_of)(Enum)) {
  for (int i = 0;; ++i) {
    const char* candidate = name_of(static_cast<Enum>(i));
    if (candidate == nullptr) {
      return std::nullopt;
    }
    if (name == candidate) {
      return static_cast<Enum>(i);
    }
  }
}

std::optional<bpf_func_id> helper_by_name(std::string_view name) {
#define HADAL_HELPER_NAME(helper) #helper
  static constexpr std::string_view names[] = {__BPF_FUNC_MAPPER(HADAL_HELPER_NAME)};
#undef HADAL_HELPER_NAME
  for (size_t i = 0; i < std::size(names); ++i) {
    if (names[i] == name) {
      return static_cast<bpf_func_id>(i);
    }
  }
  return std::nullopt;
}

/// Some program types are refused without the place they are meant for.
bpf_attach_type attach_type_of(bpf_prog_type type) {
  switch (type) {
    case BPF_PROG_TYPE_SK_LOOKUP:
      return BPF_SK_LOOKUP;
    case BPF_PROG_TYPE_CGROUP_SOCK_ADDR:
      return BPF_CGROUP_INET4_CONNECT;
    case BPF_PROG_TYPE_CGROUP_SOCKOPT:
      return BPF_CGROUP_SETSOCKOPT;
    case BPF_PROG_TYPE_SK_REUSEPORT:
      return BPF_SK_REUSEPORT_SELECT;
    default:
      return bpf_attach_type{};
  }
}

bool is_tracing(bpf_prog_type type) {
  return type == BPF_PROG_TYPE_TRACING || type == BPF_PROG_TYPE_EXT || type == BPF_PROG_TYPE_LSM ||
         type == BPF_PROG_TYPE_STRUCT_OPS;
}

std::unexpected<Failure> unknown(const char* what, const std::string& name) {
  return failure("ERR_BPF_NAME",
                 "libbpf " + std::string(libbpf_version_string()) + " knows no " + what + " " + name);
}

Result<bool> answer(int status, const std::string& what) {
  if (status < 0) {
    return system_failure("ERR_BPF_PROBE", "cannot probe " + what, "bpf", -status);
  }
  return status == 1;
}

}  // namespace

Result<bool> probe_program_type(const std::string& name) {
  const auto type = by_name<bpf_prog_type>(name, libbpf_bpf_prog_type_str);
  if (!type) {
    return unknown("program type", name);
  }
  const LogCapture quiet;
  return answer(libbpf_probe_bpf_prog_type(*type, nullptr), "program type " + name);
}

Result<bool> probe_map_type(const std::string& name) {
  const auto type = by_name<bpf_map_type>(name, libbpf_bpf_map_type_str);
  if (!type) {
    return unknown("map type", name);
  }
  const LogCapture quiet;
  return answer(libbpf_probe_bpf_map_type(*type, nullptr), "map type " + name);
}

Result<bool> probe_helper(const std::string& program_type, const std::string& helper) {
  const auto type = by_name<bpf_prog_type>(program_type, libbpf_bpf_prog_type_str);
  if (!type) {
    return unknown("program type", program_type);
  }
  const auto id = helper_by_name(helper);
  if (!id) {
    return unknown("helper", helper);
  }
  const std::string what = "helper " + helper + " for " + program_type;
  if (is_tracing(*type)) {
    return failure("ERR_BPF_PROBE",
                   "cannot probe " + what + ": the kernel answers only at load with a target");
  }
  // Not libbpf_probe_bpf_helper: that of 1.1 does not know how kernels since 6.9 say no.
  const bpf_insn program[] = {{.code = BPF_JMP | BPF_CALL, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = *id},
                              {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  std::array<char, 4096> log{};
  LIBBPF_OPTS(bpf_prog_load_opts, options);
  options.expected_attach_type = attach_type_of(*type);
  options.log_buf = log.data();
  options.log_size = log.size();
  options.log_level = 1;
  const UniqueFd fd(bpf_prog_load(*type, nullptr, "GPL", program, std::size(program), &options));
  if (fd.valid()) {
    return true;
  }
  const int error = errno;
  const std::string_view said(log.data());
  if (said.empty()) {
    // The verifier was not even asked: EINVAL is a program type that this kernel lacks.
    return answer(error == EINVAL ? 0 : -error, what);
  }
  // Any other complaint (uninitialised arguments) means that the helper itself was allowed.
  constexpr std::string_view refusals[] = {"invalid func ", "unknown func ",
                                           "program of this type cannot use helper "};
  return std::ranges::none_of(refusals, [&](std::string_view refusal) { return said.contains(refusal); });
}

}  // namespace hadal::bpf
