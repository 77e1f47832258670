#include "native/tls/spiffe_id.h"

#include <algorithm>

namespace hadal::tls {
namespace {

constexpr std::string_view kScheme = "spiffe://";
constexpr size_t kMaxBytes = 2048;

/// Printable ASCII without what would change the meaning of a URI; `/` has been split away already.
bool is_plain(std::string_view segment) {
  return !segment.empty() && std::ranges::all_of(segment, [](char c) {
    return c > ' ' && c < 0x7f && c != '?' && c != '#' && c != '%' && c != '@' && c != '"' && c != '\\';
  });
}

/// Cuts up to the next `/`; the rest is empty after the last segment.
std::string_view take_segment(std::string_view& rest) {
  const size_t slash = rest.find('/');
  const std::string_view segment = rest.substr(0, slash);
  rest = slash == std::string_view::npos ? std::string_view{} : rest.substr(slash + 1);
  return segment;
}

}  // namespace

std::optional<SpiffeId> SpiffeId::parse(std::string_view uri) {
  // A trailing slash would be a sixth, empty segment that take_segment cannot see.
  if (!uri.starts_with(kScheme) || uri.size() > kMaxBytes || uri.ends_with('/')) {
    return std::nullopt;
  }
  std::string_view rest = uri.substr(kScheme.size());
  SpiffeId id;
  id.trust_domain = take_segment(rest);
  const std::string_view ns = take_segment(rest);
  id.workload_namespace = take_segment(rest);
  const std::string_view sa = take_segment(rest);
  id.service_account = rest;
  const bool exact = ns == "ns" && sa == "sa" && rest.find('/') == std::string_view::npos;
  if (!exact || !is_plain(id.trust_domain) || !is_plain(id.workload_namespace) ||
      !is_plain(id.service_account)) {
    return std::nullopt;
  }
  return id;
}

}  // namespace hadal::tls
