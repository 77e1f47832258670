// Peers that never get as far as HTTP/2: no identity, a wrong one, no TLS, or all the time in the world.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "native/test/support/hostile_world.h"

namespace hadal::test {
namespace {

class HostileTls : public HostilePeers {
 protected:
  void adjust(tunnel::Settings& settings) override {
    settings.handshake_timeout = std::chrono::milliseconds(700);
  }

  void expect_turned_away(const HostilePeer::Wish& wish, const std::string& log, const std::string& alert) {
    const auto stranger = peer(wish);
    EXPECT_FALSE(stranger->shake_hands());
    EXPECT_NE(stranger->failure().find(alert), std::string::npos) << stranger->failure();
    EXPECT_TRUE(logged(log)) << testing::PrintToString(agent->log_lines());
  }

  [[nodiscard]] UniqueFd bare_connection() const { return connect_in(world->client.netns_fd.get(), hbone()); }
};

TEST_F(HostileTls, without_a_certificate_is_turned_away) {
  expect_turned_away({}, "peer did not return a certificate", "certificate required");
}

TEST_F(HostileTls, of_a_foreign_authority_is_turned_away) {
  const CertificateAuthority foreign("foreign");
  const tls::IdentityMaterial material = foreign.issue(kFrontId);
  expect_turned_away({.material = &material}, "the peer's certificate: ", "alert");
}

TEST_F(HostileTls, with_an_expired_certificate_is_turned_away) {
  const tls::IdentityMaterial material = ca.issue(
      CertificateAuthority::Wish{.uris = {kFrontId}, .valid_from_seconds = -120, .valid_to_seconds = -60},
      kFrontId, {"cluster.local"});
  expect_turned_away({.material = &material}, "certificate has expired", "alert certificate expired");
}

TEST_F(HostileTls, with_a_certificate_of_tomorrow_is_turned_away) {
  const tls::IdentityMaterial material = ca.issue(
      CertificateAuthority::Wish{.uris = {kFrontId}, .valid_from_seconds = 3600, .valid_to_seconds = 7200},
      kFrontId, {"cluster.local"});
  expect_turned_away({.material = &material}, "not yet valid", "alert");
}

TEST_F(HostileTls, of_another_trust_domain_is_turned_away) {
  const tls::IdentityMaterial material = ca.issue("spiffe://elsewhere.example/ns/shop/sa/front");
  expect_turned_away({.material = &material}, "is of another trust domain", "alert");
}

TEST_F(HostileTls, that_names_no_spiffe_id_is_turned_away) {
  const tls::IdentityMaterial material =
      ca.issue(CertificateAuthority::Wish{.uris = {"https://front.shop/"}}, kFrontId, {"cluster.local"});
  expect_turned_away({.material = &material}, "names no SPIFFE id", "alert");
}

TEST_F(HostileTls, whose_spiffe_id_hides_a_second_path_is_turned_away) {
  const tls::IdentityMaterial material =
      ca.issue("spiffe://cluster.local/ns/shop/sa/front/../../../ns/admin/sa/root");
  expect_turned_away({.material = &material}, "names no SPIFFE id", "alert");
}

TEST_F(HostileTls, with_a_servers_certificate_only_is_turned_away) {
  const tls::IdentityMaterial material = ca.issue(
      CertificateAuthority::Wish{.uris = {kFrontId}, .client_usage = false}, kFrontId, {"cluster.local"});
  expect_turned_away({.material = &material}, "the peer's certificate: ", "alert");
}

TEST_F(HostileTls, that_wants_http_1_is_turned_away) {
  expect_turned_away({.material = &front, .alpn = std::string("\x08http/1.1", 9)}, "no application protocol",
                     "alert no application protocol");
}

TEST_F(HostileTls, that_wants_no_protocol_at_all_is_turned_away) {
  const auto stranger = peer({.material = &front, .alpn = ""});
  EXPECT_FALSE(stranger->shake_hands());
  EXPECT_TRUE(logged("did not agree on h2"));
}

TEST_F(HostileTls, that_knows_only_tls_1_2_is_turned_away) {
  expect_turned_away({.material = &front, .max_version = TLS1_2_VERSION}, "unsupported protocol",
                     "alert protocol version");
}

TEST_F(HostileTls, that_speaks_no_tls_is_turned_away) {
  for (const std::string& said :
       {std::string("GET / HTTP/1.1\r\nhost: x\r\n\r\n"), std::string(kMagic), pattern(70'000, 3),
        std::string("\x16\x03\x01\xff\xff", 5) + std::string(70'000, 'x')}) {
    const UniqueFd stranger = bare_connection();
    // It may close before it has heard everything.
    (void)send(stranger.get(), said.data(), said.size(), MSG_NOSIGNAL);
    std::string heard(4096, '\0');
    ssize_t got = 0;
    do {
      got = recv(stranger.get(), heard.data(), heard.size(), 0);
    } while (got > 0);
    EXPECT_TRUE(got == 0 || errno == ECONNRESET) << "still open: " << std::strerror(errno);
  }
}

TEST_F(HostileTls, that_says_nothing_or_half_a_hello_is_given_up_in_time) {
  const UniqueFd silent = bare_connection();
  const UniqueFd halting = bare_connection();
  // A record of 512 bytes announced, eleven of them sent.
  write_all(halting.get(), std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
                                       "ABCD",
                                       15));
  for (const int fd : {silent.get(), halting.get()}) {
    char byte = 0;
    EXPECT_LE(recv(fd, &byte, 1, 0), 0);
    EXPECT_NE(errno, EAGAIN);
  }
  EXPECT_TRUE(logged("the TLS handshake did not finish in time"));
}

TEST_F(HostileTls, that_feeds_the_handshake_byte_by_byte_gets_no_more_time) {
  const UniqueFd slow = bare_connection();
  const std::string hello =
      std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) + std::string(500, 'A');
  const auto started = std::chrono::steady_clock::now();
  bool closed = false;
  for (size_t i = 0; i < 100 && !closed; ++i) {
    closed = send(slow.get(), hello.data() + i, 1, MSG_NOSIGNAL) != 1;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_TRUE(closed);
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(3));
}

TEST_F(HostileTls, that_leaves_in_the_middle_of_its_handshake_leaves_nothing) {
  for (int i = 0; i < 50; ++i) {
    const UniqueFd gone = bare_connection();
    write_all(gone.get(), std::string("\x16\x03\x01\x02\x00\x01", 6));
  }
}

TEST_F(HostileTls, that_begins_with_http_1_inside_tls_is_told_so) {
  const auto stranger = peer({.material = &front});
  ASSERT_TRUE(stranger->shake_hands());
  stranger->say("GET / HTTP/1.1\r\nhost: catalog\r\n\r\n");
  EXPECT_TRUE(stranger->is_closed());
  EXPECT_TRUE(logged("bad client magic") || logged("Received bad client magic byte string"))
      << testing::PrintToString(agent->log_lines());
}

}  // namespace
}  // namespace hadal::test
