#include "native/bpf/probe.h"

#include <bpf/libbpf.h>

#include <cerrno>
#include <optional>
#include <string_view>

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
  const LogCapture quiet;
  return answer(libbpf_probe_bpf_helper(*type, *id, nullptr), "helper " + helper + " for " + program_type);
}

}  // namespace hadal::bpf
