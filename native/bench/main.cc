// hadal-bench: the load generator of `npm run bench`, the same binary on both sides of every comparison.

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "client.h"
#include "server.h"
#include "socket_options.h"

namespace {

constexpr const char* kUsage =
    "usage: hadal-bench server PORT\n"
    "       hadal-bench client rr|connections|upload|download|idle ADDRESS PORT [CONNECTIONS "
    "[MESSAGE_BYTES]]\n"
    "PORT echoes, PORT + 1 discards, PORT + 2 sends. Commands on stdin, answers on stdout, one JSON object a "
    "line.\n";

int number(const char* text, int min, int max, const char* what) {
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (*text == '\0' || *end != '\0' || value < min || value > max) {
    hadal::bench::die(std::string(what) + " '" + text + "' is not a number from " + std::to_string(min) +
                      " to " + std::to_string(max));
  }
  return static_cast<int>(value);
}

hadal::bench::Load load_named(const std::string& name) {
  using hadal::bench::Load;
  if (name == "rr") return Load::round_trip;
  if (name == "connections") return Load::connections;
  if (name == "upload") return Load::upload;
  if (name == "download") return Load::download;
  if (name == "idle") return Load::idle;
  hadal::bench::die("unknown load '" + name + "'");
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  const std::string role = argc > 1 ? argv[1] : "";
  if (role == "server" && argc == 3) {
    return hadal::bench::run_server(static_cast<uint16_t>(number(argv[2], 1, 65533, "port")));
  }
  if (role == "client" && argc >= 5 && argc <= 7) {
    hadal::bench::ClientOptions options;
    options.load = load_named(argv[2]);
    options.host = argv[3];
    options.port = static_cast<uint16_t>(number(argv[4], 1, 65535, "port"));
    if (argc > 5) options.connections = number(argv[5], 1, 60000, "connections");
    if (argc > 6) options.message_bytes = number(argv[6], 1, 1 << 20, "message bytes");
    return hadal::bench::run_client(options);
  }
  std::fputs(kUsage, stderr);
  return 2;
}
