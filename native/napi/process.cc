// NativeProcess of src/native/types.ts.
#include <fcntl.h>
#include <malloc.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "native/napi/arguments.h"
#include "native/napi/register.h"

namespace hadal::napi {
namespace {

/// flock(2): the kernel gives it back with the last descriptor, however its process ended.
Napi::Value lock_file(const Napi::CallbackInfo& info) {
  HADAL_ARG_STRING(0, path);
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    throw to_error(info.Env(), system_failure("ERR_NATIVE_LOCK", path, "open", errno).error());
  }
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
    return Napi::Number::New(info.Env(), fd);
  }
  const int error = errno;
  close(fd);
  if (error == EWOULDBLOCK) {
    return info.Env().Undefined();
  }
  throw to_error(info.Env(), system_failure("ERR_NATIVE_LOCK", path, "flock", error).error());
}

/// Each thread that ever allocated has an arena of its own, and free memory inside of it goes back only when
/// asked.
Napi::Value trim_memory(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), malloc_trim(0) == 1);
}

}  // namespace

void register_process(Napi::Env env, Napi::Object exports) {
  exports.Set("lockFile", Napi::Function::New<lock_file>(env, "lockFile"));
  exports.Set("trimMemory", Napi::Function::New<trim_memory>(env, "trimMemory"));
}

}  // namespace hadal::napi
