#include "native/napi/net_watch.h"

#include <net/if.h>

#include <atomic>
#include <deque>
#include <mutex>

#include "native/napi/arguments.h"
#include "native/napi/script_channel.h"
#include "native/napi/subscriptions.h"

namespace hadal::napi {
namespace {

// Changes that wait for a JavaScript thread that is busy. Beyond it repairs are only counted.
constexpr size_t kMaxWaiting = 64;

/// The environment's watcher; its thread ends in a cleanup hook, before the environment does.
std::shared_ptr<net::NetnsWatcher> watcher_of(Napi::Env env) {
  struct Holder {
    std::shared_ptr<net::NetnsWatcher> watcher = std::make_shared<net::NetnsWatcher>();
  };
  return EnvData::of(env)
      .slot<Holder>([&] {
        auto made = std::make_shared<Holder>();
        napi_add_env_cleanup_hook(
            env,
            [](void* data) {
              auto* holder = static_cast<std::shared_ptr<Holder>*>(data);
              (*holder)->watcher->stop();
              delete holder;
            },
            new std::shared_ptr<Holder>(made));
        return made;
      })
      ->watcher;
}

const char* name_of(net::CaptureRepair::What what) {
  switch (what) {
    case net::CaptureRepair::What::rule:
      return "rule";
    case net::CaptureRepair::What::route:
      return "route";
    case net::CaptureRepair::What::filter:
      return "filter";
  }
  return "";
}

const char* name_of(net::InterfaceStanding standing) {
  switch (standing) {
    case net::InterfaceStanding::captured:
      return "captured";
    case net::InterfaceStanding::missing:
      return "missing";
    case net::InterfaceStanding::port:
      return "port";
    case net::InterfaceStanding::uplink:
      return "uplink";
    case net::InterfaceStanding::failed:
      return "failed";
  }
  return "";
}

net::InterfaceProgram program_of(Napi::Env env, const Napi::Object& programs, const char* name) {
  const Napi::Value value = programs.Get(name);
  if (!value.IsObject()) {
    throw type_error(env, "ERR_INVALID_ARG_TYPE", std::string(name) + " must be a program with fd and id");
  }
  const auto object = value.As<Napi::Object>();
  net::InterfaceProgram program{.fd = UniqueFd::duplicate(static_cast<int>(field_u32(env, object, "fd"))),
                                .id = field_u32(env, object, "id")};
  if (!program.fd.valid()) {
    throw_argument_range(env, std::string(name) + ".fd must be an open descriptor");
  }
  return program;
}

Napi::Object change_to_script(Napi::Env env, const net::NetnsChange& change) {
  Napi::Object out = Napi::Object::New(env);
  if (const auto* addresses = std::get_if<net::AddressesChanged>(&change)) {
    out.Set("kind", "addresses");
    out.Set("addresses", napi::to_script(env, addresses->addresses));
  } else if (const auto* interfaces = std::get_if<net::InterfacesChanged>(&change)) {
    out.Set("kind", "interfaces");
    out.Set("interfaces", napi::to_script(env, interfaces->interfaces));
  } else if (const auto* restored = std::get_if<net::CaptureRestored>(&change)) {
    out.Set("kind", "restored");
    out.Set("what", name_of(restored->what));
    out.Set("detail", restored->detail);
    out.Set("afterMs", restored->after_ms);
  } else {
    out.Set("kind", "failed");
    out.Set("message", std::get<net::WatchFailed>(change).message);
  }
  return out;
}

}  // namespace

Napi::Value to_script(Napi::Env env, const std::vector<net::InterfaceAddress>& addresses) {
  Napi::Array out = Napi::Array::New(env, addresses.size());
  for (uint32_t i = 0; i < addresses.size(); ++i) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("interfaceName", addresses[i].interface_name);
    entry.Set("interfaceIndex", addresses[i].interface_index);
    entry.Set("address", addresses[i].address.text());
    entry.Set("prefixLength", Napi::Number::New(env, addresses[i].prefix_length));
    out.Set(i, entry);
  }
  return out;
}

Napi::Value to_script(Napi::Env env, const std::vector<net::InterfaceState>& interfaces) {
  Napi::Array out = Napi::Array::New(env, interfaces.size());
  for (uint32_t i = 0; i < interfaces.size(); ++i) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("name", interfaces[i].name);
    entry.Set("index", interfaces[i].index);
    entry.Set("standing", name_of(interfaces[i].standing));
    entry.Set("problem", interfaces[i].problem);
    out.Set(i, entry);
  }
  return out;
}

uint32_t field_u32(Napi::Env env, const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsNumber()) {
    throw type_error(env, "ERR_INVALID_ARG_TYPE", std::string(name) + " must be a number");
  }
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number <= 4294967295.0)) {
    throw_argument_range(env, std::string(name) + " must be from 0 to 4294967295");
  }
  return static_cast<uint32_t>(number);
}

