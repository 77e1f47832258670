// The part of NativeNet (src/native/types.ts) that opens things of a pod for TypeScript to serve: sockets in
// its network namespace, and files below its root.
#include <chrono>
#include <memory>
#include <utility>

#include "native/base/abandonable_thread.h"
#include "native/napi/arguments.h"
#include "native/napi/env_data.h"
#include "native/napi/promises.h"
#include "native/napi/register.h"
#include "native/napi/script_channel.h"
#include "native/net/pod_file.h"
#include "native/net/pod_socket.h"

namespace hadal::napi {
namespace {

constexpr std::chrono::milliseconds kReadDeadline{1'000};
constexpr size_t kMostStuck = 4;
/// Each pod has one read at a time.
constexpr size_t kMostWaiting = 4'096;

std::optional<net::SocketAddress> address_field(Napi::Env env, const Napi::Object& options,
                                                const char* name) {
  const Napi::Value given = options.Get(name);
  if (given.IsUndefined()) {
    return std::nullopt;
  }
  const Napi::Object object = given.IsObject() ? given.As<Napi::Object>() : Napi::Object::New(env);
  const Napi::Value address = object.Get("address");
  const Napi::Value port = object.Get("port");
  const auto parsed =
      address.IsString() ? net::IpAddress::parse(address.As<Napi::String>().Utf8Value()) : std::nullopt;
  const double number = port.IsNumber() ? port.As<Napi::Number>().DoubleValue() : -1;
  if (!parsed || !(number >= 0 && number <= 65'535)) {
    throw type_error(env, "ERR_INVALID_ARG_TYPE",
                     std::string(name) + " must have an IP address and a port from 0 to 65535");
  }
  return net::SocketAddress{*parsed, static_cast<uint16_t>(number)};
}

Napi::Value open_pod_socket(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, netns_fd);
  HADAL_ARG_OBJECT(1, options);
  const Napi::Value exempt = options.Get("exemptMapFd");
  net::PodSocketRequest request{
      .is_udp = options.Get("udp").ToBoolean(),
      .local = address_field(info.Env(), options, "local"),
      .remote = address_field(info.Env(), options, "remote"),
      .listen = options.Get("listen").ToBoolean(),
      .exempt_map_fd = exempt.IsNumber() ? exempt.As<Napi::Number>().Int32Value() : -1};
  request.is_ipv6 = options.Get("family").ToNumber().Int32Value() == 6;
  net::PodSocket opened = value_or_throw(info.Env(), net::open_pod_socket(netns_fd, request));
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("port", Napi::Number::New(info.Env(), opened.port));
  out.Set("fd", Napi::Number::New(info.Env(), opened.fd.release()));
  return out;
}

/// The environment's reader. Its threads end, or are left behind, in a cleanup hook.
AbandonableThread& reader_of(Napi::Env env) {
  struct Holder {
    AbandonableThread reader{
        {.deadline = kReadDeadline, .most_stuck = kMostStuck, .most_waiting = kMostWaiting}};
  };
  return EnvData::of(env)
      .slot<Holder>([&] {
        auto made = std::make_shared<Holder>();
        napi_add_env_cleanup_hook(
            env,
            [](void* data) {
              auto* holder = static_cast<std::shared_ptr<Holder>*>(data);
              (*holder)->reader.stop();
              delete holder;
            },
            new std::shared_ptr<Holder>(made));
        return made;
      })
      ->reader;
}

Napi::Object file_to_script(Napi::Env env, const Result<std::string>& file) {
  Napi::Object out = Napi::Object::New(env);
  if (file) {
    out.Set("text", Napi::String::New(env, *file));
  } else {
    out.Set("code", file.error().code);
    out.Set("message", file.error().message);
  }
  return out;
}

Napi::Value read_pod_file(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, cgroup);
  HADAL_ARG_STRING(1, path);
  auto channel = ScriptChannel::of(info.Env());
  const auto made = Promises::of(info.Env()).make(info.Env());
  const auto done = [channel, id = made.id](Result<std::string> file) {
    channel->post([id, file = std::move(file)](Napi::Env env) {
      Promises::of(env).resolve(env, id, file_to_script(env, file));
    });
  };
  const auto read = [cgroup, path] { return net::read_pod_file(cgroup, path); };
  reader_of(info.Env()).run(cgroup, read, done);
  return made.promise;
}

}  // namespace

void register_pod_files(Napi::Env env, Napi::Object exports) {
  exports.Set("openPodSocket", Napi::Function::New<open_pod_socket>(env, "openPodSocket"));
  exports.Set("readPodFile", Napi::Function::New<read_pod_file>(env, "readPodFile"));
}

}  // namespace hadal::napi
