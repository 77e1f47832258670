// The client's HTTP/2 session, with two CONNECTs on their way, fed with whatever bytes, after a valid
// beginning or without one.
#include <cstdint>
#include <string_view>

#include "native/fuzz/session_harness.h"

namespace {

using namespace std::string_view_literals;

// SETTINGS, a response to the first CONNECT, a byte of payload.
constexpr std::string_view kBeginning =
    "\0\0\0\x04\0\0\0\0\0"
    "\0\0\x01\x01\x04\0\0\0\x01\x88"
    "\0\0\x01\0\0\0\0\0\x01!"sv;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hadal::fuzz::hear_bytes(hadal::h2::Role::client, kBeginning, {data, size});
  return 0;
}
