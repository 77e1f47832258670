// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, parsed as strictly as the peers do.
#pragma once

#include <optional>
#include <string_view>

namespace hadal::tls {

/// Views into the text that was parsed.
struct SpiffeId {
  std::string_view trust_domain;
  std::string_view workload_namespace;
  std::string_view service_account;

  [[nodiscard]] static std::optional<SpiffeId> parse(std::string_view uri);
};

}  // namespace hadal::tls
