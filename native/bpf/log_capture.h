// libbpf prints through one callback of the whole process. Ours keeps what it says for the thread that asked
// and drops the rest, so nothing of a library reaches the program's stderr and two threads never mix their
// logs.
#pragma once

#include <string>
#include <string_view>

namespace hadal::bpf {

class LogCapture {
 public:
  LogCapture();
  ~LogCapture();
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;

  /// What libbpf said on this thread since construction, its verifier logs cut out.
  [[nodiscard]] std::string warnings() const;
  /// The verifier's log of the program that was refused; empty when none was.
  [[nodiscard]] std::string verifier_log() const;
  /// The program that libbpf names as failed; empty when it names none.
  [[nodiscard]] std::string failed_program() const;

  /// Called by libbpf's callback.
  void append(std::string_view text);

 private:
  std::string text_;
  LogCapture* outer_;
};

/// The lines of a verifier log that say why: those right before its closing statistics.
[[nodiscard]] std::string verifier_log_tail(std::string_view log, int lines);

}  // namespace hadal::bpf
