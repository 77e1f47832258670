// Well-formed HTTP/2 with ill intent: the input chooses frames, streams and sizes, the frames themselves are
// (mostly) right, so that the parser's later states are reached: half-closed streams, windows at their ends,
// resets and GOAWAY in the middle, trailers, header blocks in pieces. Between frames our own side acts.
#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "native/fuzz/session_harness.h"

using hadal::fuzz::SessionHarness;

namespace {

using Bytes = std::vector<uint8_t>;

/// The input as a source of choices; zeros after its end.
class Choices {
 public:
  explicit Choices(std::span<const uint8_t> bytes) : left_(bytes) {}

  [[nodiscard]] bool empty() const { return left_.empty(); }
  uint8_t next() {
    if (left_.empty()) {
      return 0;
    }
    const uint8_t byte = left_.front();
    left_ = left_.subspan(1);
    return byte;
  }
  uint32_t next_u32() { return uint32_t{next()} << 24 | next() << 16 | next() << 8 | next(); }

 private:
  std::span<const uint8_t> left_;
};

void put_u32(Bytes& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    out.push_back(static_cast<uint8_t>(value >> shift));
  }
}

/// A literal that enters no table; names and values are short.
void put_field(Bytes& block, std::string_view name, std::string_view value) {
  block.push_back(0);
  for (const std::string_view text : {name, value}) {
    block.push_back(static_cast<uint8_t>(std::min<size_t>(text.size(), 126)));
    block.insert(block.end(), text.begin(),
                 text.begin() + static_cast<ptrdiff_t>(std::min<size_t>(text.size(), 126)));
  }
}

class Peer {
 public:
  Peer(Choices& choices, bool client) : choices_(choices), client_(client) {}

  /// The bytes of one frame, or of a header block's frames.
  Bytes frame() {
    Bytes out;
    const uint8_t kind = choices_.next();
    const uint32_t stream = stream_id(choices_.next());
    switch (kind % 14) {
      case 0:
      case 1:
        headers(out, stream, kind);
        break;
      case 2:
      case 3:
        put(out, 0, kind & 1, stream, Bytes(choices_.next() * size_t{33}, 'd'));
        break;
      case 4: {
        Bytes code;
        put_u32(code, choices_.next() % 14);
        put(out, 3, 0, stream, code);
        break;
      }
      case 5:
        settings(out);
        break;
      case 6:
        put(out, 6, kind & 1, 0, Bytes(8, kind));
        break;
      case 7: {
        Bytes last;
        put_u32(last, stream);
        put_u32(last, choices_.next() % 14);
        put(out, 7, 0, 0, last);
        break;
      }
      case 8:
      case 9: {
        Bytes increment;
        put_u32(increment, (kind & 16) != 0 ? choices_.next_u32() : choices_.next() * 100U);
        put(out, 8, 0, (kind & 32) != 0 ? 0 : stream, increment);
        break;
      }
      case 10:
        put(out, 2, 0, stream, Bytes(5, kind));
        break;
      case 11:
        put(out, 4, 1, 0, {});
        break;
      case 12:
        put(out, choices_.next(), choices_.next(), stream, Bytes(choices_.next() % 32, kind));
        break;
      default:
        tampered(out, stream);
        break;
    }
    return out;
  }

 private:
  /// Mostly streams that exist or come next.
  uint32_t stream_id(uint8_t choice) {
    if (client_) {
      if ((choice & 3) == 0) {
        last_stream_ += 2;
        return last_stream_;
      }
      return (choice >> 2) % 8 * 2 + 1;
    }
    return (choice % 8) * 2 + 1;
  }

  static void put(Bytes& out, uint8_t type, uint8_t flags, uint32_t stream, const Bytes& payload) {
    out.push_back(static_cast<uint8_t>(payload.size() >> 16));
    out.push_back(static_cast<uint8_t>(payload.size() >> 8));
    out.push_back(static_cast<uint8_t>(payload.size()));
    out.push_back(type);
    out.push_back(flags);
    put_u32(out, stream);
    out.insert(out.end(), payload.begin(), payload.end());
  }

