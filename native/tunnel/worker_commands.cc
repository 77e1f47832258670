// What a worker does with the commands in its mailbox.
#include "bpf/shared/reasons.h"
#include "native/tunnel/worker.h"

namespace hadal::tunnel {

Pod* Worker::find_pod(uint32_t index) {
  const auto found = pods_.find(index);
  return found == pods_.end() ? nullptr : found->second.get();
}

void Worker::apply(AddPod&& command) {
  apply(RemovePod{.pod_index = command.settings->pod_index, .keep_connections = true});
  auto pod = std::make_unique<Pod>(*this, *command.settings, std::move(command.netns),
                                   std::move(command.listeners), std::move(command.load));
  pods_[command.settings->pod_index] = std::move(pod);
  if (!maintenance_.armed()) {
    maintenance_deadlines_.arm(maintenance_, loop_->now_ns());
  }
  if (!live_flows_.armed() && settings_->flow_interval.count() > 0) {
    flow_deadlines_.arm(live_flows_, loop_->now_ns());
  }
}

void Worker::apply(SetPodAddresses&& command) {
  if (Pod* pod = find_pod(command.pod_index)) {
    pod->set_addresses(std::move(command.addresses));
  }
}

void Worker::apply(SetPodHoldsMachine&& command) {
  if (Pod* pod = find_pod(command.pod_index)) {
    pod->set_holds_machine(command.holds);
  }
}

void Worker::apply(RemovePod&& command) {
  const auto found = pods_.find(command.pod_index);
  if (found == pods_.end()) {
    return;
  }
  Pod& pod = *found->second;
  retired_pods_.push_back(std::move(found->second));
  pods_.erase(found);
  pod.retire(command.keep_connections, HADAL_REASON_POD_REMOVED);
}

void Worker::apply(SetIdentity&& command) {
  auto credentials = tls::Credentials::create(*command.material);
  if (!credentials) {
    log(LogLevel::error, 0, credentials.error().message);
    return;
  }
  credentials_[command.material->identity] = std::move(*credentials);
  for_each_pod([&](Pod& pod) {
    if (pod.identity() == command.material->identity) {
      pod.pool().retire_all();
    }
  });
}

// Connections that stand were let in while it was valid and go on. New ones need a certificate: no tunnel of
// before may carry them.
void Worker::apply(RemoveIdentity&& command) {
  credentials_.erase(command.identity);
  for_each_pod([&](Pod& pod) {
    if (pod.identity() == command.identity) {
      pod.for_each_tunnel([](Tunnel& tunnel) { tunnel.announce_shutdown(); });
    }
  });
}

void Worker::apply(SetRevocations&& command) {
  revocations_ = std::move(command.revocations);
  for_each_pod(
      [this](Pod& pod) { pod.for_each_tunnel([this](Tunnel& tunnel) { tunnel.check(revocations_); }); });
}

void Worker::apply(PutOutboundRows&& command) {
  for (const auto& row : command.rows) {
    if (Pod* pod = find_pod(row->pod_index)) {
      pod->put(row);
    }
  }
}

void Worker::apply(RemoveOutboundRow&& command) {
  if (Pod* pod = find_pod(command.pod_index)) {
    pod->remove_outbound(command.destination);
  }
}

void Worker::apply(PutInboundRows&& command) {
  for (const auto& row : command.rows) {
    if (Pod* pod = find_pod(row->key.pod_index)) {
      pod->put(row);
    }
  }
}

void Worker::apply(RemoveInboundRow&& command) {
  if (Pod* pod = find_pod(command.key.pod_index)) {
    pod->remove_inbound(command.key);
  }
}

void Worker::apply(AskAboutForgotten&& /*command*/) {
  for (auto& [index, pod] : pods_) {
    pod->ask_about_forgotten();
  }
}

void Worker::apply(RemoveEdges&& command) { edges_.remove(command.edges); }

void Worker::apply(Inspect&& command) { command.visit(*this); }

void Worker::apply(StartDrain&& /*command*/) {
  for_each_pod([](Pod& pod) {
    pod.close_listeners();
    pod.for_each_tunnel([](Tunnel& tunnel) { tunnel.announce_shutdown(); });
  });
}

void Worker::apply(ForceDrain&& /*command*/) {
  for_each_pod([](Pod& pod) {
    pod.for_each_flow([](Flow& flow) { flow.abort(HADAL_REASON_DRAINED); });
    pod.for_each_tunnel([](Tunnel& tunnel) { tunnel.fail(HADAL_REASON_DRAINED, "the agent drained"); });
  });
}

void Worker::apply(Stop&& /*command*/) { loop_->stop(); }

}  // namespace hadal::tunnel
