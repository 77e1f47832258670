// Peers whose certificates were taken back before their time.
#include <gtest/gtest.h>

#include "bpf/shared/reasons.h"
#include "native/test/support/hostile_world.h"

namespace hadal::test {
namespace {

class HostileRevoked : public HostilePeers {
 protected:
  void set_revocations(const std::string& pem) const {
    const auto set = agent->core().set_revocations(pem);
    ASSERT_TRUE(set.has_value()) << set.error().message;
  }

  tls::IdentityMaterial stolen = ca.issue(kFrontId);
};

TEST_F(HostileRevoked, is_turned_away_and_others_of_its_name_are_not) {
  EXPECT_TRUE(peer({.material = &stolen})->begin());
  set_revocations(ca.revoke(stolen));
  const auto revoked = peer({.material = &stolen});
  EXPECT_FALSE(revoked->shake_hands());
  EXPECT_NE(revoked->failure().find("alert certificate revoked"), std::string::npos) << revoked->failure();
  EXPECT_TRUE(logged("its certificate was revoked, serial number "));
  const auto other = trusted_peer();
  EXPECT_EQ(other->connect(1, echo_authority()), "200");
}

TEST_F(HostileRevoked, loses_the_tunnel_that_it_has_and_others_keep_theirs) {
  const auto thief = peer({.material = &stolen});
  ASSERT_TRUE(thief->begin());
  ASSERT_EQ(thief->connect(1, echo_authority()), "200");
  ASSERT_TRUE(thief->echoes(1, "before"));
  const auto other = trusted_peer();
  ASSERT_EQ(other->connect(1, echo_authority()), "200");
  set_revocations(ca.revoke(stolen));
  EXPECT_TRUE(thief->is_closed());
  EXPECT_TRUE(agent->wait_for_flow(
      [](const tunnel::FlowRecord& flow) { return flow.reason == HADAL_REASON_CERT_REVOKED; }));
  EXPECT_TRUE(other->echoes(1, "after"));
}

TEST_F(HostileRevoked, is_turned_away_when_the_list_came_in_the_middle_of_its_handshake) {
  // TCP stands, nothing was said: the agent has made its TLS state with the lists of before.
  const auto late = peer({.material = &stolen});
  ASSERT_TRUE(eventually([&] { return agent->core().totals().tunnels_open >= 2; }));
  set_revocations(ca.revoke(stolen));
  EXPECT_FALSE(late->shake_hands());
  EXPECT_TRUE(logged("its certificate was revoked"));
}

TEST_F(HostileRevoked, passes_when_nobody_says_so_who_may) {
  // Of the same name, with another key: the name alone makes nobody an issuer.
  const CertificateAuthority impostor("test");
  set_revocations(impostor.revoke(stolen));
  const auto first = peer({.material = &stolen});
  ASSERT_TRUE(first->begin());
  // No list of its issuer at all.
  const CertificateAuthority foreign("foreign");
  set_revocations(foreign.revoke(stolen));
  EXPECT_TRUE(peer({.material = &stolen})->begin());
  EXPECT_EQ(first->connect(1, echo_authority()), "200");
}

TEST_F(HostileRevoked, is_turned_away_by_a_list_that_is_overdue_and_passes_once_it_is_empty) {
  set_revocations(ca.revoke(stolen, -3600));
  EXPECT_FALSE(peer({.material = &stolen})->shake_hands());
  set_revocations("\n");
  EXPECT_TRUE(peer({.material = &stolen})->begin());
}

TEST_F(HostileRevoked, stays_turned_away_after_text_that_is_no_list) {
  set_revocations(ca.revoke(stolen));
  for (const std::string& text :
       {std::string("nonsense"), ca.root_pem(), ca.revoke(stolen) + "-----BEGIN X509 CRL-----\n"}) {
    const auto set = agent->core().set_revocations(text);
    ASSERT_FALSE(set.has_value());
    EXPECT_STREQ(set.error().code, "ERR_TUNNEL_REVOCATION");
  }
  EXPECT_FALSE(peer({.material = &stolen})->shake_hands());
}

}  // namespace
}  // namespace hadal::test
