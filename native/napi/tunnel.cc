// NativeTunnel of src/native/types.ts.
#include <dlfcn.h>
#include <link.h>
#include <openssl/crypto.h>

#include <filesystem>
#include <system_error>

#include "native/napi/arguments.h"
#include "native/napi/register.h"
#include "native/napi/tunnel_arguments.h"
#include "native/napi/tunnel_handle.h"
#include "native/tls/credentials.h"

namespace hadal::napi {
namespace {

Napi::Value create_tunnel(const Napi::CallbackInfo& info) {
  HADAL_ARG_OBJECT(0, settings);
  HADAL_ARG_FUNCTION(1, on_events);
  if (!tls::has_hybrid_key_exchange()) {
    throw to_error(
        info.Env(),
        Failure{.code = "ERR_TUNNEL_KEY_EXCHANGE",
                .message = std::string("OpenSSL ") + OpenSSL_version(OPENSSL_VERSION_STRING) +
                           " lacks the key exchange group X25519MLKEM768; run on the Node of node_modules",
                .error_number = 0,
                .system_call = nullptr,
                .verifier_log = {}});
  }
  return TunnelHandle::start(info.Env(), tunnel_settings(settings), on_events);
}

// The lookup goes through the same scopes as those by which the linker binds our own calls, so it answers for
// them.
Napi::Value symbol_origin(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, symbol);
  const void* address = dlsym(RTLD_DEFAULT, symbol.c_str());
  Dl_info found{};
  link_map* object = nullptr;
  if (address == nullptr ||
      dladdr1(address, &found, reinterpret_cast<void**>(&object), RTLD_DL_LINKMAP) == 0 ||
      object == nullptr) {
    return info.Env().Undefined();
  }
  if (object->l_name[0] != '\0') {
    return Napi::String::New(info.Env(), object->l_name);
  }
  // The program itself has no name for the linker.
  std::error_code ignored;
  return Napi::String::New(info.Env(), std::filesystem::read_symlink("/proc/self/exe", ignored).string());
}

/// Node exports no nghttp2_version(); its own list of versions knows.
std::string nghttp2_version_of_node(Napi::Env env) {
  const Napi::Value process = env.Global().Get("process");
  const Napi::Value versions = process.As<Napi::Object>().Get("versions");
  const Napi::Value version = versions.As<Napi::Object>().Get("nghttp2");
  return version.IsString() ? version.As<Napi::String>().Utf8Value() : "unknown";
}

}  // namespace

void register_tunnel(Napi::Env env, Napi::Object exports) {
  exports.Set("createTunnel", Napi::Function::New(env, create_tunnel, "createTunnel"));
  exports.Set("symbolOrigin", Napi::Function::New(env, symbol_origin, "symbolOrigin"));
  exports.Set("flowRecordBytes", static_cast<uint32_t>(sizeof(tunnel::FlowRecord)));
  exports.Set("opensslVersion", OpenSSL_version(OPENSSL_VERSION_STRING));
  exports.Set("nghttp2Version", nghttp2_version_of_node(env));
}

}  // namespace hadal::napi
