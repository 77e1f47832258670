// One connection as an operator sees it, written by a worker and decoded by src/tunnel/flow-record.ts.
// A fixed layout without padding holes; both sides assert its size.
#pragma once

#include <cstdint>

namespace hadal::tunnel {

enum class FlowKind : uint8_t { live = 1, closed = 2, refused = 3 };
enum class FlowDirection : uint8_t { outbound = 1, inbound = 2 };
enum class FlowPath : uint8_t { tunnel = 1, plaintext = 2, untouched = 3, node_local = 4 };

struct FlowRecord {
  uint64_t flow_id;         // unique per agent process: worker in the top byte
  uint64_t opened_unix_us;  // wall clock
  uint64_t duration_us;
  uint64_t bytes_sent;  // source towards destination, as applications count
  uint64_t bytes_received;
  uint8_t source_address[16];       // IPv4-mapped
  uint8_t destination_address[16];  // what the application dialled (outbound) or was dialled as (inbound)
  uint8_t endpoint_address[16];     // where it went: endpoint (outbound) or delivery target (inbound)
  uint32_t pod_index;
  uint32_t edge;
  uint32_t rtt_us;       // of the connection that crosses the nodes
  uint32_t retransmits;  // of that connection, while this flow lived
  uint32_t connect_us;   // accept to first byte possible
  uint16_t source_port;
  uint16_t destination_port;
  uint16_t endpoint_port;
  uint16_t reason;  // bpf/shared/reasons.h
  FlowKind kind;
  FlowDirection direction;
  FlowPath path;
  uint8_t reserved0;
  uint8_t reserved1[8];
};
static_assert(sizeof(FlowRecord) == 128, "flow record layout: change src/tunnel/flow-record.ts too");

}  // namespace hadal::tunnel