net::VirtualInterfaces interfaces_of(Napi::Env env, const Napi::Object& object) {
  net::VirtualInterfaces out{.names = {}, .mark = field_u32(env, object, "mark"), .programs = nullptr};
  const Napi::Value names = object.Get("names");
  if (!names.IsArray()) {
    throw type_error(env, "ERR_INVALID_ARG_TYPE", "names must be an array of names");
  }
  const auto array = names.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value name = array.Get(i);
    const std::string text = name.IsString() ? name.As<Napi::String>().Utf8Value() : "";
    if (text.empty() || text.size() >= IFNAMSIZ) {
      throw_argument_range(env, "names must be those of interfaces, of 1 to 15 bytes");
    }
    out.names.push_back(text);
  }
  if (!out.names.empty()) {
    out.programs = std::make_shared<const net::InterfacePrograms>(
        net::InterfacePrograms{.from_machine = program_of(env, object, "fromMachine"),
                               .to_machine = program_of(env, object, "toMachine"),
                               .refuse = program_of(env, object, "refuse")});
  }
  return out;
}

/// What passes from the watcher's thread to JavaScript.
struct NetnsWatch::Mail {
  std::atomic<uint64_t> restored = 0;
  std::mutex mutex;
  std::deque<net::NetnsChange> waiting;

  /// True when JavaScript has to be told that something waits.
  bool put(net::NetnsChange change) {
    const bool is_repair = std::holds_alternative<net::CaptureRestored>(change);
    if (is_repair) {
      restored.fetch_add(1, std::memory_order_relaxed);
    }
    const std::lock_guard lock(mutex);
    if (waiting.size() >= kMaxWaiting) {
      if (is_repair || std::holds_alternative<net::WatchFailed>(change)) {
        return false;
      }
      // The latest addresses and interfaces must arrive; older ones need not.
      std::erase_if(waiting, [&](const auto& entry) { return entry.index() == change.index(); });
    }
    waiting.push_back(std::move(change));
    return waiting.size() == 1;
  }

  std::deque<net::NetnsChange> take() {
    const std::lock_guard lock(mutex);
    return std::exchange(waiting, {});
  }
};

std::vector<napi_property_descriptor> NetnsWatch::properties() {
  using H = Handle<NetnsWatch>;
  return {H::property<&NetnsWatch::restored_count>("restoredCount"),
          H::method<&NetnsWatch::capture_interfaces>("captureInterfaces")};
}

Napi::Object NetnsWatch::start(Napi::Env env, int netns_fd, const std::optional<net::CaptureRouting>& routing,
                               const Napi::Function& listener) {
  auto channel = ScriptChannel::of(env);
  Subscriptions& subscriptions = Subscriptions::of(env);
  auto watcher = watcher_of(env);
  auto mail = std::make_shared<Mail>();
  const uint64_t subscription = subscriptions.add(listener);
  const auto deliver = [mail, subscription](Napi::Env env) {
    for (const net::NetnsChange& change : mail->take()) {
      const Napi::HandleScope scope(env);
      // Asked anew for each: the listener may have closed the watch.
      if (const Napi::Function current = Subscriptions::of(env).listener(subscription); !current.IsEmpty()) {
        current.Call({change_to_script(env, change)});
      }
    }
  };
  auto id = watcher->watch(netns_fd, routing, [channel, mail, deliver](net::NetnsChange change) {
    if (mail->put(std::move(change))) {
      channel->post(deliver);
    }
  });
  if (!id) {
    subscriptions.remove(subscription);
    throw to_error(env, id.error());
  }
  auto native = std::unique_ptr<NetnsWatch>(new NetnsWatch());
  native->mail_ = std::move(mail);
  native->watcher_ = std::move(watcher);
  native->watch_id_ = *id;
  native->subscription_ = subscription;
  const Napi::Object handle = Handle<NetnsWatch>::create(env, std::move(native));
  subscriptions.hold(subscription, handle);
  return handle;
}

void NetnsWatch::stop() {
  if (const auto watcher = std::exchange(watcher_, nullptr)) {
    watcher->unwatch(watch_id_);
  }
}

Napi::Value NetnsWatch::close_from_script(const Napi::CallbackInfo& info) {
  if (is_open()) {
    stop();
    Subscriptions::of(info.Env()).remove(subscription_);
  }
  return info.Env().Undefined();
}

Napi::Value NetnsWatch::restored_count(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(mail_->restored.load(std::memory_order_relaxed)));
}

Napi::Value NetnsWatch::capture_interfaces(const Napi::CallbackInfo& info) {
  HADAL_ARG_OBJECT(0, interfaces);
  if (is_open()) {
    watcher_->capture_interfaces(watch_id_, interfaces_of(info.Env(), interfaces));
  }
  return info.Env().Undefined();
}

}  // namespace hadal::napi
