// What a worker tells TypeScript. Called on worker threads; the receiver copies and returns at once.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "native/net/address.h"
#include "native/tunnel/flow_record.h"
#include "native/tunnel/rows.h"

namespace hadal::tunnel {

struct OutboundQuestion {
  uint32_t pod_index = 0;
  net::SocketAddress destination;
  net::IpAddress source;
  /// Of the pod's destinations that were asked for: how many connections to them failed since its last
  /// question.
  uint32_t failed = 0;
  /// Nobody waits: connections are open whose row was forgotten. An answer is wanted only if they must end.
  bool open = false;
};

struct InboundQuestion {
  InboundKey key;
  std::string baggage;
  std::string forwarded_network;
  /// The same of this peer of the pod.
  uint32_t failed = 0;
  bool open = false;
};

using Question = std::variant<OutboundQuestion, InboundQuestion>;

enum class LogLevel : uint8_t { debug, info, warn, error };

struct LogLine {
  LogLevel level = LogLevel::info;
  std::string message;
  uint32_t pod_index = 0;
};

class EventSink {
 public:
  virtual void on_questions(std::vector<Question>&& questions) = 0;
  virtual void on_flows(std::vector<FlowRecord>&& flows) = 0;
  virtual void on_log(LogLine&& line) = 0;
  /// The last connection of a pod that was removed with its connections kept has ended.
  virtual void on_pod_drained(uint32_t pod_index) = 0;

 protected:
  ~EventSink() = default;
};

}  // namespace hadal::tunnel
