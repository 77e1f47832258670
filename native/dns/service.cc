#include "native/dns/service.h"

#include <pthread.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <utility>

namespace hadal::dns {
namespace {

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

Result<std::unique_ptr<Service>> Service::start(Settings settings, Listener& listener) {
  auto loop = net::EventLoop::create();
  if (!loop) {
    return std::unexpected(loop.error());
  }
  std::unique_ptr<Service> service(new Service(std::move(settings), listener, std::move(*loop)));
  if (auto opened = service->mailbox_.open(); !opened) {
    return std::unexpected(opened.error());
  }
  if (!service->loop_->watch_source(service->mailbox_.fd(), *service)) {
    return system_failure("ERR_DNS_SERVICE", "watch the mailbox of the name service", "epoll_ctl", errno);
  }
  // Signals are for Node's threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  service->thread_ = std::thread([raw = service.get()] {
    pthread_setname_np(pthread_self(), "hadal-names");
    raw->loop_->run();
    raw->server_.reset();
    raw->loop_->dispose_all();
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return service;
}

Service::Service(Settings settings, Listener& listener, std::unique_ptr<net::EventLoop> loop)
    : settings_(std::move(settings)), desk_(settings_.waiting_queries), loop_(std::move(loop)) {
  server_ = std::make_unique<Server>(*loop_, settings_, desk_, listener);
  // Commands destroy what events of the same turn may still name, so they come behind those.
  loop_->set_turn_end([this] { run_commands(); });
}

void Service::run_commands() {
  if (!std::exchange(has_commands_, false)) {
    return;
  }
  mailbox_.take(commands_);
  for (Command& command : commands_) {
    command(*server_);
  }
  commands_.clear();
}

void Service::stop() {
  if (thread_.joinable()) {
    mailbox_.post([this](Server&) { loop_->stop(); });
    thread_.join();
  }
}

void Service::add_pod(uint32_t pod_index, UniqueFd netns) {
  mailbox_.post([pod_index, netns = std::move(netns)](Server& server) mutable {
    server.add_pod(pod_index, std::move(netns));
  });
}

void Service::remove_pod(uint32_t pod_index) {
  mailbox_.post([pod_index](Server& server) { server.remove_pod(pod_index); });
}

void Service::serve(uint32_t pod_index, uint16_t slot, UniqueFd udp, UniqueFd tcp) {
  mailbox_.post([pod_index, slot, udp = std::move(udp), tcp = std::move(tcp)](Server& server) mutable {
    server.serve(pod_index, slot, std::move(udp), std::move(tcp));
  });
}

void Service::set_nameserver(uint32_t pod_index, uint16_t slot, const net::IpAddress& address) {
  mailbox_.post([=](Server& server) { server.set_nameserver(pod_index, slot, address); });
}

void Service::set_labels(uint32_t pod_index, uint32_t labels) {
  mailbox_.post([=](Server& server) { server.set_labels(pod_index, labels); });
}

void Service::forget_answers(uint32_t pod_index) {
  mailbox_.post([=](Server& server) { server.forget_answers(pod_index); });
}

void Service::decide(Decision decision) {
  mailbox_.post(
      [decision = std::move(decision)](Server& server) mutable { server.decide(std::move(decision)); });
}

std::optional<Asked> Service::take(uint64_t spent_us) {
  const int64_t longest_wait_ns = std::chrono::nanoseconds(settings_.longest_wait).count();
  for (;;) {
    auto asked = take_one(std::exchange(spent_us, 0));
    if (!asked || asked->kind != Asked::Kind::query || now_ns() - asked->arrived_ns <= longest_wait_ns) {
      return asked;
    }
    mailbox_.post(
        [pod_index = asked->pod_index, id = asked->id](Server& server) { server.drop_late(pod_index, id); });
  }
}

std::optional<Asked> Service::take_one(uint64_t spent_us) {
  std::optional<Asked> asked;
  bool resumes = false;
  {
    const std::lock_guard lock(desk_.mutex);
    if (taken_from_ != 0) {
      desk_.queue.charge(std::exchange(taken_from_, 0), spent_us);
    }
    asked = desk_.queue.take();
    if (!asked) {
      desk_.listener_told = false;
      return asked;
    }
    taken_from_ = asked->pod_index;
    resumes = desk_.queue.waiting(taken_from_) <= settings_.waiting_queries / 2 &&
              desk_.paused.erase(taken_from_) > 0;
  }
  if (resumes) {
    mailbox_.post([pod_index = asked->pod_index](Server& server) { server.resume(pod_index); });
  }
  return asked;
}

std::unordered_map<uint32_t, AnswerCounts> Service::answers() {
  const std::lock_guard lock(desk_.mutex);
  return desk_.answers;
}

std::unordered_map<uint32_t, DropCounts> Service::drops() {
  const std::lock_guard lock(desk_.mutex);
  return desk_.drops;
}

}  // namespace hadal::dns
