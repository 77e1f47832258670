// Who the peer is: the chain is OpenSSL's business, the SPIFFE ids in the certificate are ours. Checked
// inside the handshake, so a stranger gets an alert and never an HTTP/2 byte.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace hadal::tls {

class Credentials;
class RevocationList;

struct PeerVerification {
  /// Client: SPIFFE ids, any of which the peer's certificate must name. Null on a server.
  std::shared_ptr<const std::vector<std::string>> expected_identities;
  /// Server: the trust domains it accepts.
  const Credentials* credentials = nullptr;
  /// Both: may be null.
  std::shared_ptr<const RevocationList> revocations;

  /// Outcome: the peer's SPIFFE id, or why not (bpf/shared/reasons.h) in words.
  std::string identity;
  uint16_t reason = 0;
  std::string detail;

  /// Steps of OpenSSL's handshake machine: after the handshake, messages such as KeyUpdate.
  uint64_t handshake_steps = 0;
};

/// OpenSSL's info callback.
void count_handshake_step(const SSL* ssl, int where, int value);

/// The PeerVerification hangs on the SSL as its app data.
int verify_peer(int chain_ok, X509_STORE_CTX* store);

}  // namespace hadal::tls
