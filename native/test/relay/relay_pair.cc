// Two agents of the standalone core, each a process, between two pods: for sanitizer runs under load, for
// profiles and for quick measurements without Node. Prints the namespaces, stays until stdin ends.
//
//   hadal-relay-pair [workers [spin-microseconds]]
//   ip netns exec <server> hadal-bench server 9000 &
//   ip netns exec <client> hadal-bench client rr 10.99.0.5 9000 16 64
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "native/test/support/test_agent.h"

namespace {

using hadal::test::CertificateAuthority;
using hadal::test::PodWorld;
using hadal::test::TestAgent;

constexpr const char* kClientId = "spiffe://cluster.local/ns/shop/sa/front";
constexpr const char* kServerId = "spiffe://cluster.local/ns/shop/sa/catalog";

hadal::tunnel::Settings settings_from(int argc, char** argv) {
  hadal::tunnel::Settings settings;
  settings.mark = hadal::test::kMark;
  settings.local_congestion_control = "cubic";
  settings.workers = argc > 1 ? static_cast<uint32_t>(std::atoi(argv[1])) : 1;
  settings.spin = std::chrono::microseconds(argc > 2 ? std::atoi(argv[2]) : 0);
  return settings;
}

void report(TestAgent& agent, const char* name) {
  const auto totals = agent.core().totals();
  std::fprintf(stderr, "%s: tunnels opened %lu, open %lu, streams open %lu, questions %lu, row hits %lu\n",
               name, totals.tunnels_opened, totals.tunnels_open, totals.streams_open, totals.questions,
               totals.row_hits);
  for (const auto& [key, count] : agent.core().counters().failures) {
    std::fprintf(stderr, "%s: edge %u reason %u: %lu\n", name, key.first, key.second, count);
  }
  for (const std::string& line : agent.log_lines()) {
    std::fprintf(stderr, "%s: %s\n", name, line.c_str());
  }
}

/// A child that carries one of the pods until its parent is gone.
pid_t start_agent(const char* name, const auto& prepare, const hadal::tunnel::Settings& settings) {
  const pid_t child = fork();
  if (child != 0) {
    return child;
  }
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  {
    TestAgent agent(settings);
    prepare(agent);
    int signal = 0;
    sigwait(&ends, &signal);
    report(agent, name);
  }
  std::exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  const hadal::tunnel::Settings settings = settings_from(argc, argv);
  const CertificateAuthority ca("relay pair");
  PodWorld world;
  const pid_t near = start_agent(
      "near",
      [&](TestAgent& agent) {
        agent.decide_outbound = hadal::test::tunnel_to(world.server.v4, {world.server.v4, 0}, kServerId);
        agent.enrol(1, world.client, ca.issue(kClientId));
      },
      settings);
  const pid_t far = start_agent(
      "far",
      [&](TestAgent& agent) {
        agent.decide_inbound = hadal::test::allow_to(world.server.v4);
        agent.enrol(2, world.server, ca.issue(kServerId));
      },
      settings);
  std::printf("client %s\nserver %s\nnear %d\nfar %d\n", world.client.netns.c_str(),
              world.server.netns.c_str(), near, far);
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  for (const pid_t child : {near, far}) {
    kill(child, SIGTERM);
    waitpid(child, nullptr, 0);
  }
  return 0;
}
