// What other threads may ask of a worker.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "native/tls/credentials.h"
#include "native/tls/revocation_list.h"
#include "native/tunnel/pod.h"
#include "native/tunnel/rows.h"

namespace hadal::tunnel {

struct AddPod {
  std::shared_ptr<const PodSettings> settings;
  UniqueFd netns;
  ListenerFds listeners;
  std::shared_ptr<PodLoad> load;
};

struct SetPodAddresses {
  uint32_t pod_index = 0;
  std::vector<net::IpAddress> addresses;
};

/// Whether a machine inside the pod may make connections, whose sources are not the pod's addresses.
struct SetPodHoldsMachine {
  uint32_t pod_index = 0;
  bool holds = false;
};

struct RemovePod {
  uint32_t pod_index = 0;
  bool keep_connections = false;
};

struct SetIdentity {
  std::shared_ptr<const tls::IdentityMaterial> material;
};

struct RemoveIdentity {
  std::string identity;
};

struct SetRevocations {
  std::shared_ptr<const tls::RevocationList> revocations;
};

struct PutOutboundRows {
  std::vector<std::shared_ptr<const OutboundRow>> rows;
};

struct RemoveOutboundRow {
  uint32_t pod_index = 0;
  net::SocketAddress destination;
};

struct PutInboundRows {
  std::vector<std::shared_ptr<const InboundRow>> rows;
};

struct RemoveInboundRow {
  InboundKey key;
};

/// Something changed: connections whose row was forgotten are asked about.
struct AskAboutForgotten {};

struct RemoveEdges {
  std::vector<uint32_t> edges;
};

/// Runs on the worker, for reports that need its view (live flows, tunnels).
struct Inspect {
  std::function<void(class Worker&)> visit;
};

/// Listeners closed, GOAWAY on tunnels.
struct StartDrain {};
/// Whatever is left is closed with reason `drained`.
struct ForceDrain {};
struct Stop {};

using Command =
    std::variant<AddPod, SetPodAddresses, SetPodHoldsMachine, RemovePod, SetIdentity, RemoveIdentity,
                 SetRevocations, PutOutboundRows, RemoveOutboundRow, PutInboundRows, RemoveInboundRow,
                 AskAboutForgotten, RemoveEdges, Inspect, StartDrain, ForceDrain, Stop>;

}  // namespace hadal::tunnel
