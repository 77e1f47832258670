// Forwarded::parse: bounded, and what we write ourselves is read back the same.
#include <cstdint>
#include <string>

#include "native/fuzz/require.h"
#include "native/tunnel/authority.h"
#include "native/tunnel/forwarded.h"

using hadal::fuzz::require;
using hadal::tunnel::Forwarded;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto forwarded = Forwarded::parse(text);
  if (!forwarded) {
    return 0;
  }
  require(size <= 1024, "a long header is not read");
  require(forwarded->host.size() < size, "the host comes out of the text");
  for (const char c : forwarded->host) {
    require(static_cast<unsigned char>(c) >= ' ', "no control character gets through");
  }
  if (!forwarded->source) {
    return 0;
  }
  // Our own client writes only hosts that are names; those and every source must survive.
  const auto name = hadal::tunnel::Authority::parse(forwarded->host + ":1");
  const std::string host = name && !name->address ? forwarded->host : "";
  const std::string written = hadal::tunnel::write_forwarded(*forwarded->source, host);
  const auto again = Forwarded::parse(written);
  require(again.has_value(), "what we write is read");
  require(again->source == forwarded->source && again->host == host, "what we write is read back the same");
  return 0;
}
