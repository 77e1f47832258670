// Peers with a proper certificate that cost us more than they pay: every limit, told by its GOAWAY.
#include <gtest/gtest.h>

#include <nghttp2/nghttp2.h>

#include "native/test/support/hostile_world.h"

namespace hadal::test {
namespace {

class HostileFlood : public HostilePeers {
 protected:
  void adjust(tunnel::Settings& settings) override {
    settings.http2.resets_per_second = 100;
    settings.http2.reset_burst = 1'000;
    settings.http2.control_frames_per_second = 200;
    settings.http2.stream_window_bytes = 1 << 17;
    settings.http2.connection_window_bytes = 1 << 18;
  }

  /// Says `part` until the server has had enough of it.
  void flood(HostilePeer& from, const std::string& part, int times) {
    std::string batch;
    for (int i = 0; i < times; ++i) {
      batch += part;
      if (batch.size() > 4'000) {
        if (!from.say(batch)) {
          return;
        }
        batch.clear();
      }
    }
    (void)from.say(batch);
  }

  void expect_calm(HostilePeer& from, const std::string& log) {
    EXPECT_EQ(from.goaway_code(), NGHTTP2_ENHANCE_YOUR_CALM);
    EXPECT_TRUE(from.is_closed());
    EXPECT_TRUE(logged(log)) << testing::PrintToString(agent->log_lines());
  }
};

TEST_F(HostileFlood, of_pings_ends_the_tunnel) {
  const auto client = trusted_peer();
  flood(*client, frame(kPing, 0, 0, "12345678"), 3'000);
  expect_calm(*client, "flood of control frames");
}

TEST_F(HostileFlood, of_settings_ends_the_tunnel) {
  const auto client = trusted_peer();
  flood(*client, frame(kSettings, 0, 0), 3'000);
  expect_calm(*client, "flood of control frames");
}

TEST_F(HostileFlood, of_settings_that_change_all_windows_ends_the_tunnel) {
  const auto client = trusted_peer();
  ASSERT_EQ(client->connect(1, echo_authority()), "200");
  const std::string small = frame(kSettings, 0, 0, std::string("\0\4", 2) + u32(1));
  const std::string large = frame(kSettings, 0, 0, std::string("\0\4", 2) + u32(1 << 30));
  flood(*client, small + large, 2'000);
  expect_calm(*client, "flood of control frames");
}

TEST_F(HostileFlood, of_empty_data_ends_the_tunnel) {
  const auto client = trusted_peer();
  ASSERT_EQ(client->connect(1, echo_authority()), "200");
  flood(*client, frame(kData, 0, 1), 3'000);
  expect_calm(*client, "flood of control frames");
}

TEST_F(HostileFlood, of_empty_data_for_streams_that_are_gone_is_not_answered) {
  const auto client = trusted_peer();
  ASSERT_EQ(client->connect(1, echo_authority()), "200");
  client->say(frame(kReset, 0, 1, u32(NGHTTP2_CANCEL)));
  // Costs the parser nine bytes each and nobody anything else.
  flood(*client, frame(kData, 0, 1), 5'000);
  EXPECT_EQ(client->connect(3, echo_authority()), "200");
  EXPECT_TRUE(client->echoes(3, "still here"));
}

TEST_F(HostileFlood, of_padded_nothing_ends_the_tunnel) {
  const auto client = trusted_peer();
  ASSERT_EQ(client->connect(1, echo_authority()), "200");
  constexpr uint8_t kPadded = 8;
  flood(*client, frame(kData, kPadded, 1, std::string(1, '\0')), 3'000);
  expect_calm(*client, "flood of control frames");
}

TEST_F(HostileFlood, of_crumbs_of_credit_ends_the_tunnel) {
  const auto client = trusted_peer();
  ASSERT_EQ(client->connect(1, echo_authority()), "200");
  flood(*client, frame(kWindowUpdate, 0, 1, u32(1)) + frame(kWindowUpdate, 0, 0, u32(1)), 3'000);
  expect_calm(*client, "flood of control frames");
}

TEST_F(HostileFlood, of_priorities_ends_the_tunnel) {
  const auto client = trusted_peer();
  flood(*client, frame(kPriority, 0, 1, u32(0) + "x"), 5'000);
  expect_calm(*client, "flood of control frames");
}

TEST_F(HostileFlood, of_frames_nobody_knows_ends_the_tunnel) {
  for (const uint8_t type : {uint8_t{0x0a}, uint8_t{0x10}, uint8_t{0xbe}, uint8_t{0xff}}) {
    const auto client = trusted_peer();
    flood(*client, frame(type, 0, 0, "what is this?"), 3'000);
    expect_calm(*client, "flood of control frames");
  }
}

TEST_F(HostileFlood, a_few_frames_nobody_knows_are_passed_over) {
  const auto client = trusted_peer();
  for (int type = kContinuation + 1; type <= 0xff; type += 2) {
    client->say(frame(static_cast<uint8_t>(type), 0xff, 0, "something new"));
  }
  EXPECT_EQ(client->connect(1, echo_authority()), "200");
  EXPECT_TRUE(client->echoes(1, "still here"));
}

TEST_F(HostileFlood, of_goodbyes_ends_the_tunnel) {
  const auto client = trusted_peer();
  ASSERT_EQ(client->connect(1, echo_authority()), "200");
  flood(*client, frame(kGoaway, 0, 0, u32(0) + u32(NGHTTP2_NO_ERROR)), 3'000);
  expect_calm(*client, "flood of control frames");
}

TEST_F(HostileFlood, of_key_updates_ends_the_tunnel) {
  const auto client = trusted_peer();
  for (int i = 0; i < 2'000 && client->update_keys(); ++i) {
  }
  EXPECT_TRUE(client->is_closed());
  EXPECT_TRUE(logged("flood of TLS messages")) << testing::PrintToString(agent->log_lines());
}

TEST_F(HostileFlood, a_few_key_updates_are_everyday_business) {
  const auto client = trusted_peer();
  ASSERT_EQ(client->connect(1, echo_authority()), "200");
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(client->update_keys());
    EXPECT_TRUE(client->echoes(1, "under a new key"));
  }
}

TEST_F(HostileFlood, of_empty_continuations_ends_the_tunnel) {
  const auto client = trusted_peer();
  client->say(frame(kHeaders, 0, 1, block(connect_fields(echo_authority()))));
  flood(*client, frame(kContinuation, 0, 1), 100'000);
  EXPECT_TRUE(client->is_closed());
  EXPECT_TRUE(logged("ended: "));
}

TEST_F(HostileFlood, of_headers_for_streams_beyond_the_limit_ends_the_tunnel) {
  const auto client = trusted_peer();
  const std::string opening = block(connect_fields(echo_authority()));
  std::string batch;
  bool open = true;
  for (uint32_t stream = 1; stream < 60'000 && open; stream += 2) {
    batch += frame(kHeaders, kEndHeaders, stream, opening);
    if (batch.size() > 8'000) {
      open = client->say(batch);
      batch.clear();
    }
  }
  EXPECT_TRUE(client->is_closed());
}

TEST_F(HostileFlood, of_rapid_resets_ends_the_tunnel) {
  const auto client = trusted_peer();
  const std::string opening = block(connect_fields(echo_authority()));
  std::string batch;
  for (uint32_t stream = 1; stream < 8'000; stream += 2) {
    batch += frame(kHeaders, kEndHeaders, stream, opening) + frame(kReset, 0, stream, u32(NGHTTP2_CANCEL));
    if (batch.size() > 4'000) {
      if (!client->say(batch)) {
        break;
      }
      batch.clear();
    }
  }
  EXPECT_EQ(client->goaway_code(), NGHTTP2_ENHANCE_YOUR_CALM);
  EXPECT_TRUE(client->is_closed());
  EXPECT_TRUE(logged("flood"));
}

TEST_F(HostileFlood, resets_below_the_limit_are_everyday_business) {
  const auto client = trusted_peer();
  const std::string opening = block(connect_fields(echo_authority()));
  uint32_t stream = 1;
  for (; stream < 1'000; stream += 2) {
    client->say(frame(kHeaders, kEndHeaders, stream, opening) +
                frame(kReset, 0, stream, u32(NGHTTP2_CANCEL)));
  }
  EXPECT_EQ(client->connect(stream, echo_authority()), "200");
  EXPECT_TRUE(client->echoes(stream, "still here"));
}

class HostileWindows : public HostileFlood {};

TEST_F(HostileWindows, credit_beyond_two_gigabytes_for_the_tunnel_ends_it) {
  const auto client = trusted_peer();
  client->say(frame(kWindowUpdate, 0, 0, u32(0x7fffffff)));
  EXPECT_EQ(client->goaway_code(), NGHTTP2_FLOW_CONTROL_ERROR);
  EXPECT_TRUE(client->is_closed());
  EXPECT_TRUE(logged("ended: "));
}

TEST_F(HostileWindows, credit_beyond_two_gigabytes_for_a_stream_ends_the_stream) {
  const auto client = trusted_peer();
  ASSERT_EQ(client->connect(1, echo_authority()), "200");
  client->say(frame(kWindowUpdate, 0, 1, u32(0x7fffffff)));
  EXPECT_EQ(client->reset_code(1), NGHTTP2_FLOW_CONTROL_ERROR);
  EXPECT_EQ(client->connect(3, echo_authority()), "200");
}

TEST_F(HostileWindows, settings_that_overflow_a_window_end_its_stream_or_the_tunnel) {
  const auto client = trusted_peer();
  ASSERT_EQ(client->connect(1, echo_authority()), "200");
  client->say(frame(kWindowUpdate, 0, 1, u32(0x7fff0000)) +
              frame(kSettings, 0, 0, std::string("\0\4", 2) + u32(0x7fffffff)));
  // nghttp2's versions differ in how far the error reaches.
  const auto end = client->hear_until(
      [](const Frame& one) { return one.type == kGoaway || (one.type == kReset && one.stream == 1); });
  ASSERT_TRUE(end);
  EXPECT_EQ(end->payload.substr(end->type == kGoaway ? 4 : 0, 4), u32(NGHTTP2_FLOW_CONTROL_ERROR));
}

TEST_F(HostileWindows, no_credit_at_all_is_an_error) {
  const auto client = trusted_peer();
  client->say(frame(kWindowUpdate, 0, 0, u32(0)));
  EXPECT_EQ(client->goaway_code(), NGHTTP2_PROTOCOL_ERROR);
  EXPECT_TRUE(client->is_closed());
}

TEST_F(HostileWindows, more_payload_than_there_was_credit_for_is_an_error) {
  const auto client = trusted_peer();
  // Nobody decides about this one, so nobody takes its payload.
  agent->decide_inbound = nullptr;
  client->say(frame(kSettings, kAck, 0));
  client->say(frame(kHeaders, kEndHeaders, 1, block(connect_fields("10.1.0.2:9"))));
  for (int i = 0; i < 20 && client->say(frame(kData, 0, 1, std::string(16'384, 'x'))); ++i) {
  }
  const auto end = client->hear_until(
      [](const Frame& one) { return one.type == kGoaway || (one.type == kReset && one.stream == 1); });
  ASSERT_TRUE(end);
  const size_t code_at = end->type == kGoaway ? 4 : 0;
  EXPECT_EQ(end->payload.substr(code_at, 4), u32(NGHTTP2_FLOW_CONTROL_ERROR));
  agent->decide_inbound = allow_to(world->server.v4);
}

TEST_F(HostileWindows, a_frame_larger_than_agreed_is_an_error) {
  const auto client = trusted_peer();
  client->say(std::string("\xff\xff\xff\x00\x00", 5) + u32(1) + std::string(20'000, 'x'));
  EXPECT_EQ(client->goaway_code(), NGHTTP2_FRAME_SIZE_ERROR);
  EXPECT_TRUE(client->is_closed());
}

TEST_F(HostileWindows, a_response_or_a_push_from_a_client_is_an_error) {
  for (const std::string& said :
       {frame(5, kEndHeaders, 1, u32(2) + block({{":status", "200"}})),
        frame(kHeaders, kEndHeaders, 2, block(connect_fields("10.1.0.2:80"))), frame(kData, 0, 7, "early"),
        frame(kReset, 0, 9, u32(8)), frame(kPing, 0, 3, "12345678"), frame(kPing, 0, 0, "short"),
        frame(kSettings, kAck, 0, "123456"), frame(kContinuation, kEndHeaders, 1)}) {
    const auto client = trusted_peer();
    client->say(said);
    const auto code = client->goaway_code();
    ASSERT_TRUE(code);
    EXPECT_NE(*code, NGHTTP2_NO_ERROR);
    EXPECT_TRUE(client->is_closed());
  }
}

}  // namespace
}  // namespace hadal::test
