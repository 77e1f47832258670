// A connection that a pod opened, carried over a tunnel: waits for the tunnel, sends CONNECT, relays after
// the 200.
#pragma once

#include <memory>

#include "native/tunnel/rows.h"
#include "native/tunnel/stream_flow.h"
#include "native/tunnel/tunnel_pool.h"

namespace hadal::tunnel {

class OutboundFlow final : public StreamFlow, public TunnelWaiter {
 public:
  /// `endpoint` belongs to `row`, which the flow keeps alive.
  static void start(Worker& worker, Pod& pod, UniqueFd fd, const FlowEnds& ends,
                    std::shared_ptr<const OutboundRow> row, const OutboundEndpoint& endpoint,
                    RowFlows& flows);

  void on_tunnel(ClientTunnel& tunnel) override;
  void on_no_tunnel(uint16_t reason, const std::string& detail) override;

 private:
  OutboundFlow(Worker& worker, Pod& pod, std::shared_ptr<const OutboundRow> row,
               const OutboundEndpoint& endpoint);

  void seek_tunnel();
  void send_connect();

  bool on_header(std::string_view name, std::string_view value) override;
  void on_headers_end() override {}
  void on_headers() override;
  void on_socket_event(uint32_t events) override;
  void on_setup_deadline() override;
  void on_lost_before_relay(uint16_t reason) override;

  void count_from_socket(size_t bytes) override { add_sent(bytes); }
  void count_to_socket(size_t bytes) override { add_received(bytes); }
  [[nodiscard]] uint16_t socket_reset_reason() const override;
  [[nodiscard]] uint16_t stream_reset_reason() const override;

  std::shared_ptr<const OutboundRow> row_;
  const OutboundEndpoint& endpoint_;
  uint16_t status_ = 0;
  bool retried_ = false;
};

}  // namespace hadal::tunnel
