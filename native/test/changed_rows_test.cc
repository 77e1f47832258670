// Rows that come to refuse what they let through before: open connections end, the others do not notice.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "bpf/shared/reasons.h"
#include "native/test/support/sockets.h"
#include "native/test/support/test_agent.h"

namespace hadal::test {
namespace {

constexpr const char* kClientId = "spiffe://cluster.local/ns/shop/sa/front";
constexpr const char* kServerId = "spiffe://cluster.local/ns/shop/sa/catalog";
constexpr uint16_t kPort = 8080;
constexpr uint16_t kOtherPort = 8081;

struct Open {
  UniqueFd client;
  UniqueFd server;
};

class ChangedRows : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string missing = missing_for_pod_world(); !missing.empty()) {
      GTEST_SKIP() << missing;
    }
    world = std::make_unique<PodWorld>();
    tunnel::Settings settings;
    settings.mark = kMark;
    settings.workers = 2;
    near = std::make_unique<TestAgent>(settings);
    far = std::make_unique<TestAgent>(settings);
    near->decide_outbound = [this, decide = tunnel_to(world->server.v4, {world->server.v4, 0}, kServerId)](
                                const tunnel::OutboundQuestion& question) {
      near_asked_for_open += question.open ? 1 : 0;
      return question.open ? std::optional<tunnel::OutboundRow>() : decide(question);
    };
    far->decide_inbound = [this, allow = allow_to(world->server.v4)](
                              const tunnel::InboundQuestion& question) -> std::optional<tunnel::InboundRow> {
      const std::lock_guard lock(mutex);
      if (question.open) {
        return refused_when_asked ? std::optional(refusal(question.key)) : std::nullopt;
      }
      keys[question.key.authority] = question.key;
      return allow(question);
    };
    near->enrol(1, world->client, ca.issue(kClientId));
    far->enrol(2, world->server, ca.issue(kServerId));
    for (const uint16_t port : {kPort, kOtherPort}) {
      listeners[port] = listen_in(world->server.netns_fd.get(), {world->server.v4, port});
    }
  }

  /// Through the tunnel, and carrying bytes both ways.
  [[nodiscard]] Open open(uint16_t port) const {
    return joined(connect_in(world->client.netns_fd.get(), service(port)), port);
  }
  /// Past the tunnel: from an address that nobody captured.
  [[nodiscard]] Open open_in_clear(uint16_t port) const {
    return joined(connect_in(world->client.netns_fd.get(), {world->server.v4, port}), port);
  }
  [[nodiscard]] Open joined(UniqueFd client, uint16_t port) const {
    write_all(client.get(), "x");
    UniqueFd server = accept_from(listeners.at(port).get());
    EXPECT_EQ(read_up_to(server.get(), 1), "x");
    write_all(server.get(), "y");
    EXPECT_EQ(read_up_to(client.get(), 1), "y");
    return {.client = std::move(client), .server = std::move(server)};
  }
  [[nodiscard]] static net::SocketAddress service(uint16_t port) {
    return *net::SocketAddress::parse("10.99.0.5:" + std::to_string(port));
  }

  static tunnel::InboundRow refusal(const tunnel::InboundKey& key) {
    return {.key = key,
            .reason = HADAL_REASON_POLICY_DENIED,
            .edge = 9,
            .ends_open = true,
            .upstream = {},
            .proxy_destination = std::nullopt,
            .baggage = {}};
  }
  [[nodiscard]] tunnel::InboundKey key_of(uint16_t port) {
    const std::lock_guard lock(mutex);
    return keys.at(net::SocketAddress{world->server.v4, port}.text());
  }
  static void expect_carries(const Open& connection) {
    write_all(connection.client.get(), "more");
    EXPECT_EQ(read_up_to(connection.server.get(), 4), "more");
    write_all(connection.server.get(), "back");
    EXPECT_EQ(read_up_to(connection.client.get(), 4), "back");
  }
  static void expect_closed(TestAgent& agent, uint16_t reason, size_t count) {
    size_t seen = 0;
    for (int i = 0; i < 250 && seen < count; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      seen = static_cast<size_t>(std::ranges::count_if(agent.flows(), [&](const tunnel::FlowRecord& flow) {
        return flow.kind == tunnel::FlowKind::closed && flow.reason == reason;
      }));
    }
    EXPECT_EQ(seen, count);
    EXPECT_EQ(agent.core().totals().early_ends[reason], count);
  }

  CertificateAuthority ca{"test"};
  std::unique_ptr<PodWorld> world;
  std::map<uint16_t, UniqueFd> listeners;
  std::mutex mutex;
  std::map<std::string, tunnel::InboundKey> keys;
  bool refused_when_asked = false;
  std::atomic<int> near_asked_for_open{0};
  std::unique_ptr<TestAgent> near;
  std::unique_ptr<TestAgent> far;
};

TEST_F(ChangedRows, end_what_they_let_in_and_nothing_else) {
  std::vector<Open> denied;
  std::vector<Open> others;
  for (int i = 0; i < 10; ++i) {
    denied.push_back(open(kPort));
    others.push_back(open(kOtherPort));
  }
  far->core().put_inbound_rows({refusal(key_of(kPort))});
  for (const Open& connection : denied) {
    EXPECT_EQ(read_error(connection.client.get()), ECONNRESET);
    EXPECT_EQ(read_error(connection.server.get()), ECONNRESET);
  }
  for (const Open& connection : others) {
    expect_carries(connection);
  }
  expect_closed(*far, HADAL_REASON_POLICY_DENIED, 10);
  // To its other end it is a destination that has reset it.
  expect_closed(*near, HADAL_REASON_RESET_BY_DESTINATION, 10);
}

