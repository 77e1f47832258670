#include "native/napi/tunnel_results.h"

#include <cstring>

namespace hadal::napi {
namespace {

/// Columns of EdgeCounters.values.
constexpr size_t kEdgeColumns = 5;

double number(uint64_t value) { return static_cast<double>(value); }

Napi::Array descriptors(Napi::Env env, const std::vector<int>& fds) {
  Napi::Array out = Napi::Array::New(env, fds.size());
  for (uint32_t i = 0; i < fds.size(); ++i) {
    out.Set(i, fds[i]);
  }
  return out;
}

}  // namespace

Napi::Object question_to_script(Napi::Env env, const tunnel::Question& question) {
  Napi::Object out = Napi::Object::New(env);
  if (const auto* outbound = std::get_if<tunnel::OutboundQuestion>(&question)) {
    out.Set("kind", "outbound");
    out.Set("podIndex", outbound->pod_index);
    out.Set("address", outbound->destination.address.text());
    out.Set("port", static_cast<uint32_t>(outbound->destination.port));
    out.Set("sourceAddress", outbound->source.text());
    if (outbound->failed > 0) {
      out.Set("failed", outbound->failed);
    }
    if (outbound->open) {
      out.Set("open", true);
    }
    return out;
  }
  const auto& inbound = std::get<tunnel::InboundQuestion>(question);
  out.Set("kind", "inbound");
  out.Set("podIndex", inbound.key.pod_index);
  out.Set("channel", inbound.key.channel == tunnel::InboundChannel::hbone ? "hbone" : "plaintext");
  out.Set("peerIdentity", inbound.key.peer_identity);
  out.Set("peerAddress", inbound.key.peer_address.text());
  out.Set("authority", inbound.key.authority);
  out.Set("forwardedHost", inbound.key.forwarded_host);
  out.Set("baggage", inbound.baggage);
  out.Set("forwardedNetwork", inbound.forwarded_network);
  if (inbound.failed > 0) {
    out.Set("failed", inbound.failed);
  }
  if (inbound.open) {
    out.Set("open", true);
  }
  return out;
}

Napi::Uint8Array flows_to_script(Napi::Env env, const std::vector<tunnel::FlowRecord>& flows) {
  const size_t bytes = flows.size() * sizeof(tunnel::FlowRecord);
  Napi::Uint8Array out = Napi::Uint8Array::New(env, bytes);
  if (bytes > 0) {
    std::memcpy(out.Data(), flows.data(), bytes);
  }
  return out;
}

Napi::Object counters_to_script(Napi::Env env, const tunnel::EdgeSnapshot& snapshot) {
  Napi::Uint32Array edges = Napi::Uint32Array::New(env, snapshot.edges.size());
  Napi::Float64Array values = Napi::Float64Array::New(env, snapshot.edges.size() * kEdgeColumns);
  size_t row = 0;
  for (const auto& [edge, totals] : snapshot.edges) {
    edges[row] = edge;
    double* columns = values.Data() + row * kEdgeColumns;
    columns[0] = number(totals.opened);
    columns[1] = number(totals.closed);
    columns[2] = number(totals.failed);
    columns[3] = number(totals.bytes_sent);
    columns[4] = number(totals.bytes_received);
    ++row;
  }
  Napi::Float64Array failures = Napi::Float64Array::New(env, snapshot.failures.size() * 3);
  size_t at = 0;
  for (const auto& [key, count] : snapshot.failures) {
    failures[at++] = key.first;
    failures[at++] = key.second;
    failures[at++] = number(count);
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("edges", edges);
  out.Set("values", values);
  out.Set("failures", failures);
  return out;
}

Napi::Object totals_to_script(Napi::Env env, const tunnel::Totals& totals) {
  Napi::Array cpu = Napi::Array::New(env, totals.worker_cpu_us.size());
  for (uint32_t i = 0; i < totals.worker_cpu_us.size(); ++i) {
    cpu.Set(i, number(totals.worker_cpu_us[i]));
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("questions", number(totals.questions));
  out.Set("questionsTimedOut", number(totals.questions_timed_out));
  out.Set("rowHits", number(totals.row_hits));
  out.Set("connectionsOpen", number(totals.connections_open));
  out.Set("tunnelsOpened", number(totals.tunnels_opened));
  out.Set("tunnelsOpen", number(totals.tunnels_open));
  out.Set("streamsOpen", number(totals.streams_open));
  out.Set("parked", number(totals.parked));
  out.Set("workerCpuMicroseconds", cpu);
  Napi::Float64Array early_ends = Napi::Float64Array::New(env, totals.early_ends.size() * 2);
  size_t at = 0;
  for (const auto& [reason, count] : totals.early_ends) {
    early_ends[at++] = reason;
    early_ends[at++] = number(count);
  }
  out.Set("earlyEnds", early_ends);
  return out;
}

Napi::Object listeners_to_script(Napi::Env env, const tunnel::PodListeners& listeners) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("outbound", descriptors(env, listeners.outbound));
  out.Set("hbone", descriptors(env, listeners.hbone));
  out.Set("plaintext", descriptors(env, listeners.plaintext));
  return out;
}

Napi::Array tunnels_to_script(Napi::Env env, const std::vector<tunnel::TunnelDescription>& tunnels) {
  Napi::Array out = Napi::Array::New(env, tunnels.size());
  for (uint32_t i = 0; i < tunnels.size(); ++i) {
    const tunnel::TunnelDescription& tunnel = tunnels[i];
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("worker", tunnel.worker);
    entry.Set("direction", tunnel.outbound ? "outbound" : "inbound");
    entry.Set("podIndex", tunnel.pod_index);
    entry.Set("localAddress", tunnel.local.address.text());
    entry.Set("localPort", static_cast<uint32_t>(tunnel.local.port));
    entry.Set("remoteAddress", tunnel.remote.address.text());
    entry.Set("remotePort", static_cast<uint32_t>(tunnel.remote.port));
    entry.Set("peerIdentity", tunnel.peer_identity);
    entry.Set("tlsVersion", tunnel.tls_version);
    entry.Set("cipher", tunnel.cipher);
    entry.Set("keyExchangeGroup", tunnel.key_exchange_group);
    entry.Set("streams", number(tunnel.streams));
    entry.Set("streamsTotal", number(tunnel.streams_total));
    entry.Set("ageMs", static_cast<double>(tunnel.age_ms));
    entry.Set("rttMicroseconds", tunnel.rtt_us);
    out.Set(i, entry);
  }
  return out;
}

}  // namespace hadal::napi
