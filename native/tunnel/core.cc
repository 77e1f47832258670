#include "native/tunnel/core.h"

#include <algorithm>
#include <atomic>

#include "native/net/netns_visit.h"
#include "native/net/socket.h"

namespace hadal::tunnel {
namespace {

constexpr std::chrono::milliseconds kDrainPoll{20};

Result<std::vector<ListenerFds>> open_listeners(const Settings& settings, int netns_fd) {
  std::vector<ListenerFds> listeners(settings.workers);
  auto opened = net::run_in_netns(netns_fd, [&]() -> Result<void> {
    for (ListenerFds& of_worker : listeners) {
      for (UniqueFd* fd : {&of_worker.outbound, &of_worker.hbone, &of_worker.plaintext}) {
        // The legs of a tunnel between nodes keep the system's congestion control.
        const bool local_leg = fd != &of_worker.hbone;
        auto listener = net::open_transparent_listener(local_leg ? settings.local_congestion_control : "");
        if (!listener) {
          return std::unexpected(listener.error());
        }
        *fd = std::move(*listener);
      }
    }
    return {};
  });
  if (!opened) {
    return std::unexpected(opened.error());
  }
  return listeners;
}

/// Collects one vector from every worker; the last one delivers.
template <typename Item>
struct Gathering {
  explicit Gathering(size_t workers, std::function<void(std::vector<Item>&&)> when_done)
      : missing(workers), done(std::move(when_done)) {}

  void add(std::vector<Item>&& part) {
    bool last = false;
    {
      const std::lock_guard lock(mutex);
      items.insert(items.end(), std::make_move_iterator(part.begin()), std::make_move_iterator(part.end()));
      last = --missing == 0;
    }
    if (last) {
      done(std::move(items));
    }
  }

