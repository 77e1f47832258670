// Servers with the certificate that we expect and answers that we do not: what the application at our end
// sees, and that its neighbours see nothing.
#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>

#include "bpf/shared/reasons.h"
#include "native/test/support/hostile_world.h"

namespace hadal::test {
namespace {

class HostileServer : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string missing = missing_for_pod_world(); !missing.empty()) {
      GTEST_SKIP() << missing;
    }
    world = std::make_unique<PodWorld>();
    tunnel::Settings settings;
    settings.mark = kMark;
    settings.http2.control_frames_per_second = 200;
    agent = std::make_unique<TestAgent>(settings);
    agent->decide_outbound = tunnel_to(world->server.v4, {world->server.v4, 0}, kCatalogId);
    agent->enrol(1, world->client, ca.issue(kFrontId));
    listener = listen_in(world->server.netns_fd.get(), {world->server.v4, kHbonePort});
  }

  /// An application connects; the server has its CONNECT.
  std::pair<UniqueFd, std::unique_ptr<HostilePeer>> dialled() {
    UniqueFd application =
        connect_in(world->client.netns_fd.get(), *net::SocketAddress::parse("10.99.0.5:80"));
    auto server = std::make_unique<HostilePeer>(accept_from(listener.get()), catalog);
    if (!server->begin() || !server->hear_until([](const Frame& one) { return one.type == kHeaders; })) {
      throw std::runtime_error("no CONNECT came: " + server->failure());
    }
    return {std::move(application), std::move(server)};
  }

  static std::string answer(const std::string& status) {
    return frame(kHeaders, kEndHeaders, 1, block({{":status", status}}));
  }

  void expect_refused(uint16_t reason) {
    const auto flow = agent->wait_for_flow(
        [](const tunnel::FlowRecord& record) { return record.kind == tunnel::FlowKind::refused; });
    ASSERT_TRUE(flow);
    EXPECT_EQ(flow->reason, reason);
  }

  CertificateAuthority ca{"test"};
  tls::IdentityMaterial catalog = ca.issue(kCatalogId);
  std::unique_ptr<PodWorld> world;
  std::unique_ptr<TestAgent> agent;
  UniqueFd listener;
};

TEST_F(HostileServer, that_answers_with_another_success_than_200_refuses) {
  auto [application, server] = dialled();
  server->say(answer("204"));
  // In records of their own, so that the payload of the first is gone when the next one comes.
  for (int i = 0; i < 10; ++i) {
    server->say(frame(kData, 0, 1, std::string(100, 'x')) + frame(kData, 0, 1, std::string(100, 'y')));
  }
  EXPECT_EQ(read_error(application.get()), ECONNRESET);
  expect_refused(HADAL_REASON_TUNNEL_REFUSED);
}

TEST_F(HostileServer, that_sends_payload_behind_an_interim_answer_is_left) {
  auto [application, server] = dialled();
  server->say(answer("103"));
  for (int i = 0; i < 10; ++i) {
    server->say(frame(kData, 0, 1, std::string(100, 'x')) + frame(kData, 0, 1, std::string(100, 'y')));
  }
  EXPECT_EQ(server->reset_code(1), NGHTTP2_PROTOCOL_ERROR);
}

TEST_F(HostileServer, that_answers_in_the_interim_without_end_is_a_flood) {
  auto [application, server] = dialled();
  std::string many;
  for (int i = 0; i < 400; ++i) {
    many += answer("103");
  }
  server->say(many);
  EXPECT_EQ(server->goaway_code(), NGHTTP2_ENHANCE_YOUR_CALM);
  EXPECT_TRUE(server->is_closed());
}

TEST_F(HostileServer, that_has_answered_in_full_and_resets_without_an_error_ends_the_connection) {
  auto [application, server] = dialled();
  server->say(answer("200") + frame(kData, kEndStream, 1, "all there is") +
              frame(kReset, 0, 1, u32(NGHTTP2_NO_ERROR)));
  EXPECT_EQ(read_up_to(application.get(), 100), "all there is");
  EXPECT_TRUE(eventually([this] { return agent->core().totals().connections_open == 0; }));
}

}  // namespace
}  // namespace hadal::test
