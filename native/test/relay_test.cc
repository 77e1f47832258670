// Two agents, two pods, real sockets: what an application sees through the tunnel.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "bpf/shared/reasons.h"
#include "native/net/socket.h"
#include "native/test/support/sockets.h"
#include "native/test/support/test_agent.h"

namespace hadal::test {
namespace {

constexpr const char* kClientId = "spiffe://cluster.local/ns/shop/sa/front";
constexpr const char* kServerId = "spiffe://cluster.local/ns/shop/sa/catalog";

net::SocketAddress address(const std::string& text) { return *net::SocketAddress::parse(text); }

class Relay : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string missing = missing_for_pod_world(); !missing.empty()) {
      GTEST_SKIP() << missing;
    }
    world = std::make_unique<PodWorld>();
    tunnel::Settings settings;
    settings.mark = kMark;
    adjust(settings);
    near = std::make_unique<TestAgent>(settings);
    far = std::make_unique<TestAgent>(settings);
    near->decide_outbound = tunnel_to(world->server.v4, {world->server.v4, 0}, kServerId);
    near->decide_inbound = allow_to(world->client.v4);
    far->decide_inbound = allow_to(world->server.v4);
    near->enrol(1, world->client, ca.issue(kClientId));
    far->enrol(2, world->server, ca.issue(kServerId));
  }

  virtual void adjust(tunnel::Settings& /*settings*/) {}

  [[nodiscard]] UniqueFd dial(uint16_t port) const {
    return connect_in(world->client.netns_fd.get(), address("10.99.0.5:" + std::to_string(port)));
  }
  [[nodiscard]] UniqueFd serve(uint16_t port) const {
    return listen_in(world->server.netns_fd.get(), {world->server.v4, port});
  }

  CertificateAuthority ca{"test"};
  std::unique_ptr<PodWorld> world;
  std::unique_ptr<TestAgent> near;
  std::unique_ptr<TestAgent> far;
};

TEST_F(Relay, carries_bytes_both_ways_and_shows_both_ends_the_real_addresses) {
  const UniqueFd listener = serve(8080);
  const UniqueFd client = dial(8080);
  write_all(client.get(), "hello");
  const UniqueFd server = accept_from(listener.get());
  EXPECT_EQ(read_up_to(server.get(), 5), "hello");
  write_all(server.get(), "hello yourself");
  EXPECT_EQ(read_up_to(client.get(), 14), "hello yourself");

  EXPECT_EQ(net::peer_address(client.get())->text(), "10.99.0.5:8080");
  EXPECT_EQ(net::peer_address(server.get())->text(), net::local_address(client.get())->text());
}

TEST_F(Relay, carries_a_half_close_each_way) {
  const UniqueFd listener = serve(8080);
  const UniqueFd client = dial(8080);
  write_all(client.get(), "question");
  shutdown(client.get(), SHUT_WR);
  const UniqueFd server = accept_from(listener.get());
  EXPECT_EQ(read_up_to(server.get(), 100), "question");
  write_all(server.get(), "answer");
  shutdown(server.get(), SHUT_WR);
  EXPECT_EQ(read_up_to(client.get(), 100), "answer");
}

// The first connections of a tunnel send nothing ahead of the answer, and the answer waits a moment for
// company: it arrives in one record with payload and end while the near application's own end still waits to
// be read.
TEST_F(Relay, delivers_what_arrives_with_the_answer_to_an_application_that_has_ended_its_side) {
  const auto decide = tunnel_to(world->server.v4, {world->server.v4, 8080}, kServerId);
  near->decide_outbound = [&](const tunnel::OutboundQuestion& question) {
    auto row = decide(question);
    // Another list of identities is another tunnel; another authority is another question.
    const std::string other =
        "spiffe://cluster.local/ns/shop/sa/p" + std::to_string(question.destination.port);
    row->endpoints[0].peer_identities =
        std::make_shared<const std::vector<std::string>>(std::vector<std::string>{kServerId, other});
    row->endpoints[0].authority = net::SocketAddress{world->server.v4, question.destination.port}.text();
    return row;
  };
  std::promise<tunnel::InboundRow> asked;
  far->decide_inbound = [&, allow = far->decide_inbound](const tunnel::InboundQuestion& question) {
    asked.set_value(*allow(question));
    return std::optional<tunnel::InboundRow>();
  };
  for (uint16_t port = 8081; port <= 8110; ++port) {
    asked = {};
    const UniqueFd listener = serve(port);
    std::thread answerer([&] {
      const UniqueFd server = accept_from(listener.get());
      write_all(server.get(), "answer");
    });
    const UniqueFd client = dial(port);
    shutdown(client.get(), SHUT_WR);
    tunnel::InboundRow row = asked.get_future().get();
    // What a new tunnel has to say about itself is over by then.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    far->core().put_inbound_rows({std::move(row)});
    EXPECT_EQ(read_up_to(client.get(), 100), "answer") << "tunnel " << port;
    answerer.join();
  }
}

