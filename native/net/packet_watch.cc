#include "native/net/packet_watch.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <thread>

#include "native/net/netns_visit.h"

namespace hadal::net {
namespace {

constexpr size_t kIpv4Header = 20;
constexpr uint32_t kIpv6Header = 40;
constexpr size_t kPorts = 4;
/// An IPv4 header with all its options, and ports.
constexpr size_t kLongest = 64;

/// Offsets count from the network header, as for every packet socket without link headers.
std::array<sock_filter, 19> filter_of(uint16_t port) {
  constexpr uint32_t kTake = 17;
  constexpr uint32_t kDrop = 18;
  const auto load = [](uint16_t code, uint32_t offset) { return sock_filter{code, 0, 0, offset}; };
  const auto equals = [](uint32_t value, uint32_t at, uint32_t yes, uint32_t no) {
    return sock_filter{BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint8_t>(yes - at - 1),
                       static_cast<uint8_t>(no - at - 1), value};
  };
  return {{
      load(BPF_LD | BPF_B | BPF_ABS, 0),
      {BPF_ALU | BPF_AND | BPF_K, 0, 0, 0xf0},
      equals(0x60, 2, 3, 9),
      // IPv6
      load(BPF_LD | BPF_B | BPF_ABS, 6),
      equals(IPPROTO_TCP, 4, 5, kDrop),
      load(BPF_LD | BPF_H | BPF_ABS, kIpv6Header),
      equals(port, 6, kTake, 7),
      load(BPF_LD | BPF_H | BPF_ABS, kIpv6Header + 2),
      equals(port, 8, kTake, kDrop),
      // IPv4
      equals(0x40, 9, 10, kDrop),
      load(BPF_LD | BPF_B | BPF_ABS, 9),
      equals(IPPROTO_TCP, 11, 12, kDrop),
      load(BPF_LDX | BPF_B | BPF_MSH, 0),
      load(BPF_LD | BPF_H | BPF_IND, 0),
      equals(port, 14, kTake, 15),
      load(BPF_LD | BPF_H | BPF_IND, 2),
      equals(port, 16, kTake, kDrop),
      {BPF_RET | BPF_K, 0, 0, kLongest},
      {BPF_RET | BPF_K, 0, 0, 0},
  }};
}

SocketAddress end_of(std::span<const uint8_t> address, std::span<const uint8_t> port) {
  SocketAddress end;
  if (address.size() == sizeof(in_addr)) {
    in_addr v4{};
    std::memcpy(&v4, address.data(), sizeof(v4));
    end.address = IpAddress::from_v4(v4);
  } else {
    in6_addr v6{};
    std::memcpy(&v6, address.data(), sizeof(v6));
    end.address = IpAddress::from_v6(v6);
  }
  end.port = static_cast<uint16_t>((port[0] << 8) | port[1]);
  return end;
}

std::optional<SeenPacket> parse(std::span<const uint8_t> packet) {
  const bool is_v4 = !packet.empty() && packet[0] >> 4 == 4;
  const size_t header = is_v4 ? static_cast<size_t>(packet[0] & 15) * 4 : kIpv6Header;
  if (packet.size() < header + kPorts || header < kIpv4Header) {
    return std::nullopt;
  }
  const size_t at = is_v4 ? 12 : 8;
  const size_t size = is_v4 ? sizeof(in_addr) : sizeof(in6_addr);
  return SeenPacket{.source = end_of(packet.subspan(at, size), packet.subspan(header, 2)),
                    .destination = end_of(packet.subspan(at + size, size), packet.subspan(header + 2, 2))};
}

Result<void> prepare(int fd, uint16_t port) {
  auto filter = filter_of(port);
  const sock_fprog program{.len = static_cast<uint16_t>(filter.size()), .filter = filter.data()};
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) != 0) {
    return system_failure("ERR_NET_PACKETS", "filter packets", "setsockopt(SO_ATTACH_FILTER)", errno);
  }
  // Only now: without a protocol the socket has received nothing that the filter did not see.
  sockaddr_ll all{};
  all.sll_family = AF_PACKET;
  all.sll_protocol = htons(ETH_P_ALL);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&all), sizeof(all)) != 0) {
    return system_failure("ERR_NET_PACKETS", "watch packets", "bind", errno);
  }
  return {};
}

}  // namespace

Result<PacketWatch> PacketWatch::start(int netns_fd, uint16_t port) {
  UniqueFd fd;
  auto made = run_in_netns(netns_fd, [&]() -> Result<void> {
    fd.reset(::socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd.valid()) {
      return system_failure("ERR_NET_PACKETS", "watch packets (CONFIG_PACKET, CAP_NET_RAW)", "socket", errno);
    }
    return prepare(fd.get(), port);
  });
  if (!made) {
    return std::unexpected(std::move(made.error()));
  }
  return PacketWatch(std::move(fd));
}

PacketWatch::~PacketWatch() {
  if (fd_.valid()) {
    std::thread([fd = std::move(fd_)]() mutable { fd.reset(); }).detach();
  }
}

Result<std::vector<SeenPacket>> PacketWatch::read() {
  std::vector<SeenPacket> seen;
  for (;;) {
    std::array<uint8_t, kLongest> bytes{};
    sockaddr_ll link{};
    socklen_t length = sizeof(link);
    const ssize_t size =
        recvfrom(fd_.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&link), &length);
    if (size < 0) {
      if (errno == EAGAIN) {
        return seen;
      }
      // An interface that went down meanwhile: the others are still watched.
      if (errno == EINTR || errno == ENETDOWN) {
        continue;
      }
      return system_failure("ERR_NET_PACKETS", "read packets", "recvfrom", errno);
    }
    if (auto packet = parse({bytes.data(), static_cast<size_t>(size)})) {
      packet->interface_index = static_cast<uint32_t>(link.sll_ifindex);
      packet->outgoing = link.sll_pkttype == PACKET_OUTGOING;
      seen.push_back(*packet);
    }
  }
}

}  // namespace hadal::net
