// The name service of an agent: one thread for the queries of all pods and for what is passed on to their
// nameservers. It repeats what TypeScript has decided; what was not decided yet waits, fairly among pods,
// until TypeScript takes it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "native/base/failure.h"
#include "native/dns/server.h"
#include "native/net/mailbox.h"

namespace hadal::dns {

class Service final : private net::EventHandler {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Service>> start(Settings settings, Listener& listener);
  ~Service() { stop(); }
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // From any thread.
  void add_pod(uint32_t pod_index, UniqueFd netns);
  void remove_pod(uint32_t pod_index);
  void serve(uint32_t pod_index, uint16_t slot, UniqueFd udp, UniqueFd tcp);
  void set_nameserver(uint32_t pod_index, uint16_t slot, const net::IpAddress& address);
  void set_labels(uint32_t pod_index, uint32_t labels);
  void forget_answers(uint32_t pod_index);
  void decide(Decision decision);

  /// The next query that waits, and what the one taken before has cost. With none the listener is told of the
  /// next.
  [[nodiscard]] std::optional<Asked> take(uint64_t spent_us);
  [[nodiscard]] std::unordered_map<uint32_t, AnswerCounts> answers();
  [[nodiscard]] std::unordered_map<uint32_t, DropCounts> drops();

  /// The thread never blocks, so this takes as long as what it is at: less than a millisecond.
  void stop();

 private:
  using Command = std::move_only_function<void(Server&)>;

  Service(Settings settings, Listener& listener, std::unique_ptr<net::EventLoop> loop);
  void on_ready(uint32_t /*events*/) override { has_commands_ = true; }
  void run_commands();
  [[nodiscard]] std::optional<Asked> take_one(uint64_t spent_us);

  Settings settings_;
  Desk desk_;
  std::unique_ptr<net::EventLoop> loop_;
  net::Mailbox<Command> mailbox_;
  std::vector<Command> commands_;
  bool has_commands_ = false;
  std::unique_ptr<Server> server_;
  uint32_t taken_from_ = 0;
  std::thread thread_;
};

}  // namespace hadal::dns
