#include "native/tunnel/worker.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <ctime>

#include "bpf/shared/reasons.h"
#include "native/net/socket.h"

namespace hadal::tunnel {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kMaintenance{1000};
/// Sixteen connections whose applications read nothing at all.
constexpr size_t kMostLentBytes = size_t{64} * 1024 * 1024;
constexpr milliseconds kSoon{1};
/// Flow records reach TypeScript at most this late, and at most this many at a time.
constexpr milliseconds kFlowBatchAge{100};
constexpr size_t kFlowBatch = 512;
constexpr size_t kKeptOutputBlocks = 2;
constexpr size_t kKeptGatherBlocks = 8;
constexpr int kWorkerBits = 56;

int64_t clock_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

Result<std::unique_ptr<Worker>> Worker::create(uint32_t number, std::shared_ptr<const Settings> settings,
                                               EventSink& sink) {
  auto loop = net::EventLoop::create();
  if (!loop) {
    return std::unexpected(loop.error());
  }
  std::unique_ptr<Worker> worker(new Worker(number, std::move(settings), sink, std::move(*loop)));
  if (auto opened = worker->mailbox_.open(); !opened) {
    return std::unexpected(opened.error());
  }
  if (!worker->loop_->watch_source(worker->mailbox_.fd(), *worker)) {
    return system_failure("ERR_TUNNEL_LOOP", "watch the mailbox of a worker", "epoll_ctl", errno);
  }
  worker->thread_ = std::thread([raw = worker.get()] { raw->run(); });
  return worker;
}

Worker::Worker(uint32_t number, std::shared_ptr<const Settings> settings, EventSink& sink,
               std::unique_ptr<net::EventLoop> loop)
    : number_(number),
      settings_(std::move(settings)),
      sink_(sink),
      loop_(std::move(loop)),
      soon_deadlines_(kSoon),
      connect_deadlines_(settings_->connect_timeout),
      handshake_deadlines_(settings_->handshake_timeout),
      question_deadlines_(settings_->question_timeout),
      // A CONNECT may wait for our connect and handshake, the peer's decision and the peer's own connect.
      answer_deadlines_(settings_->connect_timeout * 2 + settings_->handshake_timeout +
                        settings_->question_timeout),
      maintenance_deadlines_(kMaintenance),
      flow_deadlines_(std::max(settings_->flow_interval, milliseconds(1))),
      batch_deadlines_(kFlowBatchAge),
      maintenance_(maintenance_deadlines_, [this] { maintain(); }),
      live_flows_(flow_deadlines_, [this] { report_live_flows(); }),
      flow_batch_(batch_deadlines_, [this] { send_flows(); }),
      plain_(new uint8_t[kPlainBytes]),
      slots_(new uint8_t[kSlots * h2::kRecordBytes]),
      output_blocks_(net::OutputBuffer::kBlockBytes, kKeptOutputBlocks),
      gather_blocks_(h2::kRecordBytes, kKeptGatherBlocks),
      spare_descriptor_(open("/dev/null", O_RDONLY | O_CLOEXEC)),
      ending_(*loop_),
      flow_ids_(static_cast<uint64_t>(number) << kWorkerBits | 1) {
  if (getrandom(&random_state_, sizeof(random_state_), 0) != sizeof(random_state_)) {
    random_state_ = static_cast<uint64_t>(clock_ns(CLOCK_MONOTONIC)) + number;
  }
  for (net::DeadlineQueue* queue :
       {&soon_deadlines_, &connect_deadlines_, &handshake_deadlines_, &question_deadlines_,
        &answer_deadlines_, &maintenance_deadlines_, &flow_deadlines_, &batch_deadlines_}) {
    loop_->add_deadlines(*queue);
  }
  loop_->set_turn_end([this] { end_turn(); });
  loop_->set_spin(settings_->spin);
}

Worker::~Worker() { join(); }

void Worker::join() {
  if (thread_.joinable()) {
    post(Stop{});
    thread_.join();
  }
}

void Worker::run() {
  pthread_setname_np(pthread_self(), ("hadal-w" + std::to_string(number_)).c_str());
  clockid_t clock = 0;
  if (pthread_getcpuclockid(pthread_self(), &clock) == 0) {
    cpu_clock_.store(clock, std::memory_order_relaxed);
  }
  unix_offset_ns_ = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);
  loop_->run();
  shut_down();
}

uint64_t Worker::cpu_microseconds() const {
  const clockid_t clock = cpu_clock_.load(std::memory_order_relaxed);
  return clock == 0 ? 0 : static_cast<uint64_t>(clock_ns(clock)) / 1000;
}

void Worker::on_ready(uint32_t /*events*/) {
  mailbox_.take(commands_);
  for (Command& command : commands_) {
    std::visit([this](auto&& concrete) { apply(std::move(concrete)); }, std::move(command));
  }
  commands_.clear();
}

