#include "native/bpf/object.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "native/bpf/descriptor.h"
#include "native/bpf/log_capture.h"
#include "native/bpf/read_only.h"

namespace hadal::bpf {
namespace {

constexpr int kTailLines = 6;

std::string join(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) {
    out.append(out.empty() ? "" : ", ").append(name);
  }
  return out.empty() ? "none" : out;
}

// libbpf prefixes the object's name to data sections; the section alone is what the source says.
std::string name_of(const bpf_map* map) {
  const std::string name = bpf_map__name(map);
  const size_t dot = name.find('.');
  return bpf_map__is_internal(map) && dot != std::string::npos ? name.substr(dot) : name;
}

std::string default_name(const std::string& path) {
  std::string name = std::filesystem::path(path).filename().string();
  for (const std::string_view suffix : {".o", ".bpf"}) {
    if (name.ends_with(suffix)) {
      name.resize(name.size() - suffix.size());
    }
  }
  return name;
}

std::unexpected<Failure> load_failure(const std::string& name, const LogCapture& log, int error) {
  const std::string program = log.failed_program();
  Failure out{.code = "ERR_BPF_LOAD",
              .message = "cannot load BPF object " + name,
              .error_number = error,
              .system_call = program.empty() ? "bpf" : "bpf(BPF_PROG_LOAD)",
              .verifier_log = log.verifier_log()};
  if (!program.empty()) {
    out.message += ": program " + program + " was refused";
  }
  out.message += std::string(": ") + std::strerror(error);
  if (!out.verifier_log.empty()) {
    out.message += "\n" + verifier_log_tail(out.verifier_log, kTailLines);
  } else if (const std::string warnings = log.warnings(); !warnings.empty()) {
    out.message += "\n" + verifier_log_tail(warnings, kTailLines);
  }
  if (error == EPERM && out.verifier_log.empty()) {
    out.message += "\nloading needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN";
  }
  return std::unexpected(std::move(out));
}

}  // namespace

void Object::Close::operator()(bpf_object* object) const {
  const LogCapture quiet;
  bpf_object__close(object);
}

Result<Object> Object::open(const std::string& path, std::string name) {
  const LogCapture log;
  LIBBPF_OPTS(bpf_object_open_opts, options);
  Object out;
  out.name_ = name.empty() ? default_name(path) : std::move(name);
  options.object_name = out.name_.c_str();
  out.object_.reset(bpf_object__open_file(path.c_str(), &options));
  if (out.object_ == nullptr) {
    const int error = errno;
    const std::string warnings = verifier_log_tail(log.warnings(), kTailLines);
    return system_failure("ERR_BPF_OPEN",
                          "cannot open BPF object " + path + (warnings.empty() ? "" : " (" + warnings + ")"),
                          "open", error);
  }
  return out;
}

std::vector<std::string> Object::map_names() const {
  std::vector<std::string> out;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object_.get()) { out.push_back(name_of(map)); }
  return out;
}

std::vector<std::string> Object::program_names() const {
  std::vector<std::string> out;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object_.get()) { out.emplace_back(bpf_program__name(program)); }
  return out;
}

Result<bpf_map*> Object::find_map(const std::string& name, State state, const char* verb) const {
  if (auto ready = require(state, std::string(verb) + " map " + name); !ready) {
    return std::unexpected(std::move(ready.error()));
  }
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object_.get()) {
    if (name_of(map) == name) {
      return map;
    }
  }
  return failure("ERR_BPF_NAME",
                 "BPF object " + name_ + " has no map " + name + "; it has " + join(map_names()));
}

Result<bpf_program*> Object::find_program(const std::string& name, State state, const char* verb) const {
  if (auto ready = require(state, std::string(verb) + " program " + name); !ready) {
    return std::unexpected(std::move(ready.error()));
  }
  bpf_program* program = bpf_object__find_program_by_name(object_.get(), name.c_str());
  if (program == nullptr) {
    return failure("ERR_BPF_NAME",
                   "BPF object " + name_ + " has no program " + name + "; it has " + join(program_names()));
  }
  return program;
}

Result<void> Object::require(State state, const std::string& verb) const {
  if (state_ == state) {
    return {};
  }
  const char* now = state_ == State::opened   ? "is not loaded yet"
                    : state_ == State::loaded ? "is loaded already"
                                              : "failed to load; open it again";
  return failure("ERR_BPF_STATE", "cannot " + verb + ": BPF object " + name_ + " " + now);
}

