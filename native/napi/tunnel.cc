// NativeTunnel of src/native/types.ts.
#include <dlfcn.h>
#include <nghttp2/nghttp2.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>

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

// A sample of each library: functions that we call on every connection. Where the dynamic linker found them
// decides whether headers and code agree.
Napi::Value symbol_origins(const Napi::CallbackInfo& info) {
  struct Symbol {
    const char* name;
    const void* address;
  };
#define HADAL_SYMBOL(function) \
  Symbol { #function, reinterpret_cast < const void*>(&function) }
  const Symbol symbols[] = {
      HADAL_SYMBOL(SSL_CTX_new),
      HADAL_SYMBOL(SSL_new),
      HADAL_SYMBOL(SSL_do_handshake),
      HADAL_SYMBOL(SSL_read_ex),
      HADAL_SYMBOL(SSL_write_ex),
      HADAL_SYMBOL(SSL_CTX_set_default_read_buffer_len),
      HADAL_SYMBOL(BIO_meth_new),
      HADAL_SYMBOL(X509_verify_cert),
      HADAL_SYMBOL(EVP_PKEY_free),
      HADAL_SYMBOL(nghttp2_session_client_new2),
      HADAL_SYMBOL(nghttp2_session_server_new2),
      HADAL_SYMBOL(nghttp2_session_mem_recv),
      HADAL_SYMBOL(nghttp2_session_mem_send),
      HADAL_SYMBOL(nghttp2_session_consume),
      HADAL_SYMBOL(nghttp2_session_resume_data),
      HADAL_SYMBOL(nghttp2_submit_request),
      HADAL_SYMBOL(nghttp2_submit_response),
      HADAL_SYMBOL(nghttp2_option_set_stream_reset_rate_limit),
      HADAL_SYMBOL(nghttp2_option_set_user_recv_extension_type),
  };
#undef HADAL_SYMBOL
  Napi::Array out = Napi::Array::New(info.Env());
  for (const Symbol& symbol : symbols) {
    Dl_info found{};
    const bool known = dladdr(symbol.address, &found) != 0 && found.dli_fname != nullptr;
    Napi::Object entry = Napi::Object::New(info.Env());
    entry.Set("symbol", symbol.name);
    entry.Set("file", known ? found.dli_fname : "");
    out.Set(out.Length(), entry);
  }
  return out;
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
  exports.Set("symbolOrigins", Napi::Function::New(env, symbol_origins, "symbolOrigins"));
  exports.Set("flowRecordBytes", static_cast<uint32_t>(sizeof(tunnel::FlowRecord)));
  exports.Set("opensslVersion", OpenSSL_version(OPENSSL_VERSION_STRING));
  exports.Set("nghttp2Version", nghttp2_version_of_node(env));
}

}  // namespace hadal::napi
