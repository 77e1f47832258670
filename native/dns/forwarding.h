// A query on its way to the nameserver that the pod asked, from the pod's own namespace and address. Each has
// a socket of its own, so a random port, and a random id; only an answer from there, with that id and this
// question, counts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "native/base/failure.h"
#include "native/base/unique_fd.h"
#include "native/dns/message.h"
#include "native/net/address.h"
#include "native/net/deadline_queue.h"
#include "native/net/event_loop.h"

namespace hadal::dns {

class Pod;
class Server;

/// Who asked, on one of the pod's slots.
struct Client {
  Protocol protocol = Protocol::udp;
  uint16_t slot = 0;
  /// UDP
  net::SocketAddress from;
  /// TCP
  uint64_t connection = 0;
};

struct ForwardRequest {
  /// Its id is replaced.
  std::string message;
  net::IpAddress nameserver;
  Client client;
  uint16_t client_id = 0;
  uint32_t labels = 0;
  /// Said to the client when there is no answer.
  std::string failure;
  /// TypeScript has asked, under this id of its query, and gets the answer.
  std::optional<uint64_t> for_query;
};

class Forwarding final : public net::EventHandler, public net::Timed, public net::Disposable {
 public:
  Forwarding(Server& server, Pod& pod, ForwardRequest request);
  ~Forwarding() override;

  /// The query is under way; else why not.
  [[nodiscard]] Result<void> start();

  void on_ready(uint32_t events) override;
  void on_deadline() override;

  [[nodiscard]] Pod& pod() { return pod_; }
  [[nodiscard]] const ForwardRequest& request() const { return request_; }
  [[nodiscard]] int64_t started_ns() const { return started_ns_; }

 private:
  [[nodiscard]] bool is_udp() const { return request_.client.protocol == Protocol::udp; }
  void read_datagrams();
  void write_stream();
  void read_stream();
  void fail(const std::string& why);
  void fail_errno(int error);

  Server& server_;
  Pod& pod_;
  ForwardRequest request_;
  int64_t started_ns_;
  uint16_t id_;
  UniqueFd fd_;
  /// TCP: what is still to be written, what has come.
  std::string outgoing_;
  std::string incoming_;
  bool is_over_ = false;
};

}  // namespace hadal::dns
