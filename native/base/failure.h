// What the native side says when something did not work: one value, turned into a JavaScript Error only in
// native/napi. A message names the thing, the value and the next step; `code` is stable and documented.
#pragma once

#include <cstring>
#include <expected>
#include <string>
#include <utility>

namespace hadal {

struct Failure {
  /// A literal such as "ERR_BPF_LOAD"; never freed.
  const char* code = "ERR_NATIVE";
  std::string message;
  /// errno of the kernel, 0 when the kernel was not asked.
  int error_number = 0;
  /// The system call that failed, nullptr when none did.
  const char* system_call = nullptr;
  /// All the verifier wrote about a refused program; else empty.
  std::string verifier_log;
};

template <typename T>
using Result = std::expected<T, Failure>;

/// A failure of the kernel: `what` names the thing and the value, the errno's text is appended.
[[nodiscard]] inline std::unexpected<Failure> system_failure(const char* code, const std::string& what,
                                                             const char* system_call, int error_number) {
  return std::unexpected(Failure{.code = code,
                                 .message = what + ": " + std::strerror(error_number),
                                 .error_number = error_number,
                                 .system_call = system_call,
                                 .verifier_log = {}});
}

/// A failure found before the kernel was asked.
[[nodiscard]] inline std::unexpected<Failure> failure(const char* code, std::string message) {
  return std::unexpected(Failure{.code = code,
                                 .message = std::move(message),
                                 .error_number = 0,
                                 .system_call = nullptr,
                                 .verifier_log = {}});
}

}  // namespace hadal
