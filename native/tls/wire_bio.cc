#include "native/tls/wire_bio.h"

namespace hadal::tls {
namespace {

Wire& wire_of(BIO* bio) { return *static_cast<Wire*>(BIO_get_data(bio)); }

int read_wire(BIO* bio, char* into, size_t size, size_t* got) {
  Wire& wire = wire_of(bio);
  BIO_clear_retry_flags(bio);
  *got = 0;
  if (!wire.input.readable() || wire.reads_left == 0) {
    BIO_set_retry_read(bio);
    return 0;
  }
  --wire.reads_left;
  const net::SocketInput::Outcome outcome = wire.input.read(wire.fd, into, size);
  *got = outcome.bytes;
  switch (outcome.status) {
    case net::SocketInput::Status::bytes:
      return 1;
    case net::SocketInput::Status::drained:
      BIO_set_retry_read(bio);
      return 0;
    case net::SocketInput::Status::ended:
      BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
      return 0;
    case net::SocketInput::Status::failed:
      return 0;
  }
  return 0;
}

int write_wire(BIO* bio, const char* from, size_t size, size_t* taken) {
  BIO_clear_retry_flags(bio);
  const bool fits = wire_of(bio).output.append({reinterpret_cast<const uint8_t*>(from), size});
  *taken = fits ? size : 0;
  return fits ? 1 : 0;
}

long control_wire(BIO* bio, int command, long /*number*/, void* /*pointer*/) {
  switch (command) {
    case BIO_CTRL_FLUSH:
      return 1;
    case BIO_CTRL_EOF:
      return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
    default:
      return 0;
  }
}

// Made once per process and never freed: SSL objects of any worker may hold on to it until exit.
BIO_METHOD* wire_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "hadal wire");
    BIO_meth_set_read_ex(made, read_wire);
    BIO_meth_set_write_ex(made, write_wire);
    BIO_meth_set_ctrl(made, control_wire);
    return made;
  }();
  return method;
}

}  // namespace

BIO* new_wire_bio(Wire& wire) {
  BIO* bio = BIO_new(wire_method());
  if (bio != nullptr) {
    BIO_set_data(bio, &wire);
    BIO_set_init(bio, 1);
  }
  return bio;
}

}  // namespace hadal::tls
