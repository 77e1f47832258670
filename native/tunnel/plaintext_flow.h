// A connection carried without a tunnel: from a pod to a destination outside the mesh, or from a client
// outside the mesh to a pod. Two sockets, the same rules as everywhere: backpressure, half-close, aborts stay
// aborts.
#pragma once

#include "native/net/deadline_queue.h"
#include "native/net/event_loop.h"
#include "native/tunnel/app_socket.h"
#include "native/tunnel/flow.h"
#include "native/tunnel/own_sockets.h"
#include "native/tunnel/rows.h"

namespace hadal::tunnel {

class PlaintextFlow final : public Flow, public net::Resumable, public net::Timed {
 public:
  static void start_outbound(Worker& worker, Pod& pod, UniqueFd fd, const FlowEnds& ends,
                             const OutboundEndpoint& endpoint, RowFlows& flows);
  static void start_inbound(Worker& worker, Pod& pod, ListedSocket source, const FlowEnds& ends,
                            const InboundRow& row, RowFlows& flows);

  void abort(uint16_t reason) override { break_off(reason); }
  void on_resume() override;
  void on_deadline() override;

 private:
  /// `source` faces whoever opened the connection, `target` was opened by us.
  struct Side final : public net::EventHandler {
    Side(PlaintextFlow& owner, uint16_t reset) : flow(owner), reset_reason(reset) {}
    void on_ready(uint32_t events) override { flow.on_side_ready(*this, events); }

    PlaintextFlow& flow;
    AppSocket socket;
    uint16_t reset_reason;
    bool ended = false;
  };

  PlaintextFlow(Worker& worker, Pod& pod, FlowDirection direction);

  void start(UniqueFd source, UniqueFd target, const FlowEnds& ends, uint32_t edge);
  void on_side_ready(Side& side, uint32_t events);
  void finish_connect();
  void begin_relay();
  /// Moves what `from` has to `to`. True when there may be more.
  [[nodiscard]] bool pump(Side& from, Side& to);
  [[nodiscard]] bool write_kept(Side& to);
  void count(const Side& to, size_t bytes);
  void relay();
  void break_off(uint16_t reason);
  void close_flow();
  bool measure_path(net::PathQuality& quality) override;

  OwnSocket listed_;
  Side source_;
  Side target_;
  FlowDirection direction_;
  bool relaying_ = false;
  bool done_ = false;
};

}  // namespace hadal::tunnel
