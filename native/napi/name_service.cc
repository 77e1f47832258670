#include "native/napi/name_service.h"

#include <utility>

#include "native/napi/arguments.h"
#include "native/napi/object_fields.h"
#include "native/napi/register.h"
#include "native/napi/subscriptions.h"

namespace hadal::napi {
namespace {

/// Ids are counted up and stay below what a number of JavaScript holds exactly.
constexpr double kMaxId = 9'007'199'254'740'991;

#define HADAL_ARG_QUERY(index, name) \
  const auto name = static_cast<uint64_t>(integer_in_range(info, index, #name, 0, kMaxId))

std::string text_of(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

dns::Decision row_decision(Napi::Env env, uint64_t query, std::span<const uint8_t> message, uint32_t labels,
                           bool keep) {
  dns::Decision decision{.kind = dns::Decision::Kind::row, .id = query, .row = {}, .keep = keep};
  decision.row.message = text_of(message);
  decision.row.labels = labels;
  if (!decision.row.is_sound()) {
    throw_argument_range(env, "message must be a whole DNS message");
  }
  return decision;
}

Napi::Object asked_to_script(Napi::Env env, const dns::Asked& asked) {
  static constexpr const char* kKinds[] = {"query", "answer", "failure"};
  Napi::Object out = Napi::Object::New(env);
  out.Set("kind", kKinds[static_cast<size_t>(asked.kind)]);
  out.Set("id", Napi::Number::New(env, static_cast<double>(asked.id)));
  out.Set("podIndex", Napi::Number::New(env, asked.pod_index));
  out.Set("slot", Napi::Number::New(env, asked.slot));
  out.Set("protocol", asked.protocol == dns::Protocol::udp ? "udp" : "tcp");
  out.Set("message", Napi::Buffer<char>::Copy(env, asked.message.data(), asked.message.size()));
  return out;
}

Napi::Value numbers_to_script(Napi::Env env, const std::vector<double>& numbers) {
  Napi::Float64Array out = Napi::Float64Array::New(env, numbers.size());
  std::ranges::copy(numbers, out.Data());
  return out;
}

Napi::Value create_name_service(const Napi::CallbackInfo& info) {
  HADAL_ARG_OBJECT(0, options);
  HADAL_ARG_FUNCTION(1, listener);
  const ObjectFields fields(options);
  const Napi::Value exempt = options.Get("exemptMapFd");
  const int exempt_fd = exempt.IsNumber() ? exempt.As<Napi::Number>().Int32Value() : -1;
  dns::Settings settings;
  settings.upstream_timeout =
      std::chrono::milliseconds(fields.integer<uint32_t>("upstreamTimeoutMs", 1, 60'000));
  if (exempt_fd >= 0) {
    settings.exempt_map = UniqueFd::duplicate(exempt_fd);
  }
  return NameService::start(info.Env(), std::move(settings), listener);
}

}  // namespace

void NameService::Mail::on_asked() {
  channel->post([id = subscription](Napi::Env env) {
    const Napi::Function listener = Subscriptions::of(env).listener(id);
    if (!listener.IsEmpty()) {
      listener.Call({});
    }
  });
}

std::vector<napi_property_descriptor> NameService::properties() {
  using H = Handle<NameService>;
  return {
      H::method<&NameService::add_pod>("addPod"),
      H::method<&NameService::remove_pod>("removePod"),
      H::method<&NameService::serve>("serve"),
      H::method<&NameService::set_nameserver>("setNameserver"),
      H::method<&NameService::set_labels>("setLabels"),
      H::method<&NameService::forget_answers>("forgetAnswers"),
      H::method<&NameService::take>("take"),
      H::method<&NameService::answer>("answer"),
      H::method<&NameService::forward>("forward"),
      H::method<&NameService::ask>("ask"),
      H::method<&NameService::drop>("drop"),
      H::method<&NameService::answers>("answers"),
      H::method<&NameService::drops>("drops"),
  };
}

Napi::Object NameService::start(Napi::Env env, dns::Settings settings, const Napi::Function& listener) {
  std::unique_ptr<NameService> handle(new NameService());
  handle->shared_ = std::make_shared<Shared>();
  handle->subscription_ = Subscriptions::of(env).add(listener);
  handle->shared_->mail.channel = ScriptChannel::of(env);
  handle->shared_->mail.subscription = handle->subscription_;
  auto service = dns::Service::start(std::move(settings), handle->shared_->mail);
  if (!service) {
    Subscriptions::of(env).remove(handle->subscription_);
    throw to_error(env, service.error());
  }
  handle->shared_->service = std::move(*service);
  napi_add_env_cleanup_hook(
      env,
      [](void* data) {
        auto* shared = static_cast<std::shared_ptr<Shared>*>(data);
        (*shared)->service.reset();
        delete shared;
      },
      new std::shared_ptr<Shared>(handle->shared_));
  const uint64_t subscription = handle->subscription_;
  const Napi::Object object = Handle<NameService>::create(env, std::move(handle));
  Subscriptions::of(env).hold(subscription, object);
  return object;
}

NameService::~NameService() { shared_->service.reset(); }

Napi::Value NameService::close_from_script(const Napi::CallbackInfo& info) {
  shared_->service.reset();
  Subscriptions::of(info.Env()).remove(subscription_);
  return info.Env().Undefined();
}

Napi::Value NameService::add_pod(const Napi::CallbackInfo& info) {
  HADAL_ARG_UINT32(0, pod_index);
  HADAL_ARG_FD(1, netns_fd);
  UniqueFd netns = UniqueFd::duplicate(netns_fd);
  if (!netns.valid()) {
    throw to_error(
        info.Env(),
        system_failure("ERR_NET_DESCRIPTOR", "keep the pod's network namespace", "fcntl", errno).error());
  }
  service().add_pod(pod_index, std::move(netns));
  return info.Env().Undefined();
}

Napi::Value NameService::remove_pod(const Napi::CallbackInfo& info) {
  HADAL_ARG_UINT32(0, pod_index);
  service().remove_pod(pod_index);
  return info.Env().Undefined();
}

Napi::Value NameService::serve(const Napi::CallbackInfo& info) {
  HADAL_ARG_UINT32(0, pod_index);
  HADAL_ARG_UINT32(1, slot);
  HADAL_ARG_FD(2, udp_fd);
  HADAL_ARG_FD(3, tcp_fd);
  service().serve(pod_index, static_cast<uint16_t>(slot), UniqueFd(udp_fd), UniqueFd(tcp_fd));
  return info.Env().Undefined();
}

Napi::Value NameService::set_nameserver(const Napi::CallbackInfo& info) {
  HADAL_ARG_UINT32(0, pod_index);
  HADAL_ARG_UINT32(1, slot);
  HADAL_ARG_STRING(2, address);
  const auto parsed = net::IpAddress::parse(address);
  if (!parsed) {
    throw_argument_range(info.Env(), "address '" + address + "' is not an IP address");
  }
  service().set_nameserver(pod_index, static_cast<uint16_t>(slot), *parsed);
  return info.Env().Undefined();
}

Napi::Value NameService::set_labels(const Napi::CallbackInfo& info) {
  HADAL_ARG_UINT32(0, pod_index);
  HADAL_ARG_UINT32(1, labels);
  service().set_labels(pod_index, labels);
  return info.Env().Undefined();
}

Napi::Value NameService::forget_answers(const Napi::CallbackInfo& info) {
  HADAL_ARG_UINT32(0, pod_index);
  service().forget_answers(pod_index);
  return info.Env().Undefined();
}

Napi::Value NameService::take(const Napi::CallbackInfo& info) {
  HADAL_ARG_UINT32(0, spent_us);
  const auto asked = service().take(spent_us);
  return asked ? asked_to_script(info.Env(), *asked) : info.Env().Undefined();
}

Napi::Value NameService::answer(const Napi::CallbackInfo& info) {
  HADAL_ARG_QUERY(0, query);
  HADAL_ARG_BYTES(1, message);
  HADAL_ARG_UINT32(2, labels);
  dns::Decision decision = row_decision(info.Env(), query, message, labels, info[3].ToBoolean());
  HADAL_ARG_UINT32(4, address_bytes);
  if (!info[5].IsArray()) {
    throw_argument_type(info, 5, "addresses", "an array");
  }
  const auto addresses = info[5].As<Napi::Array>();
  for (uint32_t i = 0; i < addresses.Length(); ++i) {
    decision.row.addresses.push_back(
        static_cast<uint16_t>(Napi::Value(addresses.Get(i)).ToNumber().Uint32Value()));
  }
  decision.row.address_bytes = static_cast<uint8_t>(address_bytes);
  if (!decision.row.is_sound()) {
    throw_argument_range(info.Env(), "addresses must be offsets in the message");
  }
  service().decide(std::move(decision));
  return info.Env().Undefined();
}

Napi::Value NameService::forward(const Napi::CallbackInfo& info) {
  HADAL_ARG_QUERY(0, query);
  HADAL_ARG_BYTES(1, failure);
  HADAL_ARG_UINT32(2, labels);
  dns::Decision decision = row_decision(info.Env(), query, failure, labels, info[3].ToBoolean());
  decision.row.forward = true;
  service().decide(std::move(decision));
  return info.Env().Undefined();
}

Napi::Value NameService::ask(const Napi::CallbackInfo& info) {
  HADAL_ARG_QUERY(0, query);
  HADAL_ARG_BYTES(1, message);
  HADAL_ARG_UINT32(2, labels);
  dns::Decision decision = row_decision(info.Env(), query, message, labels, false);
  decision.kind = dns::Decision::Kind::ask;
  service().decide(std::move(decision));
  return info.Env().Undefined();
}

Napi::Value NameService::drop(const Napi::CallbackInfo& info) {
  HADAL_ARG_QUERY(0, query);
  service().decide({.kind = dns::Decision::Kind::drop, .id = query, .row = {}});
  return info.Env().Undefined();
}

Napi::Value NameService::answers(const Napi::CallbackInfo& info) {
  std::vector<double> numbers;
  for (const auto& [labels, counts] : service().answers()) {
    numbers.insert(numbers.end(), {static_cast<double>(labels), static_cast<double>(counts.requests),
                                   static_cast<double>(counts.upstream_requests),
                                   static_cast<double>(counts.upstream_failures), counts.upstream_seconds});
    numbers.insert(numbers.end(), counts.upstream_buckets.begin(), counts.upstream_buckets.end());
  }
  return numbers_to_script(info.Env(), numbers);
}

Napi::Value NameService::drops(const Napi::CallbackInfo& info) {
  std::vector<double> numbers;
  for (const auto& [labels, counts] : service().drops()) {
    numbers.push_back(labels);
    numbers.insert(numbers.end(), counts.begin(), counts.end());
  }
  return numbers_to_script(info.Env(), numbers);
}

void register_names(Napi::Env env, Napi::Object exports) {
  exports.Set("createNameService", Napi::Function::New<create_name_service>(env, "createNameService"));
}

}  // namespace hadal::napi
