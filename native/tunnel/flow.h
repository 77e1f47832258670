// One connection of an application on its way through this agent: who, where to, how long, how much.
#pragma once

#include <cstdint>

#include "native/net/address.h"
#include "native/net/event_loop.h"
#include "native/net/intrusive_list.h"
#include "native/net/socket.h"
#include "native/tunnel/edge_counters.h"
#include "native/tunnel/flow_record.h"

namespace hadal::tunnel {

class Pod;
class Worker;

struct PodFlowTag;
struct RowFlowTag;

/// Addresses and port pairs as a flow record wants them.
struct FlowEnds {
  net::SocketAddress source;
  net::SocketAddress destination;
  net::SocketAddress endpoint;
  /// When we first heard of the connection, by the worker's clock.
  int64_t opened_ns = 0;
  /// It waited for its row: nobody had been there before.
  bool asked = false;
};

class Flow : public net::Disposable, public net::ListHook<PodFlowTag>, public net::ListHook<RowFlowTag> {
 public:
  ~Flow() override;

  /// Ends it from outside (pod removed, drained): RST towards the application.
  virtual void abort(uint16_t reason) = 0;

  /// Bytes flow.
  [[nodiscard]] bool is_live() const { return opened_ && !ended_; }
  /// As it stands now.
  [[nodiscard]] FlowRecord record(FlowKind kind);

 protected:
  Flow(Worker& worker, Pod& pod, FlowDirection direction, FlowPath path);

  /// Bytes can flow from now on.
  void count_opened();
  /// The end of an opened flow, or the refusal of one that never opened. Once.
  void count_ended(uint16_t reason);
  void use_edge(uint32_t edge);
  [[nodiscard]] bool opened() const { return opened_; }

  void add_sent(size_t bytes);
  void add_received(size_t bytes);

  /// Of the connection that crosses the network; false when there is none.
  virtual bool measure_path(net::PathQuality& quality) = 0;
  void remember_retransmits();

  Worker& worker_;
  Pod& pod_;
  FlowEnds ends_;

 private:
  uint64_t id_;
  uint64_t bytes_sent_ = 0;
  uint64_t bytes_received_ = 0;
  EdgeCounter* edge_ = nullptr;
  uint32_t connect_us_ = 0;
  uint32_t retransmits_before_ = 0;
  uint16_t reason_ = 0;
  FlowDirection direction_;
  FlowPath path_;
  bool opened_ = false;
  bool ended_ = false;
};

}  // namespace hadal::tunnel