void Worker::end_turn() {
  while (Tunnel* tunnel = dirty_.pop_front()) {
    tunnel->flush();
  }
  if (!questions_.empty()) {
    sink_.on_questions(std::exchange(questions_, {}));
  }
  if (flows_.size() >= kFlowBatch) {
    send_flows();
  }
}

void Worker::ask(Question&& question) {
  totals_.questions.add(1);
  questions_.push_back(std::move(question));
}

void Worker::report(const FlowRecord& record) {
  flows_.push_back(record);
  if (!flow_batch_.armed()) {
    batch_deadlines_.arm(flow_batch_, loop_->now_ns());
  }
}

void Worker::send_flows() {
  flow_batch_.disarm();
  if (!flows_.empty()) {
    sink_.on_flows(std::exchange(flows_, {}));
  }
}

void Worker::log(LogLevel level, uint32_t pod_index, std::string message) {
  sink_.on_log({.level = level, .message = std::move(message), .pod_index = pod_index});
}

bool Worker::lend(size_t bytes) {
  if (lent_bytes_ + bytes > kMostLentBytes) {
    return false;
  }
  lent_bytes_ += bytes;
  return true;
}

uint64_t Worker::unix_us(int64_t monotonic_ns) const {
  return static_cast<uint64_t>(monotonic_ns + unix_offset_ns_) / 1000;
}

// splitmix64: trace ids and weights need to be spread, not secret.
uint64_t Worker::random() {
  random_state_ += 0x9e3779b97f4a7c15ULL;
  uint64_t mixed = random_state_;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ULL;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebULL;
  return mixed ^ (mixed >> 31);
}

std::shared_ptr<const tls::Credentials> Worker::credentials(const std::string& identity) const {
  const auto found = credentials_.find(identity);
  return found == credentials_.end() ? nullptr : found->second;
}

std::shared_ptr<h2::TokenBucket> Worker::reset_budget(const std::string& identity,
                                                      const net::IpAddress& address) {
  std::weak_ptr<h2::TokenBucket>& held = reset_budgets_[{identity, address}];
  std::shared_ptr<h2::TokenBucket> budget = held.lock();
  if (budget == nullptr) {
    budget =
        std::make_shared<h2::TokenBucket>(settings_->http2.resets_per_second, settings_->http2.reset_burst);
    held = budget;
  }
  return budget;
}

void Worker::refuse_without_descriptor(int listener) {
  spare_descriptor_.reset();
  UniqueFd fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  if (fd.valid()) {
    net::reset_on_close(fd.get());
    fd.reset();
    edges_.count_failure(0, HADAL_REASON_OUT_OF_RESOURCES);
  }
  spare_descriptor_.reset(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

void Worker::maintain() {
  unix_offset_ns_ = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);
  for_each_pod([this](Pod& pod) { pod.maintain(loop_->now_ns()); });
  std::erase_if(reset_budgets_, [](const auto& item) { return item.second.expired(); });
  if (!pods_.empty() || !retired_pods_.empty()) {
    maintenance_deadlines_.arm(maintenance_, loop_->now_ns());
  }
}

std::vector<FlowRecord> Worker::live_flows() {
  // Whoever asks for the live ones must not miss those that ended a moment ago.
  send_flows();
  std::vector<FlowRecord> records;
  for_each_pod([&](Pod& pod) {
    pod.for_each_flow([&](Flow& flow) {
      if (flow.is_live()) {
        records.push_back(flow.record(FlowKind::live));
      }
    });
  });
  return records;
}

void Worker::report_live_flows() {
  std::vector<FlowRecord> records = live_flows();
  if (!records.empty()) {
    sink_.on_flows(std::move(records));
  }
  flow_deadlines_.arm(live_flows_, loop_->now_ns());
}

std::vector<TunnelDescription> Worker::describe_tunnels() {
  std::vector<TunnelDescription> all;
  for_each_pod([&](Pod& pod) {
    pod.for_each_tunnel([&](Tunnel& tunnel) {
      if (tunnel.state() == Tunnel::State::ready) {
        all.push_back(tunnel.describe());
        all.back().worker = number_;
      }
    });
  });
  return all;
}

void Worker::release(Pod& pod, bool tell) {
  const auto found =
      std::ranges::find_if(retired_pods_, [&](const auto& held) { return held.get() == &pod; });
  if (found == retired_pods_.end()) {
    return;
  }
  if (tell) {
    sink_.on_pod_drained(pod.index());
  }
  loop_->dispose(std::move(*found));
  retired_pods_.erase(found);
}

void Worker::shut_down() {
  for (auto& [index, pod] : pods_) {
    retired_pods_.push_back(std::move(pod));
  }
  pods_.clear();
  // A copy: pods leave the list as they end.
  std::vector<Pod*> ending;
  for (auto& pod : retired_pods_) {
    ending.push_back(pod.get());
  }
  for (Pod* pod : ending) {
    pod->retire(false, HADAL_REASON_DRAINED);
  }
  loop_->dispose_all();
  send_flows();
}

}  // namespace hadal::tunnel
