// Two agents of the standalone core, each a process, between two pods: for sanitizer runs under load, for
// profiles and for quick measurements without Node. Prints the namespaces, stays until stdin ends; or makes a
// load of its own for some seconds, beside which the agents are asked and given new certificates all the
// time. Exits with 1 when an agent or the load found something wrong.
//
//   hadal-relay-pair [workers [spin-microseconds [seconds-of-load]]]
//   ip netns exec <server> hadal-bench server 9000 &
//   ip netns exec <client> hadal-bench client rr 10.99.0.5 9000 16 64
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "native/test/relay/load.h"
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

/// What JavaScript's thread does to a core at work, until a signal of `ends` comes.
void keep_asking(TestAgent& agent, const sigset_t& ends, const auto& issue) {
  const timespec pause{.tv_sec = 0, .tv_nsec = 20'000'000};
  for (int round = 0; sigtimedwait(&ends, nullptr, &pause) < 0; ++round) {
    (void)agent.core().totals();
    (void)agent.core().counters();
    agent.core().live_flows([](std::vector<hadal::tunnel::FlowRecord>&&) {});
    agent.core().describe_tunnels([](std::vector<hadal::tunnel::TunnelDescription>&&) {});
    if (round % 10 == 9) {
      (void)agent.core().set_identity(issue());
    }
  }
}

/// A child that carries one of the pods until its parent is gone.
pid_t start_agent(const char* name, const auto& prepare, const auto& issue, bool busy,
                  const hadal::tunnel::Settings& settings) {
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
    if (busy) {
      keep_asking(agent, ends, issue);
    } else {
      sigwait(&ends, &signal);
    }
    report(agent, name);
  }
  std::exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  const int seconds = argc > 3 ? std::atoi(argv[3]) : 0;
  const hadal::tunnel::Settings settings = settings_from(argc, argv);
  const CertificateAuthority ca("relay pair");
  PodWorld world;
  const pid_t near = start_agent(
      "near",
      [&](TestAgent& agent) {
        agent.decide_outbound = hadal::test::tunnel_to(world.server.v4, {world.server.v4, 0}, kServerId);
        agent.enrol(1, world.client, ca.issue(kClientId));
      },
      [&] { return ca.issue(kClientId); }, seconds > 0, settings);
  const pid_t far = start_agent(
      "far",
      [&](TestAgent& agent) {
        agent.decide_inbound = hadal::test::allow_to(world.server.v4);
        agent.enrol(2, world.server, ca.issue(kServerId));
      },
      [&] { return ca.issue(kServerId); }, seconds > 0, settings);
  std::printf("client %s\nserver %s\nnear %d\nfar %d\n", world.client.netns.c_str(),
              world.server.netns.c_str(), near, far);
  std::fflush(stdout);
  bool wrong = false;
  if (seconds > 0) {
    // The agents need a moment to enrol their pods.
    sleep(1);
    const auto load = hadal::test::run_load(world, std::chrono::seconds(seconds));
    std::printf("%d streams, %d exchanges, %d aborts, %d wrong\n", load.streams, load.exchanges, load.aborts,
                load.wrong);
    wrong = load.wrong > 0 || std::min({load.streams, load.exchanges, load.aborts}) == 0;
  } else {
    while (std::getchar() != EOF) {
    }
  }
  for (const pid_t child : {near, far}) {
    int status = 0;
    kill(child, SIGTERM);
    wrong = waitpid(child, &status, 0) != child || status != 0 || wrong;
  }
  return wrong ? 1 : 0;
}