  std::mutex mutex;
  size_t missing;
  std::vector<Item> items;
  std::function<void(std::vector<Item>&&)> done;
};

}  // namespace

Result<std::unique_ptr<TunnelCore>> TunnelCore::create(Settings settings, EventSink& sink) {
  std::unique_ptr<TunnelCore> core(new TunnelCore(std::make_shared<const Settings>(std::move(settings))));
  for (uint32_t i = 0; i < core->settings_->workers; ++i) {
    auto worker = Worker::create(i, core->settings_, sink);
    if (!worker) {
      return std::unexpected(worker.error());
    }
    core->workers_.push_back(std::move(*worker));
  }
  return core;
}

TunnelCore::~TunnelCore() { close(); }

template <typename Make>
void TunnelCore::post_to_all(Make make) {
  for (const auto& worker : workers_) {
    worker->post(make());
  }
}

Result<PodListeners> TunnelCore::add_pod(const PodSettings& settings) {
  auto listeners = open_listeners(*settings_, settings.netns_fd);
  if (!listeners) {
    return std::unexpected(listeners.error());
  }
  PodListeners fds;
  const auto shared = std::make_shared<const PodSettings>(settings);
  auto load = std::make_shared<PodLoad>();
  load->workers = settings_->workers;
  std::vector<AddPod> commands;
  for (ListenerFds& of_worker : *listeners) {
    UniqueFd netns = UniqueFd::duplicate(settings.netns_fd);
    if (!netns.valid()) {
      return system_failure("ERR_TUNNEL_POD", "keep the pod's network namespace open", "fcntl", errno);
    }
    fds.outbound.push_back(of_worker.outbound.get());
    fds.hbone.push_back(of_worker.hbone.get());
    fds.plaintext.push_back(of_worker.plaintext.get());
    commands.push_back(
        {.settings = shared, .netns = std::move(netns), .listeners = std::move(of_worker), .load = load});
  }
  for (size_t i = 0; i < workers_.size(); ++i) {
    workers_[i]->post(std::move(commands[i]));
  }
  const std::lock_guard lock(loads_mutex_);
  std::erase_if(loads_, [](const auto& held) { return held.use_count() == 1; });
  loads_.push_back(std::move(load));
  return fds;
}

void TunnelCore::set_pod_addresses(uint32_t pod_index, const std::vector<net::IpAddress>& addresses) {
  post_to_all([&] { return SetPodAddresses{.pod_index = pod_index, .addresses = addresses}; });
}

void TunnelCore::set_pod_holds_machine(uint32_t pod_index, bool holds) {
  post_to_all([&] { return SetPodHoldsMachine{.pod_index = pod_index, .holds = holds}; });
}

void TunnelCore::remove_pod(uint32_t pod_index, bool keep_connections) {
  post_to_all([&] { return RemovePod{.pod_index = pod_index, .keep_connections = keep_connections}; });
}

Result<void> TunnelCore::set_identity(tls::IdentityMaterial material) {
  // Tried here first, so that a bad certificate is the caller's error and not a line in a log.
  if (auto tried = tls::Credentials::create(material); !tried) {
    return std::unexpected(tried.error());
  }
  const auto shared = std::make_shared<const tls::IdentityMaterial>(std::move(material));
  post_to_all([&] { return SetIdentity{.material = shared}; });
  return {};
}

void TunnelCore::remove_identity(const std::string& identity) {
  post_to_all([&] { return RemoveIdentity{.identity = identity}; });
}

Result<void> TunnelCore::set_revocations(const std::string& pem) {
  auto revocations = tls::RevocationList::parse(pem);
  if (!revocations) {
    return std::unexpected(revocations.error());
  }
  post_to_all([&] { return SetRevocations{.revocations = *revocations}; });
  return {};
}

void TunnelCore::put_outbound_rows(std::vector<OutboundRow> rows) {
  std::vector<std::shared_ptr<const OutboundRow>> shared;
  shared.reserve(rows.size());
  for (OutboundRow& row : rows) {
    row.share_out();
    shared.push_back(std::make_shared<const OutboundRow>(std::move(row)));
  }
  post_to_all([&] { return PutOutboundRows{.rows = shared}; });
}

void TunnelCore::remove_outbound_row(uint32_t pod_index, const net::SocketAddress& destination) {
  post_to_all([&] { return RemoveOutboundRow{.pod_index = pod_index, .destination = destination}; });
}

void TunnelCore::put_inbound_rows(std::vector<InboundRow> rows) {
  std::vector<std::shared_ptr<const InboundRow>> shared;
  shared.reserve(rows.size());
  for (InboundRow& row : rows) {
    shared.push_back(std::make_shared<const InboundRow>(std::move(row)));
  }
  post_to_all([&] { return PutInboundRows{.rows = shared}; });
}

void TunnelCore::remove_inbound_row(const InboundKey& key) {
  post_to_all([&] { return RemoveInboundRow{.key = key}; });
}

void TunnelCore::ask_about_forgotten() {
  post_to_all([] { return AskAboutForgotten{}; });
}

void TunnelCore::remove_edges(const std::vector<uint32_t>& edges) {
  post_to_all([&] { return RemoveEdges{.edges = edges}; });
}

EdgeSnapshot TunnelCore::counters() const {
  EdgeSnapshot snapshot;
  for (const auto& worker : workers_) {
    worker->edge_table().add_to(snapshot);
  }
  return snapshot;
}

uint64_t TunnelCore::open_connections() const {
  const std::lock_guard lock(loads_mutex_);
  uint64_t open = 0;
  for (const auto& load : loads_) {
    open += load->connections.load(std::memory_order_relaxed);
  }
  return open;
}

Totals TunnelCore::totals() const {
  Totals out;
  for (const auto& worker : workers_) {
    const WorkerTotals& totals = worker->totals();
    out.questions += totals.questions.read();
    out.questions_timed_out += totals.questions_timed_out.read();
    out.row_hits += totals.row_hits.read();
    out.tunnels_opened += totals.tunnels_opened.read();
    out.tunnels_open += totals.tunnels_open.read();
    out.streams_open += totals.streams_open.read();
    out.worker_cpu_us.push_back(worker->cpu_microseconds());
    for (uint16_t reason = 0; reason < totals.early_ends.size(); ++reason) {
      if (const uint64_t count = totals.early_ends[reason].read(); count > 0) {
        out.early_ends[reason] += count;
      }
    }
  }
  out.connections_open = open_connections();
  const std::lock_guard lock(loads_mutex_);
  for (const auto& load : loads_) {
    out.parked += load->parked.load(std::memory_order_relaxed);
  }
  return out;
}

void TunnelCore::live_flows(std::function<void(std::vector<FlowRecord>&&)> done) {
  if (workers_.empty()) {
    done({});
    return;
  }
  auto gathering = std::make_shared<Gathering<FlowRecord>>(workers_.size(), std::move(done));
  post_to_all(
      [&] { return Inspect{.visit = [gathering](Worker& worker) { gathering->add(worker.live_flows()); }}; });
}

void TunnelCore::describe_tunnels(std::function<void(std::vector<TunnelDescription>&&)> done) {
  if (workers_.empty()) {
    done({});
    return;
  }
  auto gathering = std::make_shared<Gathering<TunnelDescription>>(workers_.size(), std::move(done));
  post_to_all([&] {
    return Inspect{.visit = [gathering](Worker& worker) { gathering->add(worker.describe_tunnels()); }};
  });
}

void TunnelCore::drain(std::chrono::milliseconds deadline, std::function<void(DrainOutcome)> done) {
  if (drain_thread_.joinable()) {
    drain_thread_.join();
  }
  drain_thread_ = std::thread([this, deadline, done = std::move(done)] { run_drain(deadline, done); });
}

void TunnelCore::run_drain(std::chrono::milliseconds deadline,
                           const std::function<void(DrainOutcome)>& done) {
  const auto until = std::chrono::steady_clock::now() + deadline;
  const uint64_t at_start = open_connections();
  post_to_all([] { return StartDrain{}; });
  std::unique_lock lock(drain_mutex_);
  while (!closing_ && open_connections() > 0 && std::chrono::steady_clock::now() < until) {
    drain_changed_.wait_for(lock, kDrainPoll);
  }
  lock.unlock();
  const uint64_t left = open_connections();
  post_to_all([] { return ForceDrain{}; });
  done({.ended = at_start - std::min(at_start, left), .forced = left});
}

void TunnelCore::close() {
  {
    const std::lock_guard lock(drain_mutex_);
    closing_ = true;
  }
  drain_changed_.notify_all();
  if (drain_thread_.joinable()) {
    drain_thread_.join();
  }
  for (const auto& worker : workers_) {
    worker->post(Stop{});
  }
  for (const auto& worker : workers_) {
    worker->join();
  }
  workers_.clear();
}

}  // namespace hadal::tunnel
