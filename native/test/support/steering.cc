#include "native/test/support/steering.h"

#include <linux/bpf.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <stdexcept>
#include <string>

namespace hadal::test {
namespace {

using Instructions = std::vector<bpf_insn>;

constexpr int kLoopbackIndex = 1;
constexpr int16_t kFamily = 8;
constexpr int16_t kRemotePort = 36;
constexpr int16_t kLocalIp4 = 40;
constexpr int16_t kLocalIp6Last = 44 + 12;
constexpr int16_t kLocalPort = 60;
constexpr int16_t kIngress = 64;

bpf_insn instruction(int code, int dst, int src, int offset, int32_t immediate) {
  return {.code = static_cast<uint8_t>(code),
          .dst_reg = static_cast<uint8_t>(dst & 0xf),
          .src_reg = static_cast<uint8_t>(src & 0xf),
          .off = static_cast<int16_t>(offset),
          .imm = immediate};
}

bpf_insn set(int dst, int32_t value) { return instruction(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value); }
bpf_insn copy(int dst, int src) { return instruction(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0); }
bpf_insn load(int dst, int size, int16_t offset) {
  return instruction(BPF_LDX | size | BPF_MEM, dst, 6, offset, 0);
}
bpf_insn skip_if(int operation, int dst, int32_t value, int count) {
  return instruction(BPF_JMP32 | operation | BPF_K, dst, 0, count, value);
}
bpf_insn skip(int count) { return instruction(BPF_JMP | BPF_JA, 0, 0, count, 0); }
bpf_insn call(int helper) { return instruction(BPF_JMP | BPF_CALL, 0, 0, 0, helper); }
bpf_insn finish() { return instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }

int32_t last_word(const net::IpAddress& address) {
  int32_t word = 0;
  std::memcpy(&word, address.bytes.data() + 12, 4);
  return word;
}

Instructions program(int map_fd, int32_t own_v4, int32_t own_v6, uint16_t hbone_port, int workers) {
  Instructions code;
  const auto add = [&](std::initializer_list<bpf_insn> more) { code.insert(code.end(), more); };
  add({copy(6, 1), load(2, BPF_W, kIngress), load(3, BPF_W, kLocalPort), load(4, BPF_W, kFamily),
       // r5: the last word of the destination
       load(5, BPF_W, kLocalIp4), skip_if(BPF_JEQ, 4, AF_INET, 1), load(5, BPF_W, kLocalIp6Last),
       // a destination of our own?
       skip_if(BPF_JEQ, 5, own_v4, 3), skip_if(BPF_JEQ, 5, own_v6, 2),
       // no: captured on its way out
       set(7, 0), skip(7),
       // own, over lo: the agent delivers
       skip_if(BPF_JNE, 2, kLoopbackIndex, 2), set(0, SK_PASS), finish(), set(7, 1),
       skip_if(BPF_JEQ, 3, hbone_port, 1), set(7, 2),
       // (the jump above lands here)
       copy(7, 7),
       // slot = kind * workers + remote port % workers
       instruction(BPF_ALU64 | BPF_MUL | BPF_K, 7, 0, 0, workers), load(2, BPF_H, kRemotePort),
       instruction(BPF_ALU64 | BPF_RSH | BPF_K, 2, 0, 0, 8),
       instruction(BPF_ALU64 | BPF_MOD | BPF_K, 2, 0, 0, workers),
       instruction(BPF_ALU64 | BPF_ADD | BPF_X, 7, 2, 0, 0),
       instruction(BPF_STX | BPF_W | BPF_MEM, 10, 7, -4, 0), copy(2, 10),
       instruction(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4),
       instruction(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map_fd), instruction(0, 0, 0, 0, 0),
       call(BPF_FUNC_map_lookup_elem), instruction(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 2, 0), set(0, SK_DROP),
       finish(), copy(8, 0), copy(1, 6), copy(2, 0), set(3, BPF_SK_LOOKUP_F_NO_REUSEPORT),
       call(BPF_FUNC_sk_assign), copy(9, 0), copy(1, 8), call(BPF_FUNC_sk_release), set(0, SK_PASS),
       skip_if(BPF_JEQ, 9, 0, 1), set(0, SK_DROP), finish()});
  return code;
}

int bpf(int command, bpf_attr& attributes) {
  return static_cast<int>(syscall(SYS_bpf, command, &attributes, sizeof(attributes)));
}

[[noreturn]] void refuse(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

UniqueFd load_program(const Instructions& code) {
  static std::array<char, 65536> log{};
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_SK_LOOKUP;
  attributes.expected_attach_type = BPF_SK_LOOKUP;
  attributes.insns = reinterpret_cast<uint64_t>(code.data());
  attributes.insn_cnt = static_cast<uint32_t>(code.size());
  attributes.license = reinterpret_cast<uint64_t>("GPL");
  attributes.log_buf = reinterpret_cast<uint64_t>(log.data());
  attributes.log_size = log.size();
  attributes.log_level = 1;
  UniqueFd fd(bpf(BPF_PROG_LOAD, attributes));
  if (!fd.valid()) {
    refuse(std::string("load the steering program\n") + log.data());
  }
  return fd;
}

}  // namespace

Steering::Steering(int netns_fd, const net::IpAddress& own_v4, const net::IpAddress& own_v6,
                   uint16_t hbone_port, const SteeringTargets& targets) {
  const auto workers = static_cast<uint32_t>(targets.outbound.size());
  bpf_attr create{};
  create.map_type = BPF_MAP_TYPE_SOCKMAP;
  create.key_size = 4;
  create.value_size = 8;
  create.max_entries = workers * 3;
  map_.reset(bpf(BPF_MAP_CREATE, create));
  if (!map_.valid()) {
    refuse("create the map of listeners");
  }
  uint32_t slot = 0;
  for (const auto* kind : {&targets.outbound, &targets.hbone, &targets.plaintext}) {
    for (const int fd : *kind) {
      const auto value = static_cast<uint64_t>(fd);
      bpf_attr update{};
      update.map_fd = static_cast<uint32_t>(map_.get());
      update.key = reinterpret_cast<uint64_t>(&slot);
      update.value = reinterpret_cast<uint64_t>(&value);
      if (bpf(BPF_MAP_UPDATE_ELEM, update) != 0) {
        refuse("put a listener into the map");
      }
      ++slot;
    }
  }
  program_ = load_program(
      program(map_.get(), last_word(own_v4), last_word(own_v6), hbone_port, static_cast<int>(workers)));
  bpf_attr attach{};
  attach.link_create.prog_fd = static_cast<uint32_t>(program_.get());
  attach.link_create.target_fd = static_cast<uint32_t>(netns_fd);
  attach.link_create.attach_type = BPF_SK_LOOKUP;
  link_.reset(bpf(BPF_LINK_CREATE, attach));
  if (!link_.valid()) {
    refuse("attach the steering program");
  }
}

}  // namespace hadal::test
