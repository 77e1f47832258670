// A connection that the kernel steered to us, from accept() until its row is known; then it becomes a flow.
#pragma once

#include "native/base/unique_fd.h"
#include "native/tunnel/flow.h"
#include "native/tunnel/listener.h"
#include "native/tunnel/questions.h"

namespace hadal::tunnel {

class CapturedConnection final : public Flow, public Parked, public net::Timed {
 public:
  static void begin(Worker& worker, Pod& pod, ListenerKind kind, UniqueFd fd, const net::SocketAddress& peer);

  void on_outbound_row(const std::shared_ptr<const OutboundRow>& row, RowFlows& flows) override;
  void on_inbound_row(const std::shared_ptr<const InboundRow>& row, RowFlows& flows) override;
  void on_deadline() override;
  void abort(uint16_t reason) override;

 private:
  CapturedConnection(Worker& worker, Pod& pod, ListenerKind kind, UniqueFd fd);

  void ask();
  [[nodiscard]] uint16_t guard() const;
  /// RST, so that the application hears of it at once.
  void refuse(uint16_t reason);
  void vanish();
  bool measure_path(net::PathQuality& /*quality*/) override { return false; }

  ListenerKind kind_;
  UniqueFd fd_;
  /// Only of one accepted in clear.
  OwnSocket listed_;
};

}  // namespace hadal::tunnel