// A scan is told from others by it: what failed at a destination that nobody had asked for before.
TEST_F(Relay, tells_with_a_question_how_many_earlier_answers_led_nowhere) {
  std::atomic<uint32_t> near_failed{0};
  std::atomic<uint32_t> far_failed{0};
  near->decide_outbound = [&, decide = near->decide_outbound](const tunnel::OutboundQuestion& question) {
    near_failed += question.failed;
    return decide(question);
  };
  far->decide_inbound = [&, decide = far->decide_inbound](const tunnel::InboundQuestion& question) {
    far_failed += question.failed;
    return decide(question);
  };
  const auto fail_at = [&](uint16_t port) {
    const UniqueFd client = dial(port);
    EXPECT_EQ(read_error(client.get()), ECONNRESET) << "port " << port;
  };
  for (uint16_t port = 8090; port < 8095; ++port) {
    fail_at(port);
  }
  EXPECT_EQ(near_failed, 4U);
  EXPECT_EQ(far_failed, 4U);
  // Known by now: whoever hopes for a server to come back is no scanner.
  for (int again = 0; again < 3; ++again) {
    fail_at(8090);
  }
  const UniqueFd listener = serve(8080);
  const UniqueFd client = dial(8080);
  write_all(client.get(), "hello");
  EXPECT_EQ(read_up_to(accept_from(listener.get()).get(), 5), "hello");
  EXPECT_EQ(near_failed, 5U);
  EXPECT_EQ(far_failed, 5U);
}

TEST_F(Relay, carries_ten_million_bytes_exactly_and_counts_them) {
  const std::string forth = pattern(10'000'007, 1);
  const std::string back = pattern(10'000'007, 2);
  const UniqueFd listener = serve(8080);
  UniqueFd client = dial(8080);
  UniqueFd server = accept_from(listener.get());
  std::thread sender([&] {
    write_all(client.get(), forth);
    shutdown(client.get(), SHUT_WR);
  });
  std::thread answerer([&] {
    write_all(server.get(), back);
    shutdown(server.get(), SHUT_WR);
  });
  std::string received_back;
  std::thread reader([&] { received_back = read_up_to(client.get(), back.size() + 1); });
  EXPECT_TRUE(read_up_to(server.get(), forth.size() + 1) == forth);
  sender.join();
  answerer.join();
  reader.join();
  EXPECT_TRUE(received_back == back);
  const auto ended = [](const tunnel::FlowRecord& flow) { return flow.kind == tunnel::FlowKind::closed; };
  for (TestAgent* agent : {near.get(), far.get()}) {
    const auto flow = agent->wait_for_flow(ended);
    ASSERT_TRUE(flow);
    EXPECT_EQ(flow->bytes_sent, forth.size());
    EXPECT_EQ(flow->bytes_received, back.size());
    EXPECT_EQ(flow->reason, HADAL_REASON_NONE);
  }
  EXPECT_EQ(near->core().counters().edges[7].bytes_sent, forth.size());
  EXPECT_EQ(far->core().counters().edges[8].bytes_received, back.size());
}

TEST_F(Relay, carries_a_reset_of_the_client_as_a_reset) {
  const UniqueFd listener = serve(8080);
  UniqueFd client = dial(8080);
  write_all(client.get(), "x");
  const UniqueFd server = accept_from(listener.get());
  EXPECT_EQ(read_up_to(server.get(), 1), "x");
  net::reset_on_close(client.get());
  client.reset();
  EXPECT_EQ(read_error(server.get()), ECONNRESET);
}

TEST_F(Relay, carries_a_reset_of_the_server_as_a_reset) {
  const UniqueFd listener = serve(8080);
  const UniqueFd client = dial(8080);
  write_all(client.get(), "x");
  UniqueFd server = accept_from(listener.get());
  EXPECT_EQ(read_up_to(server.get(), 1), "x");
  net::reset_on_close(server.get());
  server.reset();
  EXPECT_EQ(read_error(client.get()), ECONNRESET);
}

TEST_F(Relay, resets_the_client_when_nobody_listens) {
  const UniqueFd client = dial(8081);
  EXPECT_EQ(read_error(client.get()), ECONNRESET);
  const auto flow = near->wait_for_flow(
      [](const tunnel::FlowRecord& record) { return record.kind == tunnel::FlowKind::refused; });
  ASSERT_TRUE(flow);
  EXPECT_EQ(flow->reason, HADAL_REASON_TUNNEL_REFUSED);
}

