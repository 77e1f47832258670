// One open tunnel as /config_dump shows it.
#pragma once

#include <cstdint>
#include <string>

#include "native/net/address.h"

namespace hadal::tunnel {

struct TunnelDescription {
  uint32_t worker = 0;
  bool outbound = false;
  uint32_t pod_index = 0;
  net::SocketAddress local;
  net::SocketAddress remote;
  std::string peer_identity;
  std::string tls_version;
  std::string cipher;
  std::string key_exchange_group;
  uint64_t streams = 0;
  uint64_t streams_total = 0;
  int64_t age_ms = 0;
  uint32_t rtt_us = 0;
};

}  // namespace hadal::tunnel
