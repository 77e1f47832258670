#include "native/test/support/certificates.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

namespace hadal::test {
namespace {

std::string pem_of(auto write) {
  BIO* bio = BIO_new(BIO_s_mem());
  write(bio);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<size_t>(size));
  BIO_free(bio);
  return text;
}

void add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

X509* new_certificate(EVP_PKEY* key, const std::string& name, int from_seconds, int to_seconds) {
  X509* certificate = X509_new();
  X509_set_version(certificate, X509_VERSION_3);
  uint64_t serial = 0;
  RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof(serial));
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), from_seconds);
  X509_gmtime_adj(X509_getm_notAfter(certificate), to_seconds);
  X509_set_pubkey(certificate, key);
  if (!name.empty()) {
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "O", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  }
  return certificate;
}

}  // namespace

CertificateAuthority::CertificateAuthority(const std::string& name)
    : key_(EVP_EC_gen("P-256")), certificate_(new_certificate(key_.get(), name, -60, 86400)) {
  X509_set_issuer_name(certificate_.get(), X509_get_subject_name(certificate_.get()));
  add_extension(certificate_.get(), certificate_.get(), NID_basic_constraints, "critical,CA:TRUE");
  add_extension(certificate_.get(), certificate_.get(), NID_key_usage, "critical,keyCertSign");
  X509_sign(certificate_.get(), key_.get(), EVP_sha256());
}

std::string CertificateAuthority::root_pem() const {
  return pem_of([&](BIO* bio) { PEM_write_bio_X509(bio, certificate_.get()); });
}

std::string CertificateAuthority::revoke(const tls::IdentityMaterial& material, int valid_seconds) const {
  BIO* bio = BIO_new_mem_buf(material.certificate_chain.data(), -1);
  const std::unique_ptr<X509, CertificateFree> leaf(PEM_read_bio_X509(bio, nullptr, nullptr, nullptr));
  BIO_free(bio);
  X509_CRL* list = X509_CRL_new();
  X509_CRL_set_version(list, X509_CRL_VERSION_2);
  X509_CRL_set_issuer_name(list, X509_get_subject_name(certificate_.get()));
  ASN1_TIME* time = X509_gmtime_adj(nullptr, -7200);
  X509_CRL_set1_lastUpdate(list, time);
  X509_REVOKED* entry = X509_REVOKED_new();
  X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(leaf.get()));
  X509_REVOKED_set_revocationDate(entry, time);
  X509_CRL_add0_revoked(list, entry);
  X509_gmtime_adj(time, valid_seconds);
  X509_CRL_set1_nextUpdate(list, time);
  ASN1_TIME_free(time);
  X509_CRL_sort(list);
  X509_CRL_sign(list, key_.get(), EVP_sha256());
  std::string text = pem_of([&](BIO* out) { PEM_write_bio_X509_CRL(out, list); });
  X509_CRL_free(list);
  return text;
}

tls::IdentityMaterial CertificateAuthority::issue(const std::string& identity,
                                                  std::vector<std::string> trust_domains) const {
  return issue(Wish{.uris = {identity}}, identity, std::move(trust_domains));
}

tls::IdentityMaterial CertificateAuthority::issue(const Wish& wish, const std::string& identity,
                                                  std::vector<std::string> trust_domains) const {
  const std::unique_ptr<EVP_PKEY, KeyFree> key(EVP_EC_gen("P-256"));
  const std::unique_ptr<X509, CertificateFree> leaf(
      new_certificate(key.get(), "", wish.valid_from_seconds, wish.valid_to_seconds));
  X509_set_issuer_name(leaf.get(), X509_get_subject_name(certificate_.get()));
  std::string names;
  for (const std::string& uri : wish.uris) {
    names += (names.empty() ? "critical,URI:" : ",URI:") + uri;
  }
  if (!names.empty()) {
    add_extension(leaf.get(), certificate_.get(), NID_subject_alt_name, names);
  }
  std::string usages = wish.server_usage ? "serverAuth" : "";
  if (wish.client_usage) {
    usages += usages.empty() ? "clientAuth" : ",clientAuth";
  }
  add_extension(leaf.get(), certificate_.get(), NID_ext_key_usage, usages);
  add_extension(leaf.get(), certificate_.get(), NID_key_usage, "critical,digitalSignature");
  X509_sign(leaf.get(), key_.get(), EVP_sha256());
  return {.identity = identity,
          .certificate_chain = pem_of([&](BIO* bio) { PEM_write_bio_X509(bio, leaf.get()); }),
          .private_key = pem_of([&](BIO* bio) {
            PEM_write_bio_PKCS8PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
          }),
          .roots = root_pem(),
          .trust_domains = std::move(trust_domains)};
}

}  // namespace hadal::test
