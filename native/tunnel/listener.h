// A listening socket inside a pod.
#pragma once

#include <sys/socket.h>

#include <cstdint>

#include "native/base/unique_fd.h"
#include "native/net/event_loop.h"

namespace hadal::tunnel {

class Pod;
class Worker;

enum class ListenerKind : uint8_t { outbound, hbone, plaintext };

class Listener final : public net::EventHandler {
 public:
  Listener(Worker& worker, Pod& pod, ListenerKind kind, UniqueFd fd);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  void on_ready(uint32_t events) override;
  void close();
  [[nodiscard]] uint16_t port() const { return port_; }

 private:
  [[nodiscard]] UniqueFd accept_one(sockaddr_storage& peer);

  Worker& worker_;
  Pod& pod_;
  ListenerKind kind_;
  UniqueFd fd_;
  uint16_t port_ = 0;
};

}  // namespace hadal::tunnel