// The workers take all commands that wait in one turn, and the connection is there until the turn ends.
TEST_F(Relay, survives_that_a_pod_is_removed_in_the_turn_that_answers_its_questions) {
  std::promise<tunnel::OutboundRow> asked;
  near->decide_outbound = [&, decide = near->decide_outbound](const tunnel::OutboundQuestion& question) {
    asked.set_value(*decide(question));
    return std::optional<tunnel::OutboundRow>();
  };
  const UniqueFd client = dial(8080);
  tunnel::OutboundRow row = asked.get_future().get();
  std::promise<void> posted;
  near->core().live_flows([&](std::vector<tunnel::FlowRecord>&&) { posted.get_future().wait(); });
  near->core().put_outbound_rows({std::move(row)});
  near->core().remove_pod(1, false);
  posted.set_value();
  EXPECT_EQ(read_error(client.get()), ECONNRESET);
  const auto flow = near->wait_for_flow([](const tunnel::FlowRecord&) { return true; });
  ASSERT_TRUE(flow);
  EXPECT_EQ(flow->reason, HADAL_REASON_POD_REMOVED);
  EXPECT_EQ(near->flows().size(), 1U);
}

TEST_F(Relay, announces_a_connection_to_an_application_tunnel_before_anybody_speaks) {
  far->decide_inbound = [allow = far->decide_inbound](const tunnel::InboundQuestion& question) {
    auto row = allow(question);
    row->proxy_destination = address("10.99.0.5:80");
    return row;
  };
  const UniqueFd listener = serve(8080);
  for (int i = 0; i < 2; ++i) {
    const UniqueFd client = dial(8080);
    const UniqueFd server = accept_from(listener.get());
    const std::string announced = read_up_to(server.get(), 16 + 12 + 3 + std::string_view(kClientId).size());
    EXPECT_EQ(announced.substr(0, 12), std::string("\r\n\r\n\0\r\nQUIT\n", 12));
    EXPECT_TRUE(announced.ends_with(kClientId));
    write_all(client.get(), "hello");
    EXPECT_EQ(read_up_to(server.get(), 5), "hello");
  }
}

TEST_F(Relay, carries_an_end_that_comes_before_the_decision) {
  const UniqueFd first_listener = serve(8080);
  const UniqueFd first = dial(8080);
  const UniqueFd first_server = accept_from(first_listener.get());
  // From now on this tunnel sends ahead of the answers.
  write_all(first_server.get(), "x");
  EXPECT_EQ(read_up_to(first.get(), 1), "x");

  std::promise<tunnel::InboundRow> asked;
  far->decide_inbound = [&, allow = far->decide_inbound](const tunnel::InboundQuestion& question) {
    asked.set_value(*allow(question));
    return std::optional<tunnel::InboundRow>();
  };
  const UniqueFd listener = serve(8081);
  const UniqueFd client = dial(8081);
  shutdown(client.get(), SHUT_WR);
  tunnel::InboundRow row = asked.get_future().get();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  far->core().put_inbound_rows({std::move(row)});
  const UniqueFd server = accept_from(listener.get());
  EXPECT_EQ(read_error(server.get()), 0) << "the end did not arrive";
  write_all(server.get(), "answer");
  shutdown(server.get(), SHUT_WR);
  EXPECT_EQ(read_up_to(client.get(), 100), "answer");
}

class RelayOfLastIds : public Relay {
  void adjust(tunnel::Settings& settings) override { settings.http2.first_stream_id = 0x7fffffff - 4; }
};

TEST_F(RelayOfLastIds, opens_another_tunnel_when_the_stream_ids_of_one_are_used_up) {
  const UniqueFd listener = serve(8080);
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 10; ++i) {
    clients.push_back(dial(8080));
    const UniqueFd server = accept_from(listener.get());
    write_all(server.get(), "x");
    EXPECT_EQ(read_up_to(clients.back().get(), 1), "x") << "connection " << i;
  }
  EXPECT_GE(near->core().totals().tunnels_opened, 4U);
}

class RelayOfOneTunnel : public Relay {
  void adjust(tunnel::Settings& settings) override { settings.limits.dialled_tunnels_per_pod = 1; }
};

TEST_F(RelayOfOneTunnel, refuses_a_destination_that_would_take_more_tunnels_than_the_pod_may_have) {
  const UniqueFd listener = serve(8080);
  const UniqueFd client = dial(8080);
  const UniqueFd server = accept_from(listener.get());
  near->decide_outbound = tunnel_to(world->server.v4, {world->server.v4, 0}, kClientId);
  const UniqueFd second = dial(8081);
  EXPECT_EQ(read_error(second.get()), ECONNRESET);
  const auto flow = near->wait_for_flow(
      [](const tunnel::FlowRecord& record) { return record.kind == tunnel::FlowKind::refused; });
  ASSERT_TRUE(flow);
  EXPECT_EQ(flow->reason, HADAL_REASON_QUOTA);
  write_all(client.get(), "hello");
  EXPECT_EQ(read_up_to(server.get(), 5), "hello");
}

TEST_F(Relay, asks_once_per_row_and_opens_one_tunnel_for_many_first_connections) {
  const UniqueFd listener = serve(8080);
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(dial(8080));
  }
  for (int i = 0; i < 20; ++i) {
    const UniqueFd server = accept_from(listener.get());
  }
  EXPECT_EQ(near->question_count(), 1U);
  EXPECT_EQ(far->question_count(), 1U);
  EXPECT_EQ(near->core().totals().tunnels_opened, 1U);
}

}  // namespace
}  // namespace hadal::test