TEST_F(ChangedRows, let_in_again_as_soon_as_they_allow_again) {
  const Open before = open(kPort);
  far->core().put_inbound_rows({refusal(key_of(kPort))});
  EXPECT_EQ(read_error(before.client.get()), ECONNRESET);
  const UniqueFd refused = connect_in(world->client.netns_fd.get(), service(kPort));
  EXPECT_EQ(read_error(refused.get()), ECONNRESET);
  auto row = allow_to(world->server.v4)({.key = key_of(kPort), .baggage = {}, .forwarded_network = {}});
  far->core().put_inbound_rows({std::move(*row)});
  expect_carries(open(kPort));
}

TEST_F(ChangedRows, end_what_goes_out_where_the_source_is_refused) {
  const Open denied = open(kPort);
  const Open other = open(kOtherPort);
  near->core().put_outbound_rows({{.pod_index = 1,
                                   .destination = service(kPort),
                                   .reason = HADAL_REASON_POLICY_NOT_ALLOWED,
                                   .refusal_edge = 9,
                                   .ends_open = true,
                                   .endpoints = {}}});
  EXPECT_EQ(read_error(denied.client.get()), ECONNRESET);
  EXPECT_EQ(read_error(denied.server.get()), ECONNRESET);
  expect_carries(other);
  expect_closed(*near, HADAL_REASON_POLICY_NOT_ALLOWED, 1);
}

TEST_F(ChangedRows, end_what_came_in_clear) {
  const Open denied = open_in_clear(kPort);
  const Open other = open_in_clear(kOtherPort);
  far->core().put_inbound_rows({refusal(key_of(kPort))});
  EXPECT_EQ(read_error(denied.client.get()), ECONNRESET);
  EXPECT_EQ(read_error(denied.server.get()), ECONNRESET);
  expect_carries(other);
  expect_closed(*far, HADAL_REASON_POLICY_DENIED, 1);
}

TEST_F(ChangedRows, end_half_closed_connections_and_those_whose_readers_stall) {
  const Open half = open(kPort);
  shutdown(half.client.get(), SHUT_WR);
  EXPECT_EQ(read_up_to(half.server.get(), 1), "");
  const Open stalled = open(kPort);
  // Until nobody takes more: windows, and what the agents keep, are full.
  const std::string chunk(size_t{256} * 1024, 'z');
  for (int still = 0; still < 5; std::this_thread::sleep_for(std::chrono::milliseconds(20))) {
    const bool taken =
        send(stalled.client.get(), chunk.data(), chunk.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
    still = taken ? 0 : still + 1;
  }
  far->core().put_inbound_rows({refusal(key_of(kPort))});
  expect_closed(*far, HADAL_REASON_POLICY_DENIED, 2);
  EXPECT_EQ(read_error(half.client.get()), ECONNRESET);
  // Who has read the end hears of the reset by writing.
  EXPECT_EQ(send(half.server.get(), "x", 1, MSG_NOSIGNAL), -1);
  EXPECT_EQ(errno, EPIPE);
  EXPECT_EQ(read_error(stalled.client.get()), ECONNRESET);
}

TEST_F(ChangedRows, that_refuse_only_new_connections_leave_open_ones_alone) {
  const Open before = open(kPort);
  tunnel::InboundRow row = refusal(key_of(kPort));
  row.reason = HADAL_REASON_UNKNOWN_POLICY;
  row.ends_open = false;
  far->core().put_inbound_rows({std::move(row)});
  const UniqueFd refused = connect_in(world->client.netns_fd.get(), service(kPort));
  EXPECT_EQ(read_error(refused.get()), ECONNRESET);
  expect_carries(before);
}

TEST_F(ChangedRows, that_were_forgotten_are_asked_about_while_their_connections_live) {
  const Open denied = open(kPort);
  const Open other = open(kOtherPort);
  near->core().remove_outbound_row(1, service(kPort));
  far->core().remove_inbound_row(key_of(kPort));
  far->core().remove_inbound_row(key_of(kOtherPort));
  near->core().ask_about_forgotten();
  far->core().ask_about_forgotten();
  expect_carries(denied);
  for (int i = 0; i < 250 && near_asked_for_open == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(near_asked_for_open, 1);
  // New connections do not go by a row that was removed.
  const size_t asked = far->question_count();
  expect_carries(open(kOtherPort));
  EXPECT_EQ(far->question_count(), asked + 1);
  {
    const std::lock_guard lock(mutex);
    refused_when_asked = true;
  }
  far->core().ask_about_forgotten();
  EXPECT_EQ(read_error(denied.client.get()), ECONNRESET);
  // Its row is back, so it is not asked about any more.
  expect_carries(other);
}

TEST_F(ChangedRows, end_hundreds_of_connections_while_others_go_on) {
  std::vector<Open> denied;
  for (int i = 0; i < 200; ++i) {
    denied.push_back(open(kPort));
  }
  const Open other = open(kOtherPort);
  far->core().put_inbound_rows({refusal(key_of(kPort))});
  for (int i = 0; i < 50; ++i) {
    expect_carries(other);
  }
  expect_closed(*far, HADAL_REASON_POLICY_DENIED, denied.size());
}

}  // namespace
}  // namespace hadal::test
