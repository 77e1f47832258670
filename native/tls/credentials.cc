#include "native/tls/credentials.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>

#include "native/tls/peer_verification.h"

namespace hadal::tls {
namespace {

constexpr const char* kCode = "ERR_TUNNEL_IDENTITY";
// No ChaCha20: peers offer AES-GCM only. 128 first, it costs a third less.
constexpr const char* kCipherSuites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384";
// The stars ask for a key share of both first groups in the hello (3.5), so a peer without the hybrid one
// needs no second round trip.
constexpr const char* kHybridGroups = "*X25519MLKEM768:*X25519:P-256:P-384";
constexpr const char* kClassicGroups = "X25519:P-256:P-384";
constexpr unsigned char kAlpnH2[] = {2, 'h', '2'};
// Read-ahead takes a whole batch of records in one recv().
constexpr size_t kReadBufferBytes = size_t{128} * 1024;

struct BioFree {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
struct X509Free {
  void operator()(X509* certificate) const { X509_free(certificate); }
};
struct KeyFree {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using Bio = std::unique_ptr<BIO, BioFree>;
using Certificate = std::unique_ptr<X509, X509Free>;
using Key = std::unique_ptr<EVP_PKEY, KeyFree>;

Result<std::vector<Certificate>> parse_certificates(const std::string& pem, const std::string& what) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  std::vector<Certificate> certificates;
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    certificates.emplace_back(certificate);
  }
  // The end of the text is reported as an error, too.
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const std::string errors = take_openssl_errors();
  if (certificates.empty() || !at_end) {
    return failure(kCode, what + " is not a PEM bundle of certificates: " + errors);
  }
  return certificates;
}

int select_h2(SSL* /*ssl*/, const unsigned char** out, unsigned char* out_length, const unsigned char* in,
              unsigned int in_length, void* /*unused*/) {
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_length, kAlpnH2, sizeof(kAlpnH2), in, in_length) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

Result<SslContext> base_context(const SSL_METHOD* method) {
  SslContext context(SSL_CTX_new(method));
  if (context == nullptr) {
    return failure(kCode, "create a TLS context: " + take_openssl_errors());
  }
  SSL_CTX* raw = context.get();
  SSL_CTX_set_min_proto_version(raw, TLS1_3_VERSION);
  SSL_CTX_set_options(raw, SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_num_tickets(raw, 0);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(raw, 1);
  SSL_CTX_set_default_read_buffer_len(raw, kReadBufferBytes);
  SSL_CTX_set_verify(raw, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, verify_peer);
  SSL_CTX_set_info_callback(raw, count_handshake_step);
  if (SSL_CTX_set_ciphersuites(raw, kCipherSuites) != 1) {
    return failure(kCode, "set the cipher suites: " + take_openssl_errors());
  }
  if (SSL_CTX_set1_groups_list(raw, kHybridGroups) != 1) {
    (void)take_openssl_errors();
    if (SSL_CTX_set1_groups_list(raw, kClassicGroups) != 1) {
      return failure(kCode, "set the key exchange groups: " + take_openssl_errors());
    }
  }
  return context;
}

Result<void> use_certificate(SSL_CTX* context, const IdentityMaterial& material) {
  auto chain =
      parse_certificates(material.certificate_chain, "the certificate chain of " + material.identity);
  if (!chain) {
    return std::unexpected(chain.error());
  }
  const Bio key_bio(
      BIO_new_mem_buf(material.private_key.data(), static_cast<int>(material.private_key.size())));
  // A key under a password is refused; without a callback OpenSSL would ask for it at the terminal.
  const Key key(PEM_read_bio_PrivateKey(
      key_bio.get(), nullptr, [](char*, int, int, void*) { return -1; }, nullptr));
  if (key == nullptr) {
    return failure(kCode,
                   "the private key of " + material.identity + " is not PEM: " + take_openssl_errors());
  }
  bool used = SSL_CTX_use_certificate(context, chain->front().get()) == 1 &&
              SSL_CTX_use_PrivateKey(context, key.get()) == 1 && SSL_CTX_check_private_key(context) == 1;
  for (size_t i = 1; used && i < chain->size(); ++i) {
    used = SSL_CTX_add1_chain_cert(context, (*chain)[i].get()) == 1;
  }
  if (!used) {
    return failure(kCode,
                   "certificate and key of " + material.identity + " do not fit: " + take_openssl_errors());
  }
  return {};
}

Result<void> use_roots(SSL_CTX* context, const IdentityMaterial& material) {
  auto roots = parse_certificates(material.roots, "the root bundle of " + material.identity);
  if (!roots) {
    return std::unexpected(roots.error());
  }
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  for (const Certificate& root : *roots) {
    if (X509_STORE_add_cert(store, root.get()) != 1) {
      return failure(kCode, "add a root of " + material.identity + ": " + take_openssl_errors());
    }
  }
  return {};
}

Result<SslContext> context_for(const SSL_METHOD* method, const IdentityMaterial& material) {
  auto context = base_context(method);
  if (!context) {
    return context;
  }
  if (auto used = use_certificate(context->get(), material); !used) {
    return std::unexpected(used.error());
  }
  if (auto used = use_roots(context->get(), material); !used) {
    return std::unexpected(used.error());
  }
  return context;
}

}  // namespace

Result<std::shared_ptr<const Credentials>> Credentials::create(const IdentityMaterial& material) {
  auto client = context_for(TLS_client_method(), material);
  if (!client) {
    return std::unexpected(client.error());
  }
  auto server = context_for(TLS_server_method(), material);
  if (!server) {
    return std::unexpected(server.error());
  }
  SSL_CTX_set_alpn_protos(client->get(), kAlpnH2, sizeof(kAlpnH2));
  SSL_CTX_set_alpn_select_cb(server->get(), select_h2, nullptr);

  std::shared_ptr<Credentials> credentials(new Credentials());
  credentials->client_ = std::move(*client);
  credentials->server_ = std::move(*server);
  credentials->trust_domains_ = material.trust_domains;
  return credentials;
}

bool Credentials::accepts_trust_domain(std::string_view trust_domain) const {
  return std::ranges::find(trust_domains_, trust_domain) != trust_domains_.end();
}

bool has_hybrid_key_exchange() {
  const SslContext context(SSL_CTX_new(TLS_method()));
  const bool known = SSL_CTX_set1_groups_list(context.get(), "X25519MLKEM768") == 1;
  (void)take_openssl_errors();
  return known;
}

std::string take_openssl_errors() {
  std::string text;
  const char* data = nullptr;
  int flags = 0;
  while (const unsigned long code = ERR_get_error_all(nullptr, nullptr, nullptr, &data, &flags)) {
    const char* reason = ERR_reason_error_string(code);
    text += text.empty() ? "" : "; ";
    text += reason != nullptr ? reason : "error " + std::to_string(code);
    if ((flags & ERR_TXT_STRING) != 0 && data != nullptr && *data != '\0') {
      text += std::string(" (") + data + ")";
    }
  }
  return text.empty() ? "no detail" : text;
}

}  // namespace hadal::tls
