// The certificate, key and roots of one workload identity, ready for handshakes. Immutable: a renewal makes
// new credentials, open tunnels keep theirs until they end.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <vector>

#include "native/base/failure.h"

namespace hadal::tls {

struct IdentityMaterial {
  std::string identity;
  /// PEM, leaf first, then intermediates.
  std::string certificate_chain;
  /// PEM, PKCS#8.
  std::string private_key;
  /// PEM bundle.
  std::string roots;
  /// Of peers that the identity accepts.
  std::vector<std::string> trust_domains;
};

struct SslContextFree {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
using SslContext = std::unique_ptr<SSL_CTX, SslContextFree>;

class Credentials {
 public:
  [[nodiscard]] static Result<std::shared_ptr<const Credentials>> create(const IdentityMaterial& material);

  [[nodiscard]] SSL_CTX* client() const { return client_.get(); }
  [[nodiscard]] SSL_CTX* server() const { return server_.get(); }
  [[nodiscard]] bool accepts_trust_domain(std::string_view trust_domain) const;

 private:
  Credentials() = default;

  SslContext client_;
  SslContext server_;
  std::vector<std::string> trust_domains_;
};

/// Whether this OpenSSL offers X25519MLKEM768 (3.5 does, Debian's 3.0 does not).
[[nodiscard]] bool has_hybrid_key_exchange();

/// Takes everything out of OpenSSL's error queue of this thread, as one line.
[[nodiscard]] std::string take_openssl_errors();

}  // namespace hadal::tls
