#include "native/napi/net_watch.h"

#include <atomic>
#include <deque>
#include <mutex>

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

Napi::Object change_to_script(Napi::Env env, const net::NetnsChange& change) {
  Napi::Object out = Napi::Object::New(env);
  if (const auto* addresses = std::get_if<net::AddressesChanged>(&change)) {
    out.Set("kind", "addresses");
    out.Set("addresses", napi::to_script(env, addresses->addresses));
  } else if (const auto* restored = std::get_if<net::CaptureRestored>(&change)) {
    out.Set("kind", "restored");
    out.Set("what", restored->what == net::CaptureRepair::What::rule ? "rule" : "route");
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
      // The latest addresses must arrive; older ones need not.
      std::erase_if(waiting,
                    [](const auto& entry) { return std::holds_alternative<net::AddressesChanged>(entry); });
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
  return {H::property<&NetnsWatch::restored_count>("restoredCount")};
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

}  // namespace hadal::napi
