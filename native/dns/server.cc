#include "native/dns/server.h"

#include <algorithm>
#include <utility>

#include "native/dns/sockets.h"

namespace hadal::dns {
namespace {

constexpr std::chrono::milliseconds kRatePause{10};

size_t bucket_of(double seconds) {
  const auto bound = std::ranges::find_if(kUpstreamSeconds, [&](double each) { return seconds <= each; });
  return static_cast<size_t>(bound - kUpstreamSeconds.begin());
}

std::string under_id(std::string message, uint16_t id) {
  set_message_id(message, id);
  return message;
}

}  // namespace

Server::Server(net::EventLoop& loop, const Settings& settings, Desk& desk, Listener& listener)
    : loop_(loop),
      settings_(settings),
      desk_(desk),
      listener_(listener),
      upstream_deadlines_(settings.upstream_timeout),
      idle_deadlines_(settings.tcp_idle),
      rate_deadlines_(kRatePause),
      random_(std::random_device{}()) {
  loop_.add_deadlines(upstream_deadlines_);
  loop_.add_deadlines(idle_deadlines_);
  loop_.add_deadlines(rate_deadlines_);
}

Server::~Server() = default;

Pod* Server::pod_at(uint32_t pod_index) {
  const auto found = pods_.find(pod_index);
  return found == pods_.end() ? nullptr : found->second.get();
}

void Server::add_pod(uint32_t pod_index, UniqueFd netns) {
  remove_pod(pod_index);
  pods_.emplace(pod_index, std::make_unique<Pod>(*this, pod_index, std::move(netns)));
}

void Server::remove_pod(uint32_t pod_index) {
  const auto found = pods_.find(pod_index);
  if (found == pods_.end()) {
    return;
  }
  std::erase_if(outstanding_, [&](const auto& entry) { return entry.second.pod_index == pod_index; });
  {
    const std::lock_guard lock(desk_.mutex);
    desk_.queue.remove(pod_index);
    desk_.paused.erase(pod_index);
  }
  forwardings_ -= found->second->forwardings.size();
  pods_.erase(found);
}

void Server::serve(uint32_t pod_index, uint16_t slot, UniqueFd udp, UniqueFd tcp) {
  Pod* pod = pod_at(pod_index);
  if (pod == nullptr) {
    return;
  }
  Slot& at = pod->slot(slot);
  at.udp = std::make_unique<UdpSocket>(*this, *pod, slot, std::move(udp));
  at.tcp = std::make_unique<TcpListener>(*this, *pod, slot, std::move(tcp));
}

void Server::set_nameserver(uint32_t pod_index, uint16_t slot, const net::IpAddress& address) {
  if (Pod* pod = pod_at(pod_index)) {
    pod->slot(slot).nameserver = address;
  }
}

void Server::set_labels(uint32_t pod_index, uint32_t labels) {
  if (Pod* pod = pod_at(pod_index)) {
    pod->labels = labels;
  }
}

void Server::forget_answers(uint32_t pod_index) {
  for (const auto& [index, pod] : pods_) {
    if (pod_index == 0 || pod_index == index) {
      pod->rows.clear();
    }
  }
}

void Server::resume(uint32_t pod_index) {
  if (Pod* pod = pod_at(pod_index)) {
    pod->resume();
  }
}

Server::Admission Server::admit(Pod& pod, const Client& client, const std::string& message) {
  AnswerRows::make_key(message, client.protocol, key_);
  Row* row = pod.rows.find(key_);
  if (row != nullptr && (!row->forward || pod.slot(client.slot).nameserver)) {
    use_row(pod, client, message, *row);
    return Admission::taken;
  }
  const uint64_t id = ++last_id_;
  if (!post({.kind = Asked::Kind::query,
             .protocol = client.protocol,
             .slot = client.slot,
             .pod_index = pod.index(),
             .id = id,
             .arrived_ns = loop_.now_ns(),
             .message = message})) {
    return Admission::full;
  }
  outstanding_.emplace(id, Outstanding{pod.index(), client, message});
  return Admission::taken;
}

void Server::use_row(Pod& pod, const Client& client, const std::string& message, Row& row) {
  const uint16_t id = message_id(message);
  {
    const std::lock_guard lock(desk_.mutex);
    ++desk_.answers[row.labels].requests;
  }
  if (!row.forward) {
    row.shuffle(random_);
    set_message_id(row.message, id);
    pod.reply(client, row.message);
    return;
  }
  const auto nameserver = pod.slot(client.slot).nameserver;
  if (!nameserver) {
    pod.reply(client, under_id(row.message, id));
    return;
  }
  forward(pod, {.message = message,
                .nameserver = *nameserver,
                .client = client,
                .client_id = id,
                .labels = row.labels,
                .failure = row.message,
                .for_query = {}});
}

/// False: no room. The listener is told with the mutex free: it takes locks of its own.
bool Server::post(Asked asked) {
  const uint32_t pod_index = asked.pod_index;
  {
    const std::lock_guard lock(desk_.mutex);
    if (!desk_.queue.push(std::move(asked))) {
      desk_.paused.insert(pod_index);
      return false;
    }
    if (std::exchange(desk_.listener_told, true)) {
      return true;
    }
  }
  listener_.on_asked();
  return true;
}

void Server::decide(Decision decision) {
  auto entry = outstanding_.extract(decision.id);
  Pod* pod = entry.empty() ? nullptr : pod_at(entry.mapped().pod_index);
  if (pod == nullptr) {
    return;
  }
  Outstanding& asked = entry.mapped();
  if (decision.kind == Decision::Kind::drop) {
    pod->reply(asked.client, "");
    return;
  }
  if (decision.kind == Decision::Kind::ask) {
    const auto nameserver = pod->slot(asked.client.slot).nameserver;
    const Client client = asked.client;
    outstanding_.insert(std::move(entry));
    forward(*pod, {.message = std::move(decision.row.message),
                   .nameserver = nameserver.value_or(net::IpAddress{}),
                   .client = client,
                   .client_id = 0,
                   .labels = decision.row.labels,
                   .failure = {},
                   .for_query = decision.id});
    return;
  }
  use_row(*pod, asked.client, asked.message, decision.row);
  if (decision.keep) {
    AnswerRows::make_key(asked.message, asked.client.protocol, key_);
    pod->rows.put(key_, std::move(decision.row));
  }
}

void Server::drop_late(uint32_t pod_index, uint64_t id) {
  if (const Pod* pod = pod_at(pod_index)) {
    count_drops(*pod, Drop::too_late, 1);
  }
  decide({.kind = Decision::Kind::drop, .id = id, .row = {}});
}

void Server::forward(Pod& pod, ForwardRequest request) {
  auto made = std::make_unique<Forwarding>(*this, pod, std::move(request));
  Forwarding& forwarding = *made;
  const bool has_room =
      pod.forwardings.size() < settings_.upstream_queries && forwardings_ < settings_.all_upstream_queries;
  pod.forwardings.emplace(&forwarding, std::move(made));
  ++forwardings_;
  if (!has_room) {
    on_forward_failed(forwarding, "too many queries wait for nameservers");
    return;
  }
  if (const auto started = forwarding.start(); !started) {
    on_forward_failed(forwarding, started.error().message);
  }
}

void Server::on_forwarded(Forwarding& forwarding, std::string answer) {
  Pod& pod = forwarding.pod();
  const ForwardRequest& request = forwarding.request();
  const double seconds = static_cast<double>(loop_.now_ns() - forwarding.started_ns()) * 1e-9;
  {
    const std::lock_guard lock(desk_.mutex);
    AnswerCounts& counts = desk_.answers[request.labels];
    ++counts.upstream_requests;
    ++counts.upstream_buckets[bucket_of(seconds)];
    counts.upstream_seconds += seconds;
  }
  if (request.for_query) {
    (void)post({.kind = Asked::Kind::answer,
                .pod_index = pod.index(),
                .id = *request.for_query,
                .arrived_ns = loop_.now_ns(),
                .message = std::move(answer)});
  } else {
    pod.reply(request.client, under_id(std::move(answer), request.client_id));
  }
  end(forwarding);
}

void Server::on_forward_failed(Forwarding& forwarding, const std::string& why) {
  Pod& pod = forwarding.pod();
  const ForwardRequest& request = forwarding.request();
  {
    const std::lock_guard lock(desk_.mutex);
    AnswerCounts& counts = desk_.answers[request.labels];
    ++counts.upstream_requests;
    ++counts.upstream_failures;
  }
  if (request.for_query) {
    (void)post({.kind = Asked::Kind::failure,
                .pod_index = pod.index(),
                .id = *request.for_query,
                .arrived_ns = loop_.now_ns(),
                .message = why});
  } else {
    pod.reply(request.client, under_id(request.failure, request.client_id));
  }
  end(forwarding);
}

/// It goes with the turn: it called.
void Server::end(Forwarding& forwarding) {
  Pod& pod = forwarding.pod();
  forwarding.disarm();
  auto entry = pod.forwardings.extract(&forwarding);
  --forwardings_;
  loop_.dispose(std::move(entry.mapped()));
}

void Server::count_drops(const Pod& pod, Drop drop, uint64_t count) {
  if (count > 0) {
    const std::lock_guard lock(desk_.mutex);
    desk_.drops[pod.labels][static_cast<size_t>(drop)] += count;
  }
}

}  // namespace hadal::dns
