#include "native/bpf/log_capture.h"

#include <bpf/libbpf.h>

#include <cstdarg>
#include <cstdio>
#include <mutex>
#include <vector>

namespace hadal::bpf {
namespace {

// A verifier log has no bound of its own (libbpf grows its buffer up to 16 MiB).
constexpr size_t kMaxLogBytes = 20u << 20;
constexpr std::string_view kPrefix = "libbpf: ";
constexpr std::string_view kLogBegin = "-- BEGIN PROG LOAD LOG --\n";
constexpr std::string_view kLogEnd = "-- END PROG LOAD LOG --";

thread_local LogCapture* current = nullptr;

int print(libbpf_print_level level, const char* format, va_list arguments) {
  if (current == nullptr || level == LIBBPF_DEBUG) {
    return 0;
  }
  va_list again;
  va_copy(again, arguments);
  const int length = std::vsnprintf(nullptr, 0, format, arguments);
  if (length > 0) {
    std::string line(static_cast<size_t>(length) + 1, '\0');
    std::vsnprintf(line.data(), line.size(), format, again);
    line.pop_back();
    current->append(line);
  }
  va_end(again);
  return length;
}

}  // namespace

LogCapture::LogCapture() : outer_(current) {
  static std::once_flag once;
  std::call_once(once, [] { libbpf_set_print(print); });
  current = this;
}

LogCapture::~LogCapture() { current = outer_; }

void LogCapture::append(std::string_view text) {
  if (text_.size() + text.size() <= kMaxLogBytes) {
    text_.append(text);
  }
}

std::string LogCapture::warnings() const {
  std::string out = text_;
  const size_t begin = out.find(kLogBegin);
  const size_t end = out.rfind(kLogEnd);
  if (begin != std::string::npos && end != std::string::npos && end > begin) {
    // Drop whole lines: the markers stand behind "libbpf: prog 'name': ".
    const size_t line_start = out.rfind('\n', begin);
    const size_t line_end = out.find('\n', end);
    const size_t from = line_start == std::string::npos ? 0 : line_start + 1;
    out.erase(from, line_end == std::string::npos ? std::string::npos : line_end + 1 - from);
  }
  for (size_t prefix = out.find(kPrefix); prefix != std::string::npos; prefix = out.find(kPrefix, prefix)) {
    out.erase(prefix, kPrefix.size());
  }
  while (!out.empty() && out.back() == '\n') {
    out.pop_back();
  }
  return out;
}

std::string LogCapture::verifier_log() const {
  const size_t begin = text_.find(kLogBegin);
  if (begin == std::string::npos) {
    return {};
  }
  const size_t from = begin + kLogBegin.size();
  const size_t end = text_.rfind(kLogEnd);
  if (end == std::string::npos || end < from) {
    return text_.substr(from);
  }
  const size_t line_start = text_.rfind('\n', end);
  return text_.substr(from, (line_start < from ? from : line_start) - from);
}

std::string LogCapture::failed_program() const {
  const size_t what = text_.find("': BPF program load failed");
  if (what == std::string::npos) {
    return {};
  }
  const size_t quote = text_.rfind('\'', what - 1);
  return quote == std::string::npos ? std::string{} : text_.substr(quote + 1, what - quote - 1);
}

std::string verifier_log_tail(std::string_view log, int lines) {
  std::vector<std::string_view> all;
  while (!log.empty()) {
    const size_t end = log.find('\n');
    const std::string_view line = log.substr(0, end);
    if (!line.empty() && !line.starts_with("processed ") && !line.starts_with("verification time")) {
      all.push_back(line);
    }
    if (end == std::string_view::npos) {
      break;
    }
    log.remove_prefix(end + 1);
  }
  std::string tail;
  const size_t first = all.size() > static_cast<size_t>(lines) ? all.size() - static_cast<size_t>(lines) : 0;
  for (size_t i = first; i < all.size(); ++i) {
    tail.append(tail.empty() ? "" : "\n").append(all[i]);
  }
  return tail;
}

}  // namespace hadal::bpf
