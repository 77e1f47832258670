// Requests that are no CONNECT, or none that means anything: each is refused by itself, its tunnel goes on.
#include <gtest/gtest.h>

#include <nghttp2/nghttp2.h>

#include "native/test/support/hostile_world.h"

namespace hadal::test {
namespace {

class HostileConnect : public HostilePeers {
 protected:
  /// The same tunnel serves a proper CONNECT afterwards.
  void expect_served(HostilePeer& from, uint32_t stream) {
    EXPECT_EQ(from.connect(stream, echo_authority()), "200");
    EXPECT_TRUE(from.echoes(stream, "still here"));
  }
};

TEST_F(HostileConnect, other_methods_are_answered_400) {
  const auto client = trusted_peer();
  uint32_t stream = 1;
  for (const char* method : {"GET", "POST", "OPTIONS", "connect", "PRI"}) {
    client->say(frame(
        kHeaders, kEndHeaders | kEndStream, stream,
        block(
            {{":method", method}, {":scheme", "https"}, {":path", "/"}, {":authority", echo_authority()}})));
    EXPECT_EQ(client->status(stream), "400") << method;
    stream += 2;
  }
  expect_served(*client, stream);
}

TEST_F(HostileConnect, authorities_that_cannot_be_read_are_answered_400) {
  const auto client = trusted_peer();
  uint32_t stream = 1;
  for (const char* authority : {"10.1.0.2", "10.1.0.2:", "10.1.0.2:0", "10.1.0.2:65536", "10.1.0.2:80:80",
                                "10.1.0:8080", "256.1.1.1:80", "[fd01::2:80", "fd01::2:80",
                                "[fd01::2%25eth0]:80", "user@10.1.0.2:80", "a..b:80", ".:80", ":80"}) {
    EXPECT_EQ(client->connect(stream, authority), "400") << authority;
    stream += 2;
  }
  EXPECT_EQ(client->connect(stream, std::string(300, 'a') + ":80"), "400");
  expect_served(*client, stream + 2);
}

TEST_F(HostileConnect, header_blocks_that_break_the_rules_reset_their_stream_alone) {
  const auto client = trusted_peer();
  const std::string authority = echo_authority();
  const std::vector<Fields> broken{
      {{":method", "CONNECT"}},
      {{":authority", authority}},
      {{":method", "CONNECT"}, {":authority", ""}},
      {{":method", "CONNECT"}, {":authority", authority}, {":authority", "10.9.9.9:1"}},
      {{":method", "CONNECT"}, {":method", "GET"}, {":authority", authority}},
      {{":method", "CONNECT"}, {":authority", authority}, {":path", "/"}},
      {{":method", "CONNECT"}, {":authority", authority}, {":scheme", "https"}},
      {{":method", "CONNECT"}, {":authority", authority}, {":unknown", "x"}},
      {{":method", "CONNECT"}, {"baggage", "x"}, {":authority", authority}},
      {{":method", "CONNECT"}, {":authority", authority}, {"Baggage", "x"}},
      {{":method", "CONNECT"}, {":authority", authority}, {"connection", "close"}},
      {{":method", "CONNECT"}, {":authority", authority}, {"transfer-encoding", "chunked"}},
      {{":method", "CONNECT"}, {":authority", authority}, {":status", "200"}},
      {},
  };
  uint32_t stream = 1;
  for (const Fields& fields : broken) {
    client->say(frame(kHeaders, kEndHeaders, stream, block(fields)));
    EXPECT_EQ(client->reset_code(stream), NGHTTP2_PROTOCOL_ERROR) << "header block " << stream / 2;
    stream += 2;
  }
  expect_served(*client, stream);
}

TEST_F(HostileConnect, odd_forwarded_headers_cost_only_the_source_port) {
  const auto client = trusted_peer();
  uint32_t stream = 1;
  for (const std::string& forwarded :
       {std::string("for=\"10.9.9.9:4711\""), std::string("for=unknown"), std::string("for=\"[::1\""),
        std::string("=;;,"), std::string(2000, 'f'), std::string("for=\"10.1.0.1:0\"")}) {
    Fields fields = connect_fields(echo_authority());
    fields.emplace_back("forwarded", forwarded);
    client->say(frame(kHeaders, kEndHeaders, stream, block(fields)));
    EXPECT_EQ(client->status(stream), "200") << forwarded;
    EXPECT_TRUE(client->echoes(stream, "hello"));
    stream += 2;
  }
}

TEST_F(HostileConnect, a_header_block_in_pieces_is_understood) {
  const auto client = trusted_peer();
  const std::string whole = block(connect_fields(echo_authority()));
  const size_t piece = whole.size() / 5;
  client->say(frame(kHeaders, 0, 1, whole.substr(0, piece)));
  for (int i = 1; i < 4; ++i) {
    client->say(frame(kContinuation, 0, 1, whole.substr(i * piece, piece)));
  }
  client->say(frame(kContinuation, kEndHeaders, 1, whole.substr(4 * piece)));
  EXPECT_EQ(client->status(1), "200");
  EXPECT_TRUE(client->echoes(1, "pieced together"));
}

TEST_F(HostileConnect, a_header_block_that_is_too_large_ends_the_tunnel) {
  const auto client = trusted_peer();
  Fields fields = connect_fields(echo_authority());
  for (int i = 0; i < 8; ++i) {
    fields.emplace_back("baggage", std::string(10'000, 'b'));
  }
  const std::string whole = block(fields);
  client->say(frame(kHeaders, 0, 1, whole.substr(0, 16'000)));
  for (size_t at = 16'000; at < whole.size(); at += 16'000) {
    const bool last = at + 16'000 >= whole.size();
    client->say(frame(kContinuation, last ? kEndHeaders : 0, 1, whole.substr(at, 16'000)));
  }
  EXPECT_EQ(client->goaway_code(), NGHTTP2_ENHANCE_YOUR_CALM);
  EXPECT_TRUE(client->is_closed());
  EXPECT_TRUE(logged("flood of header bytes"));
}

TEST_F(HostileConnect, a_small_block_that_unpacks_to_much_ends_the_tunnel) {
  const auto client = trusted_peer();
  // One entry of 3,000 bytes into the table, then a byte for each time that it is repeated.
  std::string bomb = block(connect_fields(echo_authority()));
  const std::string field = block({{"baggage", std::string(3'000, 'b')}});
  bomb.append("\x40").append(field, 1).append(1'000, static_cast<char>(0x80 | 62));
  client->say(frame(kHeaders, kEndHeaders, 1, bomb));
  EXPECT_EQ(client->goaway_code(), NGHTTP2_ENHANCE_YOUR_CALM);
  EXPECT_TRUE(logged("flood of header bytes"));
}

TEST_F(HostileConnect, a_broken_header_compression_ends_the_tunnel) {
  const auto client = trusted_peer();
  client->say(frame(kHeaders, kEndHeaders, 1, std::string(20, '\xff')));
  EXPECT_EQ(client->goaway_code(), NGHTTP2_COMPRESSION_ERROR);
  EXPECT_TRUE(client->is_closed());
  EXPECT_TRUE(logged("ended: "));
}

TEST_F(HostileConnect, a_frame_inside_a_header_block_ends_the_tunnel) {
  const auto client = trusted_peer();
  client->say(frame(kHeaders, 0, 1, block(connect_fields(echo_authority()))) +
              frame(kPing, 0, 0, "12345678"));
  EXPECT_EQ(client->goaway_code(), NGHTTP2_PROTOCOL_ERROR);
  EXPECT_TRUE(client->is_closed());
}

TEST_F(HostileConnect, more_streams_than_allowed_are_refused_one_by_one_until_the_limit_is_acknowledged) {
  const auto client = trusted_peer();
  const std::string opening = block(connect_fields(echo_authority()));
  for (uint32_t i = 0; i < 200; ++i) {
    client->say(frame(kHeaders, kEndHeaders, i * 2 + 1, opening));
  }
  EXPECT_EQ(client->status(399), "200");
  client->say(frame(kHeaders, kEndHeaders, 401, opening));
  EXPECT_EQ(client->reset_code(401), NGHTTP2_REFUSED_STREAM);
  EXPECT_TRUE(client->echoes(399, "still here"));
  // Who has said that it knows the limit has no excuse.
  client->say(frame(kSettings, kAck, 0) + frame(kHeaders, kEndHeaders, 403, opening));
  EXPECT_EQ(client->goaway_code(), NGHTTP2_PROTOCOL_ERROR);
  EXPECT_TRUE(client->is_closed());
}

}  // namespace
}  // namespace hadal::test
