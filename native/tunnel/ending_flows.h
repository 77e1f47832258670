// Connections that a changed row refuses: ended a few at a time, so that a policy which ends ten thousand
// does not stop the traffic of the others on the worker.
#pragma once

#include <cstdint>
#include <list>

#include "native/net/event_loop.h"
#include "native/tunnel/rows.h"

namespace hadal::tunnel {

class EndingFlows final : public net::Resumable {
 public:
  explicit EndingFlows(net::EventLoop& loop) : loop_(loop) {}

  /// Takes them all; the list is empty afterwards. What ends by itself meanwhile leaves.
  void add(RowFlows& flows, uint16_t reason);
  void on_resume() override;

 private:
  struct Batch {
    RowFlows flows;
    uint16_t reason;
  };

  net::EventLoop& loop_;
  std::list<Batch> batches_;
};

}  // namespace hadal::tunnel
