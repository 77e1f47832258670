#include "native/test/support/hostile_peer.h"

#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <csignal>
#include <stdexcept>

#include "native/test/support/sockets.h"

namespace hadal::test {
namespace {

constexpr size_t kHeaderBytes = 9;

void use_material(SSL_CTX* context, const tls::IdentityMaterial& material) {
  BIO* bio = BIO_new_mem_buf(material.certificate_chain.data(), -1);
  X509* certificate = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  bio = BIO_new_mem_buf(material.private_key.data(), -1);
  EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  const bool used =
      SSL_CTX_use_certificate(context, certificate) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1;
  X509_free(certificate);
  EVP_PKEY_free(key);
  if (!used) {
    throw std::runtime_error("the hostile peer's certificate is of no use");
  }
}

uint32_t read_u32(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4 && i < bytes.size(); ++i) {
    value = value << 8 | static_cast<uint8_t>(bytes[i]);
  }
  return value;
}

}  // namespace

std::string frame(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload) {
  std::string out = u32(static_cast<uint32_t>(payload.size())).substr(1);
  out.push_back(static_cast<char>(type));
  out.push_back(static_cast<char>(flags));
  return out.append(u32(stream)).append(payload);
}

std::string u32(uint32_t value) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(value >> shift));
  }
  return out;
}

std::string block(const Fields& fields) {
  std::string out;
  const auto put = [&](const std::string& text) {
    // HPACK's integer with a prefix of 7 bits.
    size_t left = text.size();
    if (left < 127) {
      out.push_back(static_cast<char>(left));
    } else {
      out.push_back(127);
      for (left -= 127; left >= 128; left /= 128) {
        out.push_back(static_cast<char>(left % 128 + 128));
      }
      out.push_back(static_cast<char>(left));
    }
    out.append(text);
  };
  for (const auto& [name, value] : fields) {
    out.push_back(0);
    put(name);
    put(value);
  }
  return out;
}

Fields connect_fields(const std::string& authority) {
  return {{":method", "CONNECT"}, {":authority", authority}};
}

HostilePeer::HostilePeer(int netns_fd, const net::SocketAddress& address, const Wish& wish)
    : fd_(connect_in(netns_fd, address)), context_(SSL_CTX_new(TLS_client_method())) {
  // OpenSSL writes without MSG_NOSIGNAL.
  (void)std::signal(SIGPIPE, SIG_IGN);
  SSL_CTX_set_verify(context_, SSL_VERIFY_NONE, nullptr);
  if (wish.max_version != 0) {
    SSL_CTX_set_max_proto_version(context_, wish.max_version);
  }
  if (wish.material != nullptr) {
    use_material(context_, *wish.material);
  }
  ssl_ = SSL_new(context_);
  if (!wish.alpn.empty()) {
    SSL_set_alpn_protos(ssl_, reinterpret_cast<const unsigned char*>(wish.alpn.data()),
                        static_cast<unsigned>(wish.alpn.size()));
  }
  SSL_set_fd(ssl_, fd_.get());
  nghttp2_hd_inflate_new(&inflater_);
}

HostilePeer::HostilePeer(UniqueFd accepted, const tls::IdentityMaterial& material)
    : fd_(std::move(accepted)), context_(SSL_CTX_new(TLS_server_method())), is_server_(true) {
  (void)std::signal(SIGPIPE, SIG_IGN);
  use_material(context_, material);
  SSL_CTX_set_alpn_select_cb(
      context_,
      [](SSL*, const unsigned char** out, unsigned char* length, const unsigned char*, unsigned, void*) {
        *out = reinterpret_cast<const unsigned char*>("h2");
        *length = 2;
        return SSL_TLSEXT_ERR_OK;
      },
      nullptr);
  ssl_ = SSL_new(context_);
  SSL_set_fd(ssl_, fd_.get());
  nghttp2_hd_inflate_new(&inflater_);
}

HostilePeer::~HostilePeer() {
  nghttp2_hd_inflate_del(inflater_);
  SSL_free(ssl_);
  SSL_CTX_free(context_);
}

bool HostilePeer::shake_hands() {
  if (SSL_connect(ssl_) != 1) {
    failure_ = tls::take_openssl_errors();
    return false;
  }
  // In TLS 1.3 the client is done before the server has looked at its certificate: wait for its first word.
  if (fill(kHeaderBytes)) {
    return true;
  }
  failure_ = tls::take_openssl_errors();
  return false;
}

