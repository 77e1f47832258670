#include "native/tls/revocation_list.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <algorithm>

#include "native/tls/credentials.h"

namespace hadal::tls {
namespace {

constexpr const char* kCode = "ERR_TUNNEL_REVOCATION";

struct BioFree {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
struct BignumFree {
  void operator()(BIGNUM* number) const { BN_free(number); }
};
struct StringFree {
  void operator()(char* text) const { OPENSSL_free(text); }
};

std::string serial_number(const X509* certificate) {
  const std::unique_ptr<BIGNUM, BignumFree> number(
      ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr));
  const std::unique_ptr<char, StringFree> hex(number != nullptr ? BN_bn2hex(number.get()) : nullptr);
  return hex != nullptr ? hex.get() : "?";
}

}  // namespace

Result<std::shared_ptr<const RevocationList>> RevocationList::parse(const std::string& pem) {
  std::shared_ptr<RevocationList> list(new RevocationList());
  if (pem.find_first_not_of(" \t\r\n") == std::string::npos) {
    return list;
  }
  const std::unique_ptr<BIO, BioFree> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  while (X509_CRL* crl = PEM_read_bio_X509_CRL(bio.get(), nullptr, nullptr, nullptr)) {
    list->lists_.emplace_back(crl);
  }
  // The end of the text is reported as an error, too.
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const std::string errors = take_openssl_errors();
  if (list->lists_.empty() || !at_end) {
    return failure(kCode, "the revocation lists are not PEM of X509 CRL: " + errors);
  }
  return list;
}

std::optional<std::string> RevocationList::find_revoked(const STACK_OF(X509) * chain) const {
  if (lists_.empty() || chain == nullptr) {
    return std::nullopt;
  }
  // The root answers to nobody: it is trusted or it is not.
  for (int i = 0; i + 1 < sk_X509_num(chain); ++i) {
    X509* certificate = sk_X509_value(chain, i);
    if (revokes(certificate, sk_X509_value(chain, i + 1))) {
      return std::string(i == 0 ? "its certificate" : "a certificate above its own") +
             " was revoked, serial number " + serial_number(certificate);
    }
  }
  return std::nullopt;
}

// A signature is checked only where it matters, since most handshakes find nothing. A list that the issuer
// did not sign takes nobody off the net.
bool RevocationList::revokes(X509* certificate, X509* issuer) const {
  return std::ranges::any_of(lists_, [&](const auto& list) {
    X509_REVOKED* entry = nullptr;
    if (X509_CRL_get0_by_cert(list.get(), &entry, certificate) != 1) {
      return false;
    }
    const bool genuine = X509_CRL_verify(list.get(), X509_get0_pubkey(issuer)) == 1;
    ERR_clear_error();
    return genuine;
  });
}

}  // namespace hadal::tls
