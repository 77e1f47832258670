// NativeNet of src/native/types.ts.
#include <netinet/tcp.h>
#include <unistd.h>

#include <cerrno>

#include "native/napi/arguments.h"
#include "native/napi/net_watch.h"
#include "native/napi/packet_watch.h"
#include "native/napi/register.h"
#include "native/net/inet_diag.h"
#include "native/net/netns_admin.h"
#include "native/net/rtnetlink_capture.h"

namespace hadal::napi {
namespace {

net::CaptureRouting routing_of(Napi::Env env, const Napi::Object& object) {
  const net::CaptureRouting routing{.mark = field_u32(env, object, "mark"),
                                    .mask = field_u32(env, object, "mask"),
                                    .table = field_u32(env, object, "table"),
                                    .priority = field_u32(env, object, "priority")};
  // A mark of 0 would capture everything; tables 0 and 253 to 255 are the system's.
  if ((routing.mark & routing.mask) == 0) {
    throw_argument_range(env, "mark must not be 0 under its mask");
  }
  if (routing.table == 0 || (routing.table >= 253 && routing.table <= 255)) {
    throw_argument_range(env, "table must not be 0 or one of the system's (253 to 255)");
  }
  return routing;
}

Napi::Value open_netns(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, path);
  return Napi::Number::New(info.Env(), value_or_throw(info.Env(), net::open_netns(path)).release());
}

Napi::Value close_fd(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, fd);
  // 0 to 2 are the process's own; closing them by mistake is never found again.
  if (fd <= 2) {
    throw_argument_range(info.Env(), "fd must be one that openNetns returned");
  }
  if (::close(fd) != 0) {
    return value_or_throw(info.Env(), Result<Napi::Value>(system_failure(
                                          "ERR_NET_DESCRIPTOR",
                                          "cannot close descriptor " + std::to_string(fd), "close", errno)));
  }
  return info.Env().Undefined();
}

Napi::Value netns_identity(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, netns_fd);
  const net::NetnsIdentity identity = value_or_throw(info.Env(), net::netns_identity(netns_fd));
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("cookie", Napi::BigInt::New(info.Env(), identity.cookie));
  out.Set("device", Napi::BigInt::New(info.Env(), identity.device));
  out.Set("inode", Napi::BigInt::New(info.Env(), identity.inode));
  return out;
}

Napi::Value addresses(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, netns_fd);
  return to_script(info.Env(), value_or_throw(info.Env(), net::netns_addresses(netns_fd)));
}

Napi::Value read_sysctl(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, netns_fd);
  HADAL_ARG_STRING(1, name);
  return Napi::String::New(info.Env(), value_or_throw(info.Env(), net::read_sysctl(netns_fd, name)));
}

Napi::Value write_sysctl(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, netns_fd);
  HADAL_ARG_STRING(1, name);
  HADAL_ARG_STRING(2, value);
  value_or_throw(info.Env(), net::write_sysctl(netns_fd, name, value));
  return info.Env().Undefined();
}

Napi::Value add_capture_routing(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, netns_fd);
  HADAL_ARG_OBJECT(1, routing);
  value_or_throw(info.Env(), net::add_capture_routing(netns_fd, routing_of(info.Env(), routing)));
  return info.Env().Undefined();
}

Napi::Value remove_capture_routing(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, netns_fd);
  HADAL_ARG_OBJECT(1, routing);
  value_or_throw(info.Env(), net::remove_capture_routing(netns_fd, routing_of(info.Env(), routing)));
  return info.Env().Undefined();
}

Napi::Value capture_interfaces(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, netns_fd);
  HADAL_ARG_OBJECT(1, routing);
  HADAL_ARG_OBJECT(2, interfaces);
  const Napi::Env env = info.Env();
  return to_script(env, value_or_throw(env, net::capture_interfaces(netns_fd, routing_of(env, routing),
                                                                    interfaces_of(env, interfaces))));
}

Napi::Value watch_netns(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, netns_fd);
  std::optional<net::CaptureRouting> routing;
  if (!info[1].IsUndefined()) {
    HADAL_ARG_OBJECT(1, given);
    routing = routing_of(info.Env(), given);
  }
  HADAL_ARG_FUNCTION(2, listener);
  return NetnsWatch::start(info.Env(), netns_fd, routing, listener);
}

Napi::Value links(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, netns_fd);
  const auto links = value_or_throw(info.Env(), net::netns_links(netns_fd));
  Napi::Array out = Napi::Array::New(info.Env(), links.size());
  for (uint32_t i = 0; i < links.size(); ++i) {
    Napi::Object entry = Napi::Object::New(info.Env());
    entry.Set("index", links[i].index);
    entry.Set("name", links[i].name);
    entry.Set("kind", links[i].kind);
    entry.Set("master", links[i].master);
    out.Set(i, entry);
  }
  return out;
}

Napi::Value link_ends(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, netns_fd);
  HADAL_ARG_FD(1, other_fd);
  const auto ends = value_or_throw(info.Env(), net::link_ends(netns_fd, other_fd));
  Napi::Array out = Napi::Array::New(info.Env(), ends.size());
  for (uint32_t i = 0; i < ends.size(); ++i) {
    out.Set(i, ends[i]);
  }
  return out;
}

