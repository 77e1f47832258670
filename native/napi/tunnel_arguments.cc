#include "native/napi/tunnel_arguments.h"

#include <chrono>

#include "native/napi/object_fields.h"

namespace hadal::napi {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// A day: more is a mistake in units.
constexpr double kLongestMs = 86'400'000;
constexpr double kMostWorkers = 256;
constexpr double kMostPods = 65'535;

milliseconds duration(const ObjectFields& fields, const char* name) {
  return milliseconds(fields.integer<uint32_t>(name, 0, kLongestMs));
}

h2::SessionSettings session_settings(const ObjectFields& http2, const ObjectFields& limits) {
  static constexpr double kLargestWindow = 2'147'483'647;
  return {.stream_window_bytes = http2.integer<uint32_t>("streamWindowBytes", 65'535, kLargestWindow),
          .connection_window_bytes = http2.integer<uint32_t>("connectionWindowBytes", 65'535, kLargestWindow),
          .max_frame_bytes = http2.integer<uint32_t>("maxFrameBytes", 16'384, 16'777'215),
          .max_concurrent_streams = http2.integer<uint32_t>("maxConcurrentStreams", 1),
          .header_list_bytes = http2.integer<uint32_t>("headerListBytes", 1'024),
          .resets_per_second = limits.integer<uint32_t>("resetsPerSecond", 1),
          .reset_burst = limits.integer<uint32_t>("resetBurst", 1),
          .control_frames_per_second = limits.integer<uint32_t>("controlFramesPerSecond", 1)};
}

tunnel::OutboundEndpoint outbound_endpoint(const ObjectFields& fields) {
  tunnel::OutboundEndpoint endpoint;
  endpoint.edge = fields.integer<uint32_t>("edge");
  endpoint.weight = fields.integer<uint32_t>("weight", 1);
  endpoint.path =
      fields.text("path") == "plaintext" ? tunnel::EndpointPath::plaintext : tunnel::EndpointPath::tunnel;
  endpoint.destination = fields.endpoint("address", "port");
  endpoint.authority = fields.optional_text("authority");
  endpoint.peer_identities = std::make_shared<const std::vector<std::string>>(
      fields.has("peerIdentities") ? fields.texts("peerIdentities") : std::vector<std::string>());
  endpoint.forwarded_host = fields.optional_text("forwardedHost");
  endpoint.baggage = fields.optional_text("baggage");
  return endpoint;
}

}  // namespace

tunnel::Settings tunnel_settings(const Napi::Object& object) {
  const ObjectFields fields(object);
  const ObjectFields limits = fields.object("limits");
  const ObjectFields pool = fields.object("pool");
  const ObjectFields http2 = fields.object("http2");
  tunnel::Settings out;
  out.workers = fields.integer<uint32_t>("workers", 1, kMostWorkers);
  out.exempt_map_fd = fields.integer<int>("exemptMapFd", -1);
  out.mark = fields.integer<uint32_t>("mark");
  out.hbone_port = fields.integer<uint16_t>("hbonePort", 1);
  out.http2 = session_settings(http2, limits);
  out.ping_interval = duration(http2, "pingIntervalMs");
  out.ping_timeout = duration(http2, "pingTimeoutMs");
  out.pool = {.max_streams_per_connection = pool.integer<uint32_t>("maxStreamsPerConnection", 1),
              .busy_streams_per_connection = pool.integer<uint32_t>("busyStreamsPerConnection", 1),
              .max_connections_per_key = pool.integer<uint32_t>("maxConnectionsPerKey", 1),
              .idle_release = duration(pool, "idleReleaseMs")};
  out.limits = {.parked_per_pod = limits.integer<uint32_t>("parkedPerPod"),
                .connections_per_pod = limits.integer<uint32_t>("connectionsPerPod", 1),
                .rows_per_pod = limits.integer<uint32_t>("rowsPerPod", 1)};
  out.connect_timeout = duration(fields, "connectTimeoutMs");
  out.handshake_timeout = duration(fields, "handshakeTimeoutMs");
  out.question_timeout = duration(fields, "questionTimeoutMs");
  out.flow_interval = duration(fields, "flowIntervalMs");
  out.spin = microseconds(fields.integer<uint32_t>("spinMicroseconds", 0, 10'000));
  out.local_congestion_control = fields.text("localCongestionControl");
  out.keep_source_address = fields.flag("keepSourceAddress");
  out.unsafe_plaintext_tunnels = fields.flag("unsafePlaintextTunnels");
  return out;
}

tunnel::PodSettings pod_settings(const Napi::Object& object) {
  const ObjectFields fields(object);
  return {.pod_index = fields.integer<uint32_t>("podIndex", 1, kMostPods),
          .netns_fd = fields.integer<int>("netnsFd"),
          .addresses = ip_addresses(object.Get("addresses"), "addresses"),
          .identity = fields.text("identity")};
}

std::vector<net::IpAddress> ip_addresses(const Napi::Value& value, const char* name) {
  Napi::Object holder = Napi::Object::New(value.Env());
  holder.Set(name, value);
  std::vector<net::IpAddress> out;
  for (const std::string& text : ObjectFields(holder).texts(name)) {
    const auto address = net::IpAddress::parse(text);
    if (!address) {
      throw_argument_range(value.Env(), std::string(name) + " '" + text + "' is not an IP address");
    }
    out.push_back(*address);
  }
  return out;
}

tls::IdentityMaterial identity_material(const Napi::Object& object) {
  const ObjectFields fields(object);
  return {.identity = fields.text("identity"),
          .certificate_chain = fields.text("certificateChain"),
          .private_key = fields.text("privateKey"),
          .roots = fields.text("roots"),
          .trust_domains = fields.texts("trustDomains")};
}

OutboundKey outbound_key(const Napi::Object& object) {
  const ObjectFields fields(object);
  return {.pod_index = fields.integer<uint32_t>("podIndex", 1, kMostPods),
          .destination = fields.endpoint("address", "port")};
}

tunnel::OutboundRow outbound_row(const Napi::Object& object) {
  const ObjectFields fields(object);
  const OutboundKey key = outbound_key(object);
  tunnel::OutboundRow row{.pod_index = key.pod_index,
                          .destination = key.destination,
                          .reason = fields.integer<uint16_t>("reason"),
                          .refusal_edge = fields.integer<uint32_t>("refusalEdge"),
                          .ends_open = fields.flag("endsOpen"),
                          .endpoints = {}};
  const Napi::Array endpoints = fields.array("endpoints");
  for (uint32_t i = 0; i < endpoints.Length(); ++i) {
    const Napi::Value endpoint = endpoints.Get(i);
    if (!endpoint.IsObject()) {
      throw type_error(object.Env(), "ERR_INVALID_ARG_TYPE", "endpoints must be an array of objects");
    }
    row.endpoints.push_back(outbound_endpoint(ObjectFields(endpoint.As<Napi::Object>())));
  }
  return row;
}

tunnel::InboundKey inbound_key(const Napi::Object& object) {
  const ObjectFields fields(object);
  return {.pod_index = fields.integer<uint32_t>("podIndex", 1, kMostPods),
          .channel = fields.text("channel") == "plaintext" ? tunnel::InboundChannel::plaintext
                                                           : tunnel::InboundChannel::hbone,
          .peer_address = fields.address("peerAddress"),
          .peer_identity = fields.text("peerIdentity"),
          .authority = fields.text("authority"),
          .forwarded_host = fields.text("forwardedHost")};
}

tunnel::InboundRow inbound_row(const Napi::Object& object) {
  const ObjectFields fields(object);
  tunnel::InboundRow row{.key = inbound_key(object),
                         .reason = fields.integer<uint16_t>("reason"),
                         .status = fields.integer<uint16_t>("status"),
                         .edge = fields.integer<uint32_t>("edge"),
                         .ends_open = fields.flag("endsOpen"),
                         .upstream = {},
                         .proxy_destination = std::nullopt,
                         .loopback = fields.flag("loopback"),
                         .baggage = fields.optional_text("baggage")};
  // A refusal goes nowhere.
  if (row.reason == 0) {
    row.upstream = fields.endpoint("upstreamAddress", "upstreamPort");
  }
  if (fields.has("proxyProtocol")) {
    row.proxy_destination = fields.object("proxyProtocol").endpoint("destinationAddress", "destinationPort");
  }
  return row;
}

}  // namespace hadal::napi
