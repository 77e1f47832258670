// Peers with a proper certificate that outstay it, fill our memory, or leave in ways that are easily missed.
#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>
#include <sys/socket.h>

#include <atomic>
#include <future>

#include "bpf/shared/reasons.h"
#include "native/net/socket.h"
#include "native/test/support/hostile_world.h"

namespace hadal::test {
namespace {

class HostileLeaver : public HostilePeers {};

// An application that does not care whether its client is gone.
void read_and_stay(int fd) {
  std::string bytes(16'384, '\0');
  while (recv(fd, bytes.data(), bytes.size(), 0) > 0) {
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
}

TEST_F(HostileLeaver, that_ends_and_then_resets_without_an_error_leaves_nothing_behind) {
  const Program stays(world->server.netns_fd.get(), net::SocketAddress{world->server.v4, 8082}, [](int fd) {
    read_and_stay(fd);
    std::this_thread::sleep_for(std::chrono::seconds(7));
  });
  const auto client = trusted_peer();
  client->say(frame(kHeaders, kEndHeaders | kEndStream, 1, block(connect_fields("10.1.0.2:8082"))));
  EXPECT_EQ(client->status(1), "200");
  client->say(frame(kReset, 0, 1, u32(NGHTTP2_NO_ERROR)));
  EXPECT_TRUE(eventually([this] { return agent->core().totals().connections_open == 1; }));
}

TEST_F(HostileLeaver, that_leaves_before_its_request_is_judged_is_not_delivered) {
  std::promise<tunnel::InboundRow> asked;
  const auto allow = agent->decide_inbound;
  agent->decide_inbound = [&](const tunnel::InboundQuestion& question) {
    asked.set_value(*allow(question));
    return std::optional<tunnel::InboundRow>();
  };
  const Program stays(world->server.netns_fd.get(), net::SocketAddress{world->server.v4, 8082},
                      read_and_stay);
  const auto client = trusted_peer();
  client->say(frame(kHeaders, kEndHeaders | kEndStream, 1, block(connect_fields("10.1.0.2:8082"))));
  tunnel::InboundRow row = asked.get_future().get();
  client->say(frame(kReset, 0, 1, u32(NGHTTP2_CANCEL)) + frame(kPing, 0, 0, "12345678"));
  EXPECT_TRUE(client->hear_until([](const Frame& one) { return one.type == kPing; }));
  EXPECT_TRUE(eventually([this] { return agent->core().totals().connections_open == 1; }));
  agent->core().put_inbound_rows({std::move(row)});
  agent->decide_inbound = allow;
  const auto flow = agent->wait_for_flow(
      [](const tunnel::FlowRecord& record) { return record.reason == HADAL_REASON_RESET_BY_SOURCE; });
  ASSERT_TRUE(flow);
  EXPECT_EQ(flow->kind, tunnel::FlowKind::refused);
}

TEST_F(HostileLeaver, cannot_reach_our_own_listeners) {
  const auto client = trusted_peer();
  uint32_t stream = 1;
  for (const int listener :
       {agent->listeners().outbound[0], agent->listeners().hbone[0], agent->listeners().plaintext[0]}) {
    const uint16_t port = net::local_address(listener)->port;
    EXPECT_EQ(client->connect(stream, "10.1.0.2:" + std::to_string(port)), "503");
    const auto flow = agent->wait_for_flow(
        [&](const tunnel::FlowRecord& record) { return record.destination_port == port; });
    ASSERT_TRUE(flow);
    EXPECT_EQ(flow->reason, HADAL_REASON_SELF_CALL);
    stream += 2;
  }
}

TEST_F(HostileLeaver, whose_certificate_runs_out_opens_no_more_streams_and_keeps_those_it_has) {
  const tls::IdentityMaterial brief =
      ca.issue({.uris = {kFrontId}, .valid_to_seconds = 3}, kFrontId, {"cluster.local"});
  const auto client = peer({.material = &brief});
  ASSERT_TRUE(client->begin());
  EXPECT_EQ(client->connect(1, echo_authority()), "200");
  std::this_thread::sleep_for(std::chrono::milliseconds(4'200));
  client->say(frame(kHeaders, kEndHeaders, 3, block(connect_fields(echo_authority()))));
  EXPECT_EQ(client->reset_code(3), NGHTTP2_REFUSED_STREAM);
  EXPECT_TRUE(client->echoes(1, "what was open goes on"));
}

class HostileKeeper : public HostilePeers {
 protected:
  void adjust(tunnel::Settings& settings) override {
    settings.limits.kept_bytes_per_pod = size_t{1} << 20;
    settings.http2.stream_window_bytes = 32u << 20;
    settings.http2.connection_window_bytes = 64u << 20;
  }
};

TEST_F(HostileKeeper, that_sends_what_nobody_reads_is_cut_off_at_the_pods_budget) {
  std::atomic<bool> over = false;
  const Program sleeper(world->server.netns_fd.get(), net::SocketAddress{world->server.v4, 8083}, [&](int) {
    while (!over) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  });
  const auto client = trusted_peer();
  client->say(frame(kSettings, kAck, 0));
  size_t cut = 0;
  // All within the windows, and far more than the sockets' buffers hold.
  for (uint32_t stream = 1; stream < 8; stream += 2) {
    ASSERT_EQ(client->connect(stream, "10.1.0.2:8083"), "200");
    for (int i = 0; i < 1'000 && client->say(frame(kData, 0, stream, std::string(16'384, 'x'))); ++i) {
    }
  }
  client->say(frame(kPing, 0, 0, "12345678"));
  EXPECT_TRUE(client->hear_until([&](const Frame& one) {
    cut += one.type == kReset ? 1 : 0;
    return one.type == kPing;
  }));
  EXPECT_GT(cut, 0U);
  EXPECT_TRUE(agent->wait_for_flow(
      [](const tunnel::FlowRecord& record) { return record.reason == HADAL_REASON_QUOTA; }));
  EXPECT_EQ(client->connect(101, echo_authority()), "200");
  EXPECT_TRUE(client->echoes(101, "who reads is not concerned"));
  over = true;
}

}  // namespace
}  // namespace hadal::test