  void headers(Bytes& out, uint32_t stream, uint8_t kind) {
    Bytes block;
    const uint8_t shape = choices_.next();
    if (!client_) {
      static constexpr std::string_view kStatus[] = {"200", "200", "503", "100", "2", "abc", "600", ""};
      put_field(block, ":status", kStatus[shape & 7]);
    } else {
      static constexpr std::string_view kMethods[] = {"CONNECT", "CONNECT", "CONNECT", "GET"};
      put_field(block, ":method", kMethods[shape & 3]);
      if ((shape & 4) == 0) {
        put_field(block, ":authority", "10.0.0.1:80");
      }
      if ((shape & 8) != 0) {
        put_field(block, ":path", "/");
      }
    }
    if ((shape & 16) != 0) {
      put_field(block, "baggage", "k8s.namespace.name=shop");
    }
    for (int more = (shape >> 5); more > 0; --more) {
      put_field(block, "x", "0123456789012345678901234567890123456789");
    }
    const uint8_t end_stream = (kind & 16) != 0 ? 1 : 0;
    // In one piece, or with CONTINUATIONs of a chosen size, the last of which may be missing.
    const size_t piece = (kind & 32) != 0 ? choices_.next() % 64 + 1 : block.size();
    const bool complete = (kind & 64) == 0;
    uint8_t type = 1;
    for (size_t at = 0; at < block.size() || type == 1; at += piece) {
      const size_t size = std::min(piece, block.size() - at);
      const bool last = at + size >= block.size();
      const uint8_t flags = (last && complete ? 4 : 0) | (type == 1 ? end_stream : 0);
      put(out, type, flags, stream, Bytes(block.begin() + at, block.begin() + at + size));
      type = 9;
    }
  }

  void settings(Bytes& out) {
    Bytes entries;
    for (int count = choices_.next() % 4; count > 0; --count) {
      entries.push_back(0);
      entries.push_back(choices_.next() % 10);
      put_u32(entries, (count & 1) != 0 ? choices_.next() : choices_.next_u32());
    }
    put(out, 4, 0, 0, entries);
  }

  /// A frame whose length lies.
  void tampered(Bytes& out, uint32_t stream) {
    put(out, choices_.next() % 10, choices_.next(), stream, Bytes(choices_.next() % 40, 't'));
    out[2] = choices_.next();
  }

  Choices& choices_;
  bool client_;
  uint32_t last_stream_ = UINT32_MAX;
};

hadal::h2::SessionSettings small_limits() {
  return {.stream_window_bytes = 8192,
          .connection_window_bytes = 1 << 16,
          .max_frame_bytes = 1 << 14,
          .max_concurrent_streams = 4,
          .header_list_bytes = 1024,
          .resets_per_second = 100,
          .reset_burst = 50,
          .control_frames_per_second = 100};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Choices choices({data, size});
  const uint8_t manners = choices.next();
  const bool we_serve = (manners & 8) == 0;
  SessionHarness harness(we_serve ? hadal::h2::Role::server : hadal::h2::Role::client, small_limits());
  harness.set_manners(manners & 7);
  Bytes beginning;
  if (we_serve) {
    static constexpr std::string_view kMagic = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    beginning.assign(kMagic.begin(), kMagic.end());
  } else {
    for (int i = 0; i < 3; ++i) {
      harness.open_stream();
    }
    (void)harness.feed({}, 1);
  }
  beginning.insert(beginning.end(), {0, 0, 0, 4, 0, 0, 0, 0, 0});
  if (!harness.feed(beginning, 1)) {
    return 0;
  }
  Peer peer(choices, we_serve);
  Bytes waiting;
  for (int64_t now_ns = 2; !choices.empty(); now_ns += 1'000'000) {
    const Bytes frame = peer.frame();
    waiting.insert(waiting.end(), frame.begin(), frame.end());
    // Several frames may share a batch, and our side acts between batches.
    const uint8_t step = choices.next();
    if ((step & 1) != 0 && waiting.size() < 16384) {
      continue;
    }
    if (!harness.feed(waiting, now_ns)) {
      return 0;
    }
    waiting.clear();
    if ((step & 2) != 0) {
      harness.act(step >> 2, choices.next());
    }
  }
  (void)harness.feed(waiting, 1'000'000'000);
  return 0;
}