Result<void> Object::set_read_only(const std::string& variable, const ReadOnlyValue& value) {
  if (auto ready = require(State::opened, "set " + variable); !ready) {
    return ready;
  }
  std::vector<std::string> known;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object_.get()) {
    if (!name_of(map).starts_with(".rodata")) {
      continue;
    }
    const TypePtr section = describe_type(bpf_object__btf(object_.get()), bpf_map__btf_value_type_id(map));
    size_t size = 0;
    const auto* bytes = static_cast<const uint8_t*>(bpf_map__initial_value(map, &size));
    for (const Member& member : section == nullptr ? std::vector<Member>{} : section->members) {
      known.push_back(member.name);
      const size_t offset = member.bit_offset / 8;
      if (member.name == variable && bytes != nullptr && offset + member.type->size <= size) {
        std::vector<uint8_t> content(bytes, bytes + size);
        auto written = write_read_only(name_ + "." + variable, *member.type, value,
                                       std::span(content).subspan(offset, member.type->size));
        if (written && bpf_map__set_initial_value(map, content.data(), size) != 0) {
          return system_failure("ERR_BPF_MAP", "cannot set " + name_ + "." + variable, nullptr, errno);
        }
        return written;
      }
    }
  }
  return failure("ERR_BPF_NAME", "BPF object " + name_ + " has no read-only variable " + variable +
                                     "; it has " + join(known));
}

Result<void> Object::reuse_map(const std::string& name, const Map& map) {
  auto found = find_map(name, State::opened, "share");
  if (!found) {
    return std::unexpected(std::move(found.error()));
  }
  const auto describe = [](uint32_t type, uint32_t key, uint32_t value, uint32_t flags) {
    const char* type_name = libbpf_bpf_map_type_str(static_cast<bpf_map_type>(type));
    return std::string(type_name == nullptr ? "?" : type_name) + " with keys of " + std::to_string(key) +
           " and values of " + std::to_string(value) + " bytes, flags " + std::to_string(flags);
  };
  const std::string wanted = describe(bpf_map__type(*found), bpf_map__key_size(*found),
                                      bpf_map__value_size(*found), bpf_map__map_flags(*found));
  const std::string given = describe(map.type(), map.key_size(), map.value_size(), map.flags());
  if (wanted != given) {
    return failure("ERR_BPF_MAP", "cannot share map " + map.name() + " as " + name + " of BPF object " +
                                      name_ + ": it is a " + given + ", expected a " + wanted);
  }
  const LogCapture quiet;
  if (const int error = -bpf_map__reuse_fd(*found, map.fd()); error != 0) {
    return system_failure("ERR_BPF_MAP",
                          "cannot share map " + map.name() + " as " + name + " of BPF object " + name_,
                          "dup3", error);
  }
  return {};
}

Result<void> Object::set_max_entries(const std::string& name, uint32_t entries) {
  auto found = find_map(name, State::opened, "size");
  if (!found) {
    return std::unexpected(std::move(found.error()));
  }
  if (const int error = -bpf_map__set_max_entries(*found, entries); error != 0) {
    return system_failure("ERR_BPF_MAP",
                          "cannot size map " + name + " to " + std::to_string(entries) + " entries", nullptr,
                          error);
  }
  return {};
}

Result<void> Object::skip_program(const std::string& name) {
  auto found = find_program(name, State::opened, "skip");
  if (!found) {
    return std::unexpected(std::move(found.error()));
  }
  bpf_program__set_autoload(*found, false);
  return {};
}

Result<void> Object::load() {
  if (auto ready = require(State::opened, "load"); !ready) {
    return ready;
  }
  const LogCapture log;
  if (const int error = -bpf_object__load(object_.get()); error != 0) {
    state_ = State::refused;
    return load_failure(name_, log, error);
  }
  state_ = State::loaded;
  return {};
}

Result<Map> Object::map(const std::string& name) const {
  auto found = find_map(name, State::loaded, "open");
  if (!found) {
    return std::unexpected(std::move(found.error()));
  }
  auto fd = duplicate(bpf_map__fd(*found), "map " + name);
  if (!fd) {
    return std::unexpected(std::move(fd.error()));
  }
  const btf* types = bpf_object__btf(object_.get());
  return Map::adopt(std::move(*fd), name, describe_type(types, bpf_map__btf_key_type_id(*found)),
                    describe_type(types, bpf_map__btf_value_type_id(*found)));
}

Result<Program> Object::program(const std::string& name) const {
  auto found = find_program(name, State::loaded, "open");
  if (!found) {
    return std::unexpected(std::move(found.error()));
  }
  if (bpf_program__fd(*found) < 0) {
    return failure("ERR_BPF_STATE",
                   "program " + name + " of BPF object " + name_ + " was left out by skipProgram");
  }
  auto fd = duplicate(bpf_program__fd(*found), "program " + name);
  if (!fd) {
    return std::unexpected(std::move(fd.error()));
  }
  return Program::adopt(std::move(*fd), name, bpf_program__expected_attach_type(*found));
}

Result<TypePtr> Object::type(const std::string& name) const {
  TypePtr found = find_type(bpf_object__btf(object_.get()), name);
  if (found == nullptr) {
    return failure("ERR_BPF_NAME", "BPF object " + name_ + " has no type " + name +
                                       " in its BTF; types that nothing uses are left out");
  }
  return found;
}

}  // namespace hadal::bpf
