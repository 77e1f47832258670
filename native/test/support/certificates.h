// A certificate authority for tests.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <vector>

#include "native/tls/credentials.h"

namespace hadal::test {

class CertificateAuthority {
 public:
  explicit CertificateAuthority(const std::string& name);

  struct Wish {
    std::vector<std::string> uris;
    int valid_from_seconds = -60;
    int valid_to_seconds = 3600;
    bool client_usage = true;
    bool server_usage = true;
  };
  /// Material for `identity`, whose certificate names it and nothing else.
  [[nodiscard]] tls::IdentityMaterial issue(const std::string& identity,
                                            std::vector<std::string> trust_domains = {"cluster.local"}) const;
  [[nodiscard]] tls::IdentityMaterial issue(const Wish& wish, const std::string& identity,
                                            std::vector<std::string> trust_domains) const;
  [[nodiscard]] std::string root_pem() const;
  /// A revocation list with the leaf of `material`, whoever signed that.
  [[nodiscard]] std::string revoke(const tls::IdentityMaterial& material, int valid_seconds = 3600) const;

 private:
  struct KeyFree {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  };
  struct CertificateFree {
    void operator()(X509* certificate) const { X509_free(certificate); }
  };
  std::unique_ptr<EVP_PKEY, KeyFree> key_;
  std::unique_ptr<X509, CertificateFree> certificate_;
};

}  // namespace hadal::test
