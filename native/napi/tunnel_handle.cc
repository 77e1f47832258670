#include "native/napi/tunnel_handle.h"

#include <chrono>
#include <utility>

#include "native/napi/arguments.h"
#include "native/napi/promises.h"
#include "native/napi/subscriptions.h"
#include "native/napi/tunnel_arguments.h"
#include "native/napi/tunnel_results.h"

namespace hadal::napi {
namespace {

/// A promise, and the function that keeps it with `convert(env, result)` from whatever thread the result
/// comes.
template <typename Result, typename Convert>
std::pair<Napi::Value, std::function<void(Result&&)>> promised(Napi::Env env,
                                                               std::shared_ptr<ScriptChannel> channel,
                                                               Convert convert) {
  const Promises::Made made = Promises::of(env).make(env);
  auto keep = [channel = std::move(channel), id = made.id, convert](Result&& result) {
    // std::function wants to be copied, results of workers are shared instead.
    auto shared = std::make_shared<Result>(std::move(result));
    channel->post([id, shared, convert](Napi::Env later) {
      Promises::of(later).resolve(later, id, convert(later, *shared));
    });
  };
  return {made.promise, std::move(keep)};
}

}  // namespace

std::vector<napi_property_descriptor> TunnelHandle::properties() {
  using H = Handle<TunnelHandle>;
  return {
      H::method<&TunnelHandle::add_pod>("addPod"),
      H::method<&TunnelHandle::set_pod_addresses>("setPodAddresses"),
      H::method<&TunnelHandle::set_pod_holds_machine>("setPodHoldsMachine"),
      H::method<&TunnelHandle::remove_pod>("removePod"),
      H::method<&TunnelHandle::set_identity>("setIdentity"),
      H::method<&TunnelHandle::remove_identity>("removeIdentity"),
      H::method<&TunnelHandle::set_revocations>("setRevocations"),
      H::method<&TunnelHandle::put_outbound_rows>("putOutboundRows"),
      H::method<&TunnelHandle::remove_outbound_rows>("removeOutboundRows"),
      H::method<&TunnelHandle::put_inbound_rows>("putInboundRows"),
      H::method<&TunnelHandle::remove_inbound_rows>("removeInboundRows"),
      H::method<&TunnelHandle::ask_about_forgotten>("askAboutForgotten"),
      H::method<&TunnelHandle::remove_edges>("removeEdges"),
      H::method<&TunnelHandle::read_counters>("readCounters"),
      H::method<&TunnelHandle::read_totals>("readTotals"),
      H::method<&TunnelHandle::read_live_flows>("readLiveFlows"),
      H::method<&TunnelHandle::describe_tunnels>("describeTunnels"),
      H::method<&TunnelHandle::drain>("drain"),
  };
}

Napi::Object TunnelHandle::start(Napi::Env env, tunnel::Settings settings, const Napi::Function& listener) {
  std::unique_ptr<TunnelHandle> handle(new TunnelHandle());
  handle->channel_ = ScriptChannel::of(env);
  handle->shared_ = std::make_shared<Shared>();
  handle->shared_->mail = std::make_shared<TunnelMail>(handle->channel_);
  handle->subscription_ = Subscriptions::of(env).add(listener);
  handle->shared_->mail->set_subscription(handle->subscription_);
  auto core = tunnel::TunnelCore::create(std::move(settings), *handle->shared_->mail);
  if (!core) {
    Subscriptions::of(env).remove(handle->subscription_);
    throw to_error(env, core.error());
  }
  handle->shared_->core = std::move(*core);
  napi_add_env_cleanup_hook(
      env,
      [](void* data) {
        auto* shared = static_cast<std::shared_ptr<Shared>*>(data);
        (*shared)->core.reset();
        delete shared;
      },
      new std::shared_ptr<Shared>(handle->shared_));
  const uint64_t subscription = handle->subscription_;
  const Napi::Object object = Handle<TunnelHandle>::create(env, std::move(handle));
  Subscriptions::of(env).hold(subscription, object);
  return object;
}

TunnelHandle::~TunnelHandle() { shared_->core.reset(); }

Napi::Value TunnelHandle::close_from_script(const Napi::CallbackInfo& info) {
  shared_->core.reset();
  Subscriptions::of(info.Env()).remove(subscription_);
  return info.Env().Undefined();
}

Napi::Value TunnelHandle::add_pod(const Napi::CallbackInfo& info) {
  HADAL_ARG_OBJECT(0, pod);
  return listeners_to_script(info.Env(), value_or_throw(info.Env(), core().add_pod(pod_settings(pod))));
}

Napi::Value TunnelHandle::set_pod_addresses(const Napi::CallbackInfo& info) {
  HADAL_ARG_UINT32(0, pod_index);
  core().set_pod_addresses(pod_index, ip_addresses(info[1], "addresses"));
  return info.Env().Undefined();
}

Napi::Value TunnelHandle::set_pod_holds_machine(const Napi::CallbackInfo& info) {
  HADAL_ARG_UINT32(0, pod_index);
  core().set_pod_holds_machine(pod_index, info[1].ToBoolean());
  return info.Env().Undefined();
}

Napi::Value TunnelHandle::remove_pod(const Napi::CallbackInfo& info) {
  HADAL_ARG_UINT32(0, pod_index);
  HADAL_ARG_OBJECT(1, options);
  core().remove_pod(pod_index, options.Get("keepConnections").ToBoolean());
  return info.Env().Undefined();
}

Napi::Value TunnelHandle::set_identity(const Napi::CallbackInfo& info) {
  HADAL_ARG_OBJECT(0, identity);
  value_or_throw(info.Env(), core().set_identity(identity_material(identity)));
  return info.Env().Undefined();
}

Napi::Value TunnelHandle::remove_identity(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, identity);
  core().remove_identity(identity);
  return info.Env().Undefined();
}

