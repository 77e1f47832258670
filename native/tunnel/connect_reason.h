// Why a connect() failed, as a reason of bpf/shared/reasons.h.
#pragma once

#include <cerrno>
#include <cstdint>

#include "bpf/shared/reasons.h"

namespace hadal::tunnel {

[[nodiscard]] inline uint16_t connect_reason(int error) {
  switch (error) {
    case ECONNREFUSED:
      return HADAL_REASON_CONNECT_REFUSED;
    case ETIMEDOUT:
      return HADAL_REASON_CONNECT_TIMEOUT;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case EADDRNOTAVAIL:
      return HADAL_REASON_OUT_OF_RESOURCES;
    default:
      return HADAL_REASON_CONNECT_FAILED;
  }
}

}  // namespace hadal::tunnel