bool HostilePeer::update_keys() {
  if (SSL_key_update(ssl_, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 && SSL_do_handshake(ssl_) == 1) {
    return true;
  }
  (void)tls::take_openssl_errors();
  return false;
}

bool HostilePeer::begin() {
  if (is_server_) {
    if (SSL_accept(ssl_) != 1 || !fill(kMagic.size())) {
      return false;
    }
    heard_.erase(0, kMagic.size());
    return say(frame(kSettings, 0, 0));
  }
  return SSL_connect(ssl_) == 1 && say(std::string(kMagic) + frame(kSettings, 0, 0)) && fill(kHeaderBytes);
}

bool HostilePeer::say(std::string_view bytes) {
  while (!bytes.empty()) {
    const int said = SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()));
    if (said <= 0) {
      (void)tls::take_openssl_errors();
      return false;
    }
    bytes.remove_prefix(static_cast<size_t>(said));
  }
  return true;
}

bool HostilePeer::fill(size_t size) {
  std::string part(65536, '\0');
  while (heard_.size() < size) {
    const int got = SSL_read(ssl_, part.data(), static_cast<int>(part.size()));
    if (got <= 0) {
      timed_out_ = SSL_get_error(ssl_, got) == SSL_ERROR_WANT_READ;
      return false;
    }
    heard_.append(part, 0, static_cast<size_t>(got));
  }
  return true;
}

std::optional<Frame> HostilePeer::hear() {
  if (!fill(kHeaderBytes)) {
    (void)tls::take_openssl_errors();
    return std::nullopt;
  }
  const size_t size = read_u32(heard_) >> 8;
  Frame heard{.type = static_cast<uint8_t>(heard_[3]),
              .flags = static_cast<uint8_t>(heard_[4]),
              .stream = read_u32(std::string_view(heard_).substr(5)),
              .payload = {}};
  if (!fill(kHeaderBytes + size)) {
    (void)tls::take_openssl_errors();
    return std::nullopt;
  }
  heard.payload = heard_.substr(kHeaderBytes, size);
  heard_.erase(0, kHeaderBytes + size);
  return heard;
}

std::optional<Frame> HostilePeer::hear_until(const std::function<bool(const Frame&)>& wanted) {
  while (auto heard = hear()) {
    if (wanted(*heard)) {
      return heard;
    }
  }
  return std::nullopt;
}

std::optional<uint32_t> HostilePeer::goaway_code() {
  const auto heard = hear_until([](const Frame& one) { return one.type == kGoaway; });
  return heard ? std::optional(read_u32(std::string_view(heard->payload).substr(4))) : std::nullopt;
}

std::optional<uint32_t> HostilePeer::reset_code(uint32_t stream) {
  const auto heard =
      hear_until([stream](const Frame& one) { return one.type == kReset && one.stream == stream; });
  return heard ? std::optional(read_u32(heard->payload)) : std::nullopt;
}

std::string HostilePeer::status(uint32_t stream) {
  const auto heard = hear_until([stream](const Frame& one) {
    return (one.type == kHeaders && one.stream == stream) || (one.type == kReset && one.stream == stream);
  });
  std::string status;
  if (!heard || heard->type != kHeaders) {
    return status;
  }
  const auto* at = reinterpret_cast<const uint8_t*>(heard->payload.data());
  size_t left = heard->payload.size();
  while (left > 0) {
    nghttp2_nv field{};
    int flags = 0;
    const ssize_t used = nghttp2_hd_inflate_hd2(inflater_, &field, &flags, at, left, 1);
    if (used < 0) {
      return status;
    }
    at += used;
    left -= static_cast<size_t>(used);
    const std::string_view name(reinterpret_cast<const char*>(field.name), field.namelen);
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0 && name == ":status") {
      status.assign(reinterpret_cast<const char*>(field.value), field.valuelen);
    }
    if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) {
      nghttp2_hd_inflate_end_headers(inflater_);
      break;
    }
  }
  return status;
}

std::string HostilePeer::connect(uint32_t stream, const std::string& authority) {
  say(frame(kHeaders, kEndHeaders, stream, block(connect_fields(authority))));
  return status(stream);
}

bool HostilePeer::echoes(uint32_t stream, const std::string& text) {
  if (!say(frame(kData, 0, stream, text))) {
    return false;
  }
  std::string back;
  while (back.size() < text.size()) {
    const auto heard =
        hear_until([stream](const Frame& one) { return one.type == kData && one.stream == stream; });
    if (!heard) {
      return false;
    }
    back += heard->payload;
  }
  return back == text;
}

bool HostilePeer::is_closed() {
  return !hear_until([](const Frame&) { return false; }) && !timed_out_;
}

}  // namespace hadal::test
