// A CONNECT that a peer sent for one of our pods: judged, delivered to the application, relayed.
#pragma once

#include <memory>
#include <string>

#include "native/tunnel/authority.h"
#include "native/tunnel/questions.h"
#include "native/tunnel/rows.h"
#include "native/tunnel/stream_flow.h"

namespace hadal::tunnel {

class InboundFlow final : public StreamFlow, public Parked {
 public:
  static InboundFlow* begin(Worker& worker, Pod& pod, Tunnel& tunnel);

  void on_inbound_row(const std::shared_ptr<const InboundRow>& row, RowFlows& flows) override;

 private:
  /// What the headers said; gone once the connection is judged.
  struct Request {
    std::string method;
    std::string authority;
    std::string forwarded;
    std::string forwarded_network;
    std::string baggage;
    bool hadal = false;
  };

  enum class Stage : uint8_t { headers, parked, connecting, relaying, refused };

  InboundFlow(Worker& worker, Pod& pod, Tunnel& tunnel);

  void judge();
  void note_source(const Request& request);
  void deliver_by(const InboundRow& row);
  void check_connected();
  void answer();
  /// Status and END_STREAM; the stream then waits for its peer to leave.
  void refuse(uint16_t status, uint16_t reason);

  bool on_header(std::string_view name, std::string_view value) override;
  void on_headers_end() override { headers_complete_ = true; }
  void on_headers() override;
  void on_socket_event(uint32_t events) override;
  void on_setup_deadline() override;

  void count_from_socket(size_t bytes) override { add_received(bytes); }
  void count_to_socket(size_t bytes) override { add_sent(bytes); }
  [[nodiscard]] uint16_t socket_reset_reason() const override;
  [[nodiscard]] uint16_t stream_reset_reason() const override;

  std::unique_ptr<Request> request_;
  std::shared_ptr<const InboundRow> row_;
  Stage stage_ = Stage::headers;
  bool headers_complete_ = false;
};

}  // namespace hadal::tunnel
