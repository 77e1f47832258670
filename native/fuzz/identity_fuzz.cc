// SPIFFE ids: what is accepted is put together again from its three parts, and holds nothing that a reader of
// URIs would take for something else.
#include <cstdint>
#include <string>

#include "native/fuzz/require.h"
#include "native/tls/spiffe_id.h"

using hadal::fuzz::require;
using hadal::tls::SpiffeId;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string uri(reinterpret_cast<const char*>(data), size);
  const auto id = SpiffeId::parse(uri);
  if (!id) {
    return 0;
  }
  require(size <= 2048, "an id is no longer than the standard allows");
  require(!id->trust_domain.empty() && !id->workload_namespace.empty() && !id->service_account.empty(),
          "no part is empty");
  require(uri.find_first_of("?#%@\"\\ \n\r\t", 0) == std::string::npos && uri.find('\0') == std::string::npos,
          "nothing in it changes the meaning of a URI");
  const std::string again = "spiffe://" + std::string(id->trust_domain) + "/ns/" +
                            std::string(id->workload_namespace) + "/sa/" + std::string(id->service_account);
  require(again == uri, "its parts make the id again");
  return 0;
}
