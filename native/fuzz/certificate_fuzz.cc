// The peer's certificate as the handshake hands it over: any DER that OpenSSL takes for a certificate, judged
// by verify_peer() for both roles. An identity that comes out must be one that the rules allow.
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "native/fuzz/require.h"
#include "native/tls/credentials.h"
#include "native/tls/peer_verification.h"
#include "native/tls/spiffe_id.h"

using hadal::fuzz::require;
using hadal::tls::PeerVerification;
using hadal::tls::SpiffeId;

namespace {

constexpr const char* kExpected = "spiffe://cluster.local/ns/shop/sa/catalog";

template <auto free_one>
struct Free {
  template <typename T>
  void operator()(T* held) const {
    free_one(held);
  }
};
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using StoreContext = std::unique_ptr<X509_STORE_CTX, Free<X509_STORE_CTX_free>>;

/// Our own material, for its trust domains: a self-signed certificate that is never shown to anybody.
std::shared_ptr<const hadal::tls::Credentials> own_credentials() {
  const std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>> key(EVP_EC_gen("P-256"));
  const Certificate certificate(X509_new());
  X509_set_version(certificate.get(), X509_VERSION_3);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 86400);
  X509_set_pubkey(certificate.get(), key.get());
  X509_sign(certificate.get(), key.get(), EVP_sha256());
  const auto pem_of = [](auto write) {
    const std::unique_ptr<BIO, Free<BIO_free>> bio(BIO_new(BIO_s_mem()));
    write(bio.get());
    char* text = nullptr;
    const long length = BIO_get_mem_data(bio.get(), &text);
    return std::string(text, static_cast<size_t>(length));
  };
  const std::string chain = pem_of([&](BIO* bio) { PEM_write_bio_X509(bio, certificate.get()); });
  auto credentials = hadal::tls::Credentials::create(
      {.identity = kExpected,
       .certificate_chain = chain,
       .private_key = pem_of([&](BIO* bio) {
         PEM_write_bio_PKCS8PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
       }),
       .roots = chain,
       .trust_domains = {"cluster.local"}});
  require(credentials.has_value(), "the target has credentials");
  return *credentials;
}

struct World {
  std::shared_ptr<const hadal::tls::Credentials> credentials = own_credentials();
  std::unique_ptr<SSL, Free<SSL_free>> ssl{SSL_new(credentials->server())};
  std::unique_ptr<X509_STORE, Free<X509_STORE_free>> store{X509_STORE_new()};
};

void judge(World& world, X509* certificate, PeerVerification& peer) {
  const StoreContext context(X509_STORE_CTX_new());
  X509_STORE_CTX_init(context.get(), world.store.get(), certificate, nullptr);
  X509_STORE_CTX_set_ex_data(context.get(), SSL_get_ex_data_X509_STORE_CTX_idx(), world.ssl.get());
  SSL_set_app_data(world.ssl.get(), &peer);
  const int accepted = hadal::tls::verify_peer(1, context.get());
  require((accepted == 1) == (peer.reason == 0), "who is refused is told why");
  require((accepted == 1) == !peer.identity.empty(), "who is accepted has an identity");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static World world;
  const unsigned char* der = data;
  const Certificate certificate(d2i_X509(nullptr, &der, static_cast<long>(size)));
  if (certificate == nullptr) {
    (void)hadal::tls::take_openssl_errors();
    return 0;
  }
  PeerVerification client{
      .expected_identities = nullptr, .credentials = world.credentials.get(), .identity = {}, .detail = {}};
  judge(world, certificate.get(), client);
  if (!client.identity.empty()) {
    const auto id = SpiffeId::parse(client.identity);
    require(id && id->trust_domain == "cluster.local", "a client is of our trust domain");
  }
  PeerVerification server{.expected_identities = std::make_shared<std::vector<std::string>>(1, kExpected),
                          .credentials = nullptr,
                          .identity = {},
                          .detail = {}};
  judge(world, certificate.get(), server);
  require(server.identity.empty() || server.identity == kExpected, "a server is the one we asked for");
  (void)hadal::tls::take_openssl_errors();
  return 0;
}
