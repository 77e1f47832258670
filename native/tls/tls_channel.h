// TLS 1.3 over a Wire. OpenSSL reads the socket straight into its own record buffer and writes its records
// straight into the wire's output: no byte is copied in between for the sake of the library.
#pragma once

#include <memory>

#include "native/tls/channel.h"
#include "native/tls/credentials.h"

namespace hadal::tls {

class TlsChannel final : public Channel {
 public:
  [[nodiscard]] static std::unique_ptr<TlsChannel> client(
      Wire& wire, std::shared_ptr<const Credentials> credentials,
      std::shared_ptr<const std::vector<std::string>> expected_identities);
  [[nodiscard]] static std::unique_ptr<TlsChannel> server(Wire& wire,
                                                          std::shared_ptr<const Credentials> credentials);

  [[nodiscard]] Progress handshake() override;
  [[nodiscard]] ReadOutcome read(std::span<uint8_t> into) override;
  [[nodiscard]] bool write(std::span<const uint8_t> plaintext) override;
  void end() override;
  [[nodiscard]] Agreement agreement() const override;
  [[nodiscard]] std::optional<int64_t> peer_valid_seconds() const override;
  [[nodiscard]] std::optional<std::string> set_revocations(
      std::shared_ptr<const RevocationList> revocations) override;

 private:
  struct SslFree {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };

  TlsChannel(std::shared_ptr<const Credentials> credentials, SSL_CTX* context, Wire& wire);
  void record_failure(int ssl_error);
  [[nodiscard]] bool is_flooded() const;

  Wire& wire_;
  uint64_t received_bytes_ = 0;
  std::shared_ptr<const Credentials> credentials_;
  std::unique_ptr<SSL, SslFree> ssl_;
};

}  // namespace hadal::tls
