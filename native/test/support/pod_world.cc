#include "native/test/support/pod_world.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace hadal::test {

std::string missing_for_pod_world() {
  if (geteuid() != 0) {
    return "not root: network namespaces cannot be created";
  }
  return std::system("ip netns list >/dev/null 2>&1") == 0 ? "" : "the program `ip` (iproute2) is missing";
}

void run(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  std::string output;
  std::array<char, 512> part{};
  while (pipe != nullptr && fgets(part.data(), part.size(), pipe) != nullptr) {
    output += part.data();
  }
  if (pipe == nullptr || pclose(pipe) != 0) {
    throw std::runtime_error("`" + command + "` failed: " + output);
  }
}

PodWorld::PodWorld() {
  static int count = 0;
  const std::string name = "hadal-test-" + std::to_string(getpid()) + "-" + std::to_string(count++);
  client.netns = name + "-client";
  server.netns = name + "-server";
  run("ip netns add " + client.netns);
  run("ip netns add " + server.netns);
  run("ip -n " + client.netns + " link add eth0 type veth peer name eth0 netns " + server.netns);
  set_up(client, "eth0", "1");
  set_up(server, "eth0", "2");
}

void PodWorld::set_up(TestPod& pod, const std::string& device, const std::string& number) {
  const std::string ip = "ip -n " + pod.netns + " ";
  const std::string v4 = "10.1.0." + number;
  const std::string v6 = "fd01::" + number;
  run(ip + "link set lo up");
  run(ip + "link set " + device + " up");
  run(ip + "addr add " + v4 + "/24 dev " + device);
  run(ip + "addr add " + v6 + "/64 nodad dev " + device);
  run(ip + "route add local 10.99.0.0/16 dev lo src " + v4);
  run(ip + "route add local fd99::/64 dev lo src " + v6);
  run(ip + "rule add fwmark 0x4841/0xffff lookup 18497 priority 100");
  run(ip + "route add local default dev lo table 18497");
  run(ip + "-6 rule add fwmark 0x4841/0xffff lookup 18497 priority 100");
  run(ip + "-6 route add local default dev lo table 18497");
  // Replies come back over lo: of accepted sockets by the first, RSTs of closed ports by the others.
  run("ip netns exec " + pod.netns +
      " sysctl -qw net.ipv4.tcp_fwmark_accept=1 net.ipv4.fwmark_reflect=1 net.ipv6.fwmark_reflect=1");
  pod.netns_fd.reset(open(("/run/netns/" + pod.netns).c_str(), O_RDONLY | O_CLOEXEC));
  pod.v4 = *net::IpAddress::parse(v4);
  pod.v6 = *net::IpAddress::parse(v6);
}

PodWorld::~PodWorld() {
  for (TestPod* pod : {&client, &server}) {
    pod->netns_fd.reset();
    if (std::system(("ip netns del " + pod->netns).c_str()) != 0) {
      std::fprintf(stderr, "cannot delete network namespace %s\n", pod->netns.c_str());
    }
  }
}

}  // namespace hadal::test