Napi::Value watch_packets(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, netns_fd);
  HADAL_ARG_UINT32(1, port);
  if (port == 0 || port > 65535) {
    throw_argument_range(info.Env(), "port must be from 1 to 65535");
  }
  const Napi::Env env = info.Env();
  return PacketWatch::create(
      env, value_or_throw(env, net::PacketWatch::start(netns_fd, static_cast<uint16_t>(port))));
}

Napi::Value tcp_sockets(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, netns_fd);
  const bool only_listening = info[1].ToBoolean();
  const uint32_t states = only_listening ? 1U << TCP_LISTEN : net::kAllTcpStates;
  const auto sockets = value_or_throw(info.Env(), net::tcp_sockets(netns_fd, states));
  Napi::Array out = Napi::Array::New(info.Env(), sockets.size());
  for (uint32_t i = 0; i < sockets.size(); ++i) {
    const Napi::HandleScope scope(info.Env());
    const net::TcpSocketEntry& socket = sockets[i];
    Napi::Object entry = Napi::Object::New(info.Env());
    entry.Set("family", Napi::Number::New(info.Env(), socket.family));
    entry.Set("state", Napi::Number::New(info.Env(), socket.state));
    entry.Set("localAddress", socket.local.address.text());
    entry.Set("localPort", Napi::Number::New(info.Env(), socket.local.port));
    entry.Set("remoteAddress", socket.remote.address.text());
    entry.Set("remotePort", Napi::Number::New(info.Env(), socket.remote.port));
    entry.Set("interfaceIndex", socket.interface_index);
    entry.Set("mark", socket.mark);
    entry.Set("uid", socket.uid);
    entry.Set("inode", socket.inode);
    entry.Set("cookie", Napi::BigInt::New(info.Env(), socket.cookie));
    out.Set(i, entry);
  }
  return out;
}

net::SocketAddress address_of(Napi::Env env, const Napi::Object& object, const char* address,
                              const char* port) {
  const Napi::Value text = object.Get(address);
  const auto parsed =
      text.IsString() ? net::IpAddress::parse(text.As<Napi::String>().Utf8Value()) : std::nullopt;
  if (!parsed) {
    throw type_error(env, "ERR_INVALID_ARG_TYPE",
                     std::string("socket.") + address + " must be an IP address");
  }
  return {*parsed, static_cast<uint16_t>(field_u32(env, object, port))};
}

Napi::Value destroy_tcp_socket(const Napi::CallbackInfo& info) {
  HADAL_ARG_FD(0, netns_fd);
  HADAL_ARG_OBJECT(1, socket);
  const Napi::Value cookie = socket.Get("cookie");
  if (!cookie.IsBigInt()) {
    throw type_error(info.Env(), "ERR_INVALID_ARG_TYPE",
                     "socket.cookie must be a bigint, as tcpSockets gives it");
  }
  bool lossless = false;
  const net::TcpSocketEntry entry{.local = address_of(info.Env(), socket, "localAddress", "localPort"),
                                  .remote = address_of(info.Env(), socket, "remoteAddress", "remotePort"),
                                  .interface_index = field_u32(info.Env(), socket, "interfaceIndex"),
                                  .cookie = cookie.As<Napi::BigInt>().Uint64Value(&lossless)};
  return Napi::Boolean::New(info.Env(), value_or_throw(info.Env(), net::destroy_tcp_socket(netns_fd, entry)));
}

}  // namespace

void register_net(Napi::Env env, Napi::Object exports) {
  exports.Set("openNetns", Napi::Function::New<open_netns>(env, "openNetns"));
  exports.Set("closeFd", Napi::Function::New<close_fd>(env, "closeFd"));
  exports.Set("netnsIdentity", Napi::Function::New<netns_identity>(env, "netnsIdentity"));
  exports.Set("addresses", Napi::Function::New<addresses>(env, "addresses"));
  exports.Set("readSysctl", Napi::Function::New<read_sysctl>(env, "readSysctl"));
  exports.Set("writeSysctl", Napi::Function::New<write_sysctl>(env, "writeSysctl"));
  exports.Set("addCaptureRouting", Napi::Function::New<add_capture_routing>(env, "addCaptureRouting"));
  exports.Set("removeCaptureRouting",
              Napi::Function::New<remove_capture_routing>(env, "removeCaptureRouting"));
  exports.Set("captureInterfaces", Napi::Function::New<capture_interfaces>(env, "captureInterfaces"));
  exports.Set("watchNetns", Napi::Function::New<watch_netns>(env, "watchNetns"));
  exports.Set("links", Napi::Function::New<links>(env, "links"));
  exports.Set("linkEnds", Napi::Function::New<link_ends>(env, "linkEnds"));
  exports.Set("watchPackets", Napi::Function::New<watch_packets>(env, "watchPackets"));
  exports.Set("tcpSockets", Napi::Function::New<tcp_sockets>(env, "tcpSockets"));
  exports.Set("destroyTcpSocket", Napi::Function::New<destroy_tcp_socket>(env, "destroyTcpSocket"));
}

}  // namespace hadal::napi
