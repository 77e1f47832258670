// The part of NativeNet (src/native/types.ts) that opens things of a pod for TypeScript to serve: sockets in
// its network namespace, and files below its root.
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "native/napi/arguments.h"
#include "native/napi/register.h"
#include "native/net/pod_socket.h"

namespace hadal::napi {
namespace {

constexpr size_t kMaxFileBytes = 65'536;

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

/// The path means what it means to a process below that root: its symbolic links lead nowhere else. Neither a
/// FIFO nor a device can hold up the caller.
Napi::Value read_file_below(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, root);
  HADAL_ARG_STRING(1, path);
  const std::string what = path + " below " + root;
  const UniqueFd top(open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  const UniqueFd file(
      top.valid() ? static_cast<int>(syscall(SYS_openat2, top.get(), path.c_str(), &how, sizeof(how))) : -1);
  struct stat status {};
  if (!file.valid() || fstat(file.get(), &status) != 0) {
    throw to_error(info.Env(), system_failure("ERR_NET_POD_FILE", what, "openat2", errno).error());
  }
  if (!S_ISREG(status.st_mode)) {
    throw to_error(info.Env(), failure("ERR_NET_POD_FILE", what + " is no regular file").error());
  }
  std::string text(kMaxFileBytes, '\0');
  const ssize_t length = read(file.get(), text.data(), text.size());
  if (length < 0) {
    throw to_error(info.Env(), system_failure("ERR_NET_POD_FILE", what, "read", errno).error());
  }
  text.resize(static_cast<size_t>(length));
  return Napi::String::New(info.Env(), text);
}

}  // namespace

void register_pod_files(Napi::Env env, Napi::Object exports) {
  exports.Set("openPodSocket", Napi::Function::New<open_pod_socket>(env, "openPodSocket"));
  exports.Set("readFileBelow", Napi::Function::New<read_file_below>(env, "readFileBelow"));
}

}  // namespace hadal::napi
