#include "native/tls/peer_verification.h"

#include <openssl/x509v3.h>

#include <algorithm>
#include <optional>

#include "bpf/shared/reasons.h"
#include "native/tls/credentials.h"
#include "native/tls/revocation_list.h"
#include "native/tls/spiffe_id.h"

namespace hadal::tls {
namespace {

struct NamesFree {
  void operator()(GENERAL_NAMES* names) const { GENERAL_NAMES_free(names); }
};

std::vector<std::string> uri_names(X509* certificate) {
  const std::unique_ptr<GENERAL_NAMES, NamesFree> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  std::vector<std::string> uris;
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_URI) {
      const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
      uris.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                        static_cast<size_t>(ASN1_STRING_length(uri)));
    }
  }
  return uris;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    text += (text.empty() ? "" : ", ") + name;
  }
  return text.empty() ? "no URI name" : text;
}

int refuse(PeerVerification& peer, uint16_t reason, std::string detail) {
  peer.reason = reason;
  peer.detail = std::move(detail);
  return 0;
}

int verify_server(PeerVerification& peer, const std::vector<std::string>& uris) {
  const auto known = std::ranges::find_if(uris, [&](const std::string& uri) {
    return std::ranges::find(*peer.expected_identities, uri) != peer.expected_identities->end();
  });
  if (known == uris.end()) {
    return refuse(peer, HADAL_REASON_PEER_IDENTITY,
                  "the peer is " + joined(uris) + ", expected " + joined(*peer.expected_identities));
  }
  peer.identity = *known;
  return 1;
}

int verify_client(PeerVerification& peer, const std::vector<std::string>& uris) {
  for (const std::string& uri : uris) {
    const auto id = SpiffeId::parse(uri);
    if (!id) {
      continue;
    }
    if (!peer.credentials->accepts_trust_domain(id->trust_domain)) {
      return refuse(peer, HADAL_REASON_TRUST_DOMAIN, "the peer " + uri + " is of another trust domain");
    }
    peer.identity = uri;
    return 1;
  }
  return refuse(peer, HADAL_REASON_PEER_IDENTITY, "the peer names no SPIFFE id but " + joined(uris));
}

}  // namespace

void count_handshake_step(const SSL* ssl, int where, int /*value*/) {
  auto* peer = static_cast<PeerVerification*>(SSL_get_app_data(ssl));
  if (peer != nullptr && (where & SSL_CB_LOOP) != 0) {
    ++peer->handshake_steps;
  }
}

int verify_peer(int chain_ok, X509_STORE_CTX* store) {
  const auto* ssl =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto& peer = *static_cast<PeerVerification*>(SSL_get_app_data(ssl));
  if (chain_ok != 1) {
    const int error = X509_STORE_CTX_get_error(store);
    return refuse(peer, HADAL_REASON_TLS_HANDSHAKE,
                  std::string("the peer's certificate: ") + X509_verify_cert_error_string(error));
  }
  if (X509_STORE_CTX_get_error_depth(store) != 0) {
    return 1;
  }
  const std::vector<std::string> uris = uri_names(X509_STORE_CTX_get0_cert(store));
  if (peer.revocations != nullptr) {
    if (const auto revoked = peer.revocations->find_revoked(X509_STORE_CTX_get0_chain(store))) {
      X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REVOKED);
      return refuse(peer, HADAL_REASON_CERT_REVOKED, "the peer " + joined(uris) + ": " + *revoked);
    }
  }
  const int ok = peer.expected_identities != nullptr ? verify_server(peer, uris) : verify_client(peer, uris);
  if (ok != 1) {
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
  }
  return ok;
}

}  // namespace hadal::tls
