#include "native/dns/pod.h"

#include <utility>

#include "native/dns/server.h"
#include "native/dns/sockets.h"

namespace hadal::dns {

Slot::Slot() = default;
Slot::~Slot() = default;

Pod::Pod(Server& server, uint32_t pod_index, UniqueFd netns)
    : server_(server),
      pod_index_(pod_index),
      netns_(std::move(netns)),
      rate_(server.settings().queries_per_second, server.settings().query_burst) {}

Pod::~Pod() = default;

bool Pod::may_ask() {
  if (rate_.take(server_.loop().now_ns())) {
    return true;
  }
  rest();
  return false;
}

void Pod::rest() {
  if (!armed()) {
    server_.rate_deadlines().arm(*this, server_.loop().now_ns());
  }
}

void Pod::resume() { server_.loop().resume_all(paused); }

void Pod::reply(const Client& client, const std::string& message) {
  if (client.protocol == Protocol::tcp) {
    const auto found = connections.find(client.connection);
    if (found != connections.end()) {
      found->second->reply(message);
    }
    return;
  }
  const auto found = slots.find(client.slot);
  if (!message.empty() && found != slots.end() && found->second.udp != nullptr) {
    found->second.udp->send_to(client.from, message);
  }
}

}  // namespace hadal::dns
