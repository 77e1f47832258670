// Where the queries of a pod come in: on its loopback, for one nameserver. What the pod asks too fast is not
// read, so the kernel drops it (UDP) or makes the pod wait (TCP), and it costs the agent nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "native/base/unique_fd.h"
#include "native/dns/pod.h"
#include "native/net/deadline_queue.h"
#include "native/net/event_loop.h"

namespace hadal::dns {

class UdpSocket final : public net::EventHandler, public net::Resumable {
 public:
  UdpSocket(Server& server, Pod& pod, uint16_t slot, UniqueFd fd);
  ~UdpSocket();

  void on_ready(uint32_t events) override;
  void on_resume() override { read(); }
  void send_to(const net::SocketAddress& to, const std::string& message) const;

 private:
  void read();
  [[nodiscard]] bool read_one();

  Server& server_;
  Pod& pod_;
  uint16_t slot_;
  UniqueFd fd_;
  /// What the kernel has dropped before it was read, as it counts.
  uint32_t dropped_ = 0;
};

class TcpListener final : public net::EventHandler, public net::Resumable {
 public:
  TcpListener(Server& server, Pod& pod, uint16_t slot, UniqueFd fd);
  ~TcpListener();

  void on_ready(uint32_t events) override;
  void on_resume() override { accept(); }

 private:
  void accept();

  Server& server_;
  Pod& pod_;
  uint16_t slot_;
  UniqueFd fd_;
};

class TcpConnection final : public net::EventHandler,
                            public net::Resumable,
                            public net::Timed,
                            public net::Disposable {
 public:
  TcpConnection(Server& server, Pod& pod, Client client, UniqueFd fd);
  ~TcpConnection() override;

  void on_ready(uint32_t events) override;
  void on_resume() override;
  void on_deadline() override;
  /// '' when nothing is said.
  void reply(const std::string& message);

 private:
  void read();
  [[nodiscard]] bool read_more();
  void ask();
  void write();
  void close();
  [[nodiscard]] bool is_done() const { return waiting_ == 0 && outgoing_.empty(); }

  Server& server_;
  Pod& pod_;
  Client client_;
  UniqueFd fd_;
  std::string incoming_;
  std::string outgoing_;
  size_t waiting_ = 0;
  bool at_end_ = false;
  bool is_closed_ = false;
};

}  // namespace hadal::dns
