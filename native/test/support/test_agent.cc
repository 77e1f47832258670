#include "native/test/support/test_agent.h"

#include <stdexcept>

#include "native/tunnel/authority.h"

namespace hadal::test {

TestAgent::TestAgent(tunnel::Settings settings) {
  auto core = tunnel::TunnelCore::create(std::move(settings), *this);
  if (!core) {
    throw std::runtime_error(core.error().message);
  }
  core_ = std::move(*core);
}

TestAgent::~TestAgent() { core_->close(); }

void TestAgent::enrol(uint32_t pod_index, const TestPod& pod, const tls::IdentityMaterial& identity) {
  if (auto set = core_->set_identity(identity); !set) {
    throw std::runtime_error(set.error().message);
  }
  auto listeners = core_->add_pod({.pod_index = pod_index,
                                   .netns_fd = pod.netns_fd.get(),
                                   .addresses = {pod.v4, pod.v6},
                                   .identity = identity.identity});
  if (!listeners) {
    throw std::runtime_error(listeners.error().message);
  }
  listeners_ = *listeners;
  steering_.push_back(std::make_unique<Steering>(
      pod.netns_fd.get(), pod.v4, pod.v6, kHbonePort,
      SteeringTargets{
          .outbound = listeners->outbound, .hbone = listeners->hbone, .plaintext = listeners->plaintext}));
}

void TestAgent::on_questions(std::vector<tunnel::Question>&& questions) {
  questions_ += questions.size();
  for (const tunnel::Question& question : questions) {
    if (const auto* outbound = std::get_if<tunnel::OutboundQuestion>(&question)) {
      if (auto row = decide_outbound ? decide_outbound(*outbound) : std::nullopt) {
        core_->put_outbound_rows({std::move(*row)});
      }
    } else if (const auto* inbound = std::get_if<tunnel::InboundQuestion>(&question)) {
      if (auto row = decide_inbound ? decide_inbound(*inbound) : std::nullopt) {
        core_->put_inbound_rows({std::move(*row)});
      }
    }
  }
}

void TestAgent::on_flows(std::vector<tunnel::FlowRecord>&& flows) {
  const std::lock_guard lock(mutex_);
  flows_.insert(flows_.end(), flows.begin(), flows.end());
  changed_.notify_all();
}

void TestAgent::on_log(tunnel::LogLine&& line) {
  const std::lock_guard lock(mutex_);
  log_lines_.push_back(std::move(line.message));
}

void TestAgent::on_pod_drained(uint32_t pod_index) {
  const std::lock_guard lock(mutex_);
  drained_pods_.push_back(pod_index);
}

std::vector<tunnel::FlowRecord> TestAgent::flows() {
  const std::lock_guard lock(mutex_);
  return flows_;
}

std::vector<std::string> TestAgent::log_lines() {
  const std::lock_guard lock(mutex_);
  return log_lines_;
}

std::vector<uint32_t> TestAgent::drained_pods() {
  const std::lock_guard lock(mutex_);
  return drained_pods_;
}

std::optional<tunnel::FlowRecord> TestAgent::wait_for_flow(
    const std::function<bool(const tunnel::FlowRecord&)>& wanted) {
  std::unique_lock lock(mutex_);
  std::optional<tunnel::FlowRecord> found;
  changed_.wait_for(lock, std::chrono::seconds(5), [&] {
    for (const tunnel::FlowRecord& flow : flows_) {
      if (wanted(flow)) {
        found = flow;
      }
    }
    return found.has_value();
  });
  return found;
}

TestAgent::DecideOutbound tunnel_to(const net::IpAddress& endpoint, const net::SocketAddress& upstream,
                                    const std::string& peer_identity, uint32_t edge) {
  return [=](const tunnel::OutboundQuestion& question) {
    tunnel::OutboundRow row{.pod_index = question.pod_index,
                            .destination = question.destination,
                            .reason = 0,
                            .refusal_edge = edge,
                            .endpoints = {}};
    const net::SocketAddress target{upstream.address,
                                    upstream.port != 0 ? upstream.port : question.destination.port};
    row.endpoints.push_back({.edge = edge,
                             .weight = 1,
                             .path = tunnel::EndpointPath::tunnel,
                             .destination = {endpoint, kHbonePort},
                             .authority = target.text(),
                             .peer_identities = std::make_shared<std::vector<std::string>>(1, peer_identity),
                             .forwarded_host = {},
                             .baggage = "k8s.namespace.name=shop"});
    return row;
  };
}

TestAgent::DecideInbound allow_to(const net::IpAddress& pod, uint32_t edge) {
  return [=](const tunnel::InboundQuestion& question) {
    const auto authority = tunnel::Authority::parse(question.key.authority);
    return tunnel::InboundRow{.key = question.key,
                              .reason = 0,
                              .status = 200,
                              .edge = edge,
                              .upstream = {authority->address.value_or(pod), authority->port},
                              .proxy_destination = std::nullopt,
                              .loopback = false,
                              .baggage = "k8s.namespace.name=shop"};
  };
}

}  // namespace hadal::test
