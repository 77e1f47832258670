// Peers that are there and do nothing: they read no more, answer no PING, or want everything at once.
#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>
#include <sys/socket.h>

#include <algorithm>
#include <map>
#include <vector>

#include "bpf/shared/reasons.h"
#include "native/test/support/hostile_world.h"

namespace hadal::test {
namespace {

constexpr size_t kMegabyte = size_t{1} << 20;

void pour(int fd) {
  const std::string bytes = pattern(65'536, 1);
  while (send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0) {
  }
}

class HostileSilence : public HostilePeers {
 protected:
  void adjust(tunnel::Settings& settings) override {
    settings.ping_interval = std::chrono::milliseconds(1'000);
    settings.ping_timeout = std::chrono::milliseconds(1'000);
  }
};

class HostileReader : public HostilePeers {};

TEST_F(HostileReader, that_reads_nothing_holds_little_memory_and_nobody_up) {
  const Program source(world->server.netns_fd.get(), net::SocketAddress{world->server.v4, 8081}, pour);
  const auto client = trusted_peer();
  const size_t before = resident_bytes();
  std::string opening = frame(kWindowUpdate, 0, 0, u32(1 << 30)) +
                        frame(kSettings, 0, 0, std::string("\0\4", 2) + u32(1 << 30));
  for (uint32_t stream = 1; stream < 200; stream += 2) {
    opening += frame(kHeaders, kEndHeaders, stream, block(connect_fields("10.1.0.2:8081")));
  }
  ASSERT_TRUE(client->say(opening));
  EXPECT_TRUE(eventually([this] { return agent->core().totals().connections_open >= 101; }));
  std::this_thread::sleep_for(std::chrono::seconds(1));
  if (memory_is_comparable()) {
    EXPECT_LT(resident_bytes() - before, 32 * kMegabyte);
  }
  const auto bystander = trusted_peer();
  EXPECT_EQ(bystander->connect(1, echo_authority()), "200");
  EXPECT_TRUE(bystander->echoes(1, "others go on"));
}

TEST_F(HostileReader, that_reads_nothing_but_asks_for_answers_is_ended) {
  const auto client = trusted_peer();
  const size_t before = resident_bytes();
  const std::string opening = block(connect_fields("10.1.0.2:"));
  std::string batch;
  // Each costs us a RST_STREAM or an answer; their room in the socket is soon used up.
  bool open = true;
  for (uint32_t stream = 1; stream < 4'000'000 && open; stream += 2) {
    batch += frame(kHeaders, kEndHeaders | kEndStream, stream, opening);
    if (batch.size() > 16'000) {
      open = client->say(batch);
      batch.clear();
    }
  }
  EXPECT_FALSE(open) << "it could go on for ever";
  if (memory_is_comparable()) {
    EXPECT_LT(resident_bytes(), before + 64 * kMegabyte);
  }
}

TEST_F(HostileReader, whose_payload_the_application_does_not_take_is_held_back_by_its_window) {
  const UniqueFd deaf = listen_in(world->server.netns_fd.get(), {world->server.v4, 8082});
  const auto client = trusted_peer();
  ASSERT_EQ(client->connect(1, "10.1.0.2:8082"), "200");
  const UniqueFd accepted = accept_from(deaf.get());
  const timeval limit{.tv_sec = 1, .tv_usec = 0};
  setsockopt(client->fd(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  // As much as the stream's window allows, and not a byte of credit comes back for the last of it.
  size_t credit = 4 * kMegabyte;
  const size_t before = resident_bytes();
  client->say(frame(kSettings, kAck, 0));
  for (; credit >= 16'384; credit -= 16'384) {
    ASSERT_TRUE(client->say(frame(kData, 0, 1, std::string(16'384, 'x'))));
  }
  size_t returned = 0;
  while (const auto heard = client->hear()) {
    if (heard->type == kWindowUpdate && heard->stream == 1) {
      returned += static_cast<uint8_t>(heard->payload[1]) << 16 |
                  static_cast<uint8_t>(heard->payload[2]) << 8 | static_cast<uint8_t>(heard->payload[3]);
    }
  }
  EXPECT_LT(returned, 4 * kMegabyte);
  if (memory_is_comparable()) {
    EXPECT_LT(resident_bytes() - before, 32 * kMegabyte);
  }
}

TEST_F(HostileReader, whose_payload_many_applications_do_not_take_still_gets_through_to_the_others) {
  constexpr int64_t kFrame = 16'384;
  constexpr uint32_t kLastStream = 11;
  const UniqueFd deaf = listen_in(world->server.netns_fd.get(), {world->server.v4, 8082});
  const auto client = trusted_peer();
  std::vector<UniqueFd> accepted;
  std::map<uint32_t, int64_t> credit{{0, 16 * kMegabyte}};
  for (uint32_t stream = 1; stream <= kLastStream; stream += 2) {
    ASSERT_EQ(client->connect(stream, "10.1.0.2:8082"), "200");
    accepted.push_back(accept_from(deaf.get()));
    credit[stream] = 4 * kMegabyte;
  }
  const auto wait_at_most = [&](timeval limit) {
    setsockopt(client->fd(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  };
  const auto may_send = [&](uint32_t stream) { return std::min(credit[0], credit[stream]) >= kFrame; };
  client->say(frame(kSettings, kAck, 0));
  wait_at_most({.tv_sec = 0, .tv_usec = 200'000});
  // All that the windows allow, six times a stream's, while that of the tunnel has room for four.
  for (uint32_t stream = 1; stream <= kLastStream; stream += 2) {
    while (may_send(stream)) {
      for (; may_send(stream); credit[0] -= kFrame, credit[stream] -= kFrame) {
        ASSERT_TRUE(client->say(frame(kData, 0, stream, std::string(kFrame, 'x'))));
      }
      while (const auto heard = client->hear()) {
        if (heard->type == kWindowUpdate) {
          for (size_t i = 0, shift = 24; i < 4; ++i, shift -= 8) {
            credit[heard->stream] += int64_t{static_cast<uint8_t>(heard->payload[i])} << shift;
          }
        }
      }
    }
    EXPECT_LT(credit[stream], kFrame) << "it is the tunnel that holds it back";
  }
  wait_at_most({.tv_sec = 10, .tv_usec = 0});
  EXPECT_EQ(client->connect(kLastStream + 2, echo_authority()), "200");
  EXPECT_TRUE(client->echoes(kLastStream + 2, std::string(100, 'y')));
}

TEST_F(HostileSilence, that_answers_no_ping_is_given_up_and_its_flows_say_why) {
  const auto client = trusted_peer();
  ASSERT_EQ(client->connect(1, echo_authority()), "200");
  EXPECT_TRUE(eventually([this] {
    (void)bystander().say(frame(kPing, 0, 0, "I'm here"));
    return std::ranges::any_of(agent->flows(), [](const tunnel::FlowRecord& record) {
      return record.kind == tunnel::FlowKind::closed && record.reason == HADAL_REASON_PING_TIMEOUT;
    });
  }));
  EXPECT_TRUE(client->is_closed());
  EXPECT_TRUE(logged("did not answer a PING"));
}

}  // namespace
}  // namespace hadal::test
