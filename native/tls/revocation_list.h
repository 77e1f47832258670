// Certificates that their authorities took back before their time. Immutable, shared by all workers. Where no
// list of an issuer is known, its certificates pass: lists come later than certificates, and a mesh that
// stopped whenever one is late would be switched off.
#pragma once

#include <openssl/x509.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "native/base/failure.h"

namespace hadal::tls {

class RevocationList {
 public:
  /// PEM with any number of X509 CRLs; text without one is refused unless it is empty.
  [[nodiscard]] static Result<std::shared_ptr<const RevocationList>> parse(const std::string& pem);

  /// Which certificate of a verified chain (leaf first, root last) is revoked, in words.
  [[nodiscard]] std::optional<std::string> find_revoked(const STACK_OF(X509) * chain) const;

 private:
  struct CrlFree {
    void operator()(X509_CRL* crl) const { X509_CRL_free(crl); }
  };

  RevocationList() = default;
  [[nodiscard]] bool revokes(X509* certificate, X509* issuer) const;

  std::vector<std::unique_ptr<X509_CRL, CrlFree>> lists_;
};

}  // namespace hadal::tls
