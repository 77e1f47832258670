#include "native/tls/tls_channel.h"

#include <openssl/err.h>
#include <openssl/x509.h>

#include <cerrno>

#include "bpf/shared/reasons.h"
#include "native/tls/wire_bio.h"

namespace hadal::tls {
namespace {

/// Of one SSL_read(), 128 KB each: a record needs one or two.
constexpr int kReadsPerCall = 4;
/// A KeyUpdate costs us more than any frame and comes once in 2^24 records; session tickets come by twos.
constexpr uint64_t kFreeHandshakeSteps = 200;
constexpr uint64_t kBytesPerHandshakeStep = uint64_t{1} << 20;

}  // namespace

std::unique_ptr<TlsChannel> TlsChannel::client(
    Wire& wire, std::shared_ptr<const Credentials> credentials,
    std::shared_ptr<const std::vector<std::string>> expected_identities) {
  SSL_CTX* context = credentials->client();
  std::unique_ptr<TlsChannel> channel(new TlsChannel(std::move(credentials), context, wire));
  if (channel->ssl_ == nullptr) {
    return nullptr;
  }
  channel->peer_.expected_identities = std::move(expected_identities);
  SSL_set_connect_state(channel->ssl_.get());
  return channel;
}

std::unique_ptr<TlsChannel> TlsChannel::server(Wire& wire, std::shared_ptr<const Credentials> credentials) {
  SSL_CTX* context = credentials->server();
  std::unique_ptr<TlsChannel> channel(new TlsChannel(std::move(credentials), context, wire));
  if (channel->ssl_ == nullptr) {
    return nullptr;
  }
  channel->peer_.credentials = channel->credentials_.get();
  SSL_set_accept_state(channel->ssl_.get());
  return channel;
}

TlsChannel::TlsChannel(std::shared_ptr<const Credentials> credentials, SSL_CTX* context, Wire& wire)
    : wire_(wire), credentials_(std::move(credentials)), ssl_(SSL_new(context)) {
  BIO* bio = ssl_ != nullptr ? new_wire_bio(wire) : nullptr;
  if (bio == nullptr) {
    ssl_.reset();
    return;
  }
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_app_data(ssl_.get(), &peer_);
}

Channel::Progress TlsChannel::handshake() {
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) {
    const unsigned char* protocol = nullptr;
    unsigned int length = 0;
    SSL_get0_alpn_selected(ssl_.get(), &protocol, &length);
    if (length != 2 || protocol[0] != 'h' || protocol[1] != '2') {
      failure_reason_ = HADAL_REASON_NO_ALPN;
      failure_detail_ = "the peer did not agree on h2";
      return Progress::failed;
    }
    peer_.handshake_steps = 0;
    // What a verification leaves in the queue would pass for the error of the next read.
    ERR_clear_error();
    return Progress::done;
  }
  const int error = SSL_get_error(ssl_.get(), result);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
    return Progress::waiting;
  }
  record_failure(error);
  return Progress::failed;
}

Channel::ReadOutcome TlsChannel::read(std::span<uint8_t> into) {
  size_t got = 0;
  wire_.reads_left = kReadsPerCall;
  const int result = SSL_read_ex(ssl_.get(), into.data(), into.size(), &got);
  received_bytes_ += got;
  if (is_flooded()) {
    failure_reason_ = HADAL_REASON_H2_FLOOD;
    failure_detail_ = "flood of TLS messages without payload";
    (void)take_openssl_errors();
    return {ReadStatus::failed, 0};
  }
  if (result == 1) {
    return {ReadStatus::bytes, got};
  }
  const int error = SSL_get_error(ssl_.get(), result);
  if (error == SSL_ERROR_WANT_READ) {
    // Not drained: others have their turn, then it goes on.
    return {wire_.reads_left == 0 && wire_.input.readable() ? ReadStatus::bytes : ReadStatus::drained, 0};
  }
  if (error == SSL_ERROR_ZERO_RETURN) {
    return {ReadStatus::ended, 0};
  }
  record_failure(error);
  return {ReadStatus::failed, 0};
}

bool TlsChannel::write(std::span<const uint8_t> plaintext) {
  size_t written = 0;
  const int result = SSL_write_ex(ssl_.get(), plaintext.data(), plaintext.size(), &written);
  if (result == 1) {
    return true;
  }
  record_failure(SSL_get_error(ssl_.get(), result));
  return false;
}

void TlsChannel::end() {
  if (SSL_is_init_finished(ssl_.get()) == 1) {
    SSL_shutdown(ssl_.get());
    (void)take_openssl_errors();
  }
}

bool TlsChannel::is_flooded() const {
  return peer_.handshake_steps > kFreeHandshakeSteps + received_bytes_ / kBytesPerHandshakeStep;
}

std::optional<int64_t> TlsChannel::peer_valid_seconds() const {
  const X509* certificate = SSL_get0_peer_certificate(ssl_.get());
  int days = 0;
  int seconds = 0;
  if (certificate == nullptr ||
      ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(certificate)) != 1) {
    return std::nullopt;
  }
  return int64_t{days} * 86'400 + seconds;
}

std::optional<std::string> TlsChannel::set_revocations(std::shared_ptr<const RevocationList> revocations) {
  peer_.revocations = std::move(revocations);
  if (peer_.revocations == nullptr || peer_.identity.empty()) {
    return std::nullopt;
  }
  const auto revoked = peer_.revocations->find_revoked(SSL_get0_verified_chain(ssl_.get()));
  return revoked ? std::optional("the peer " + peer_.identity + ": " + *revoked) : std::nullopt;
}

Channel::Agreement TlsChannel::agreement() const {
  SSL* ssl = ssl_.get();
  const char* group = SSL_group_to_name(ssl, static_cast<int>(SSL_get_negotiated_group(ssl)));
  return {.version = SSL_get_version(ssl),
          .cipher = SSL_get_cipher_name(ssl),
          .group = group != nullptr ? group : ""};
}

void TlsChannel::record_failure(int ssl_error) {
  const int error_number = errno;
  failure_reason_ = HADAL_REASON_TLS_HANDSHAKE;
  if (peer_.reason != 0) {
    failure_reason_ = peer_.reason;
    failure_detail_ = peer_.detail;
    (void)take_openssl_errors();
  } else if (ssl_error == SSL_ERROR_SYSCALL && error_number != 0) {
    failure_detail_ = std::strerror(error_number);
    (void)take_openssl_errors();
  } else {
    failure_detail_ = take_openssl_errors();
  }
  if (failure_detail_.find("no application protocol") != std::string::npos) {
    failure_reason_ = HADAL_REASON_NO_ALPN;
  }
}

}  // namespace hadal::tls
