#include "native/tunnel/ending_flows.h"

#include "native/tunnel/flow.h"

namespace hadal::tunnel {
namespace {

/// Less than a millisecond of work.
constexpr int kPerTurn = 64;

}  // namespace

void EndingFlows::add(RowFlows& flows, uint16_t reason) {
  if (flows.empty()) {
    return;
  }
  Batch& batch = batches_.emplace_back();
  batch.reason = reason;
  batch.flows.take_all(flows);
  loop_.resume_later(*this);
}

void EndingFlows::on_resume() {
  int left = kPerTurn;
  while (!batches_.empty() && left > 0) {
    if (Flow* flow = batches_.front().flows.pop_front()) {
      flow->abort(batches_.front().reason);
      --left;
    } else {
      batches_.pop_front();
    }
  }
  if (!batches_.empty()) {
    loop_.resume_later(*this);
  }
}

}  // namespace hadal::tunnel
