// The server's HTTP/2 session fed with whatever bytes, after a valid beginning or without one.
#include <cstdint>
#include <string_view>

#include "native/fuzz/session_harness.h"

namespace {

using namespace std::string_view_literals;

constexpr std::string_view kBeginning =
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    "\0\0\0\x04\0\0\0\0\0"sv;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hadal::fuzz::hear_bytes(hadal::h2::Role::server, kBeginning, {data, size});
  return 0;
}
