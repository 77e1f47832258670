// A BIO over a Wire.
#pragma once

#include <openssl/bio.h>

#include "native/tls/channel.h"

namespace hadal::tls {

/// The wire must outlive the BIO. Owned by the SSL it is given to.
[[nodiscard]] BIO* new_wire_bio(Wire& wire);

}  // namespace hadal::tls