Napi::Value TunnelHandle::set_revocations(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, pem);
  value_or_throw(info.Env(), core().set_revocations(pem));
  return info.Env().Undefined();
}

Napi::Value TunnelHandle::put_outbound_rows(const Napi::CallbackInfo& info) {
  core().put_outbound_rows(objects_argument(info, 0, "rows", outbound_row));
  return info.Env().Undefined();
}

Napi::Value TunnelHandle::remove_outbound_rows(const Napi::CallbackInfo& info) {
  for (const OutboundKey& key : objects_argument(info, 0, "keys", outbound_key)) {
    core().remove_outbound_row(key.pod_index, key.destination);
  }
  return info.Env().Undefined();
}

Napi::Value TunnelHandle::put_inbound_rows(const Napi::CallbackInfo& info) {
  core().put_inbound_rows(objects_argument(info, 0, "rows", inbound_row));
  return info.Env().Undefined();
}

Napi::Value TunnelHandle::remove_inbound_rows(const Napi::CallbackInfo& info) {
  for (const tunnel::InboundKey& key : objects_argument(info, 0, "keys", inbound_key)) {
    core().remove_inbound_row(key);
  }
  return info.Env().Undefined();
}

Napi::Value TunnelHandle::ask_about_forgotten(const Napi::CallbackInfo& info) {
  core().ask_about_forgotten();
  return info.Env().Undefined();
}

Napi::Value TunnelHandle::remove_edges(const Napi::CallbackInfo& info) {
  if (!info[0].IsArray()) {
    throw_argument_type(info, 0, "edges", "an array of numbers");
  }
  const auto array = info[0].As<Napi::Array>();
  std::vector<uint32_t> edges;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    edges.push_back(array.Get(i).ToNumber().Uint32Value());
  }
  core().remove_edges(edges);
  return info.Env().Undefined();
}

Napi::Value TunnelHandle::read_counters(const Napi::CallbackInfo& info) {
  return counters_to_script(info.Env(), core().counters());
}

Napi::Value TunnelHandle::read_totals(const Napi::CallbackInfo& info) {
  return totals_to_script(info.Env(), core().totals());
}

Napi::Value TunnelHandle::read_live_flows(const Napi::CallbackInfo& info) {
  auto [promise, keep] = promised<std::vector<tunnel::FlowRecord>>(info.Env(), channel_, flows_to_script);
  core().live_flows(std::move(keep));
  return promise;
}

Napi::Value TunnelHandle::describe_tunnels(const Napi::CallbackInfo& info) {
  auto [promise, keep] =
      promised<std::vector<tunnel::TunnelDescription>>(info.Env(), channel_, tunnels_to_script);
  core().describe_tunnels(std::move(keep));
  return promise;
}

Napi::Value TunnelHandle::drain(const Napi::CallbackInfo& info) {
  HADAL_ARG_UINT32(0, deadline_ms);
  auto [promise, keep] = promised<tunnel::DrainOutcome>(
      info.Env(), channel_, [](Napi::Env env, const tunnel::DrainOutcome& outcome) -> Napi::Value {
        Napi::Object out = Napi::Object::New(env);
        out.Set("ended", static_cast<double>(outcome.ended));
        out.Set("forced", static_cast<double>(outcome.forced));
        return out;
      });
  core().drain(std::chrono::milliseconds(deadline_ms),
               [keep = std::move(keep)](tunnel::DrainOutcome outcome) { keep(std::move(outcome)); });
  return promise;
}

}  // namespace hadal::napi
