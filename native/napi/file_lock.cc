// NativeFiles of src/native/types.ts.
#include <fcntl.h>
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

}  // namespace

void register_files(Napi::Env env, Napi::Object exports) {
  exports.Set("lockFile", Napi::Function::New<lock_file>(env, "lockFile"));
}

}  // namespace hadal::napi
