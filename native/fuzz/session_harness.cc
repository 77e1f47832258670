#include "native/fuzz/session_harness.h"

#include <algorithm>

namespace hadal::fuzz {
namespace {

// Small limits are reached by small inputs.
constexpr h2::SessionSettings kSmallLimits{.stream_window_bytes = 4096,
                                           .connection_window_bytes = 1 << 16,
                                           .max_frame_bytes = 1 << 14,
                                           .max_concurrent_streams = 4,
                                           .header_list_bytes = 512,
                                           .resets_per_second = 10,
                                           .reset_burst = 10,
                                           .control_frames_per_second = 20};

}  // namespace

bool FuzzStream::on_header(std::string_view name, std::string_view value) {
  volatile uint64_t sum = 0;
  for (const char c : name) {
    sum = sum + static_cast<unsigned char>(c);
  }
  for (const char c : value) {
    sum = sum + static_cast<unsigned char>(c);
  }
  return !harness_.refuses_headers();
}

void FuzzStream::on_stream_activity() {
  std::vector<iovec> parts;
  const size_t size = take_received(parts);
  size_t sum = 0;
  volatile uint64_t bytes_sum = 0;
  for (const iovec& part : parts) {
    sum += part.iov_len;
    for (size_t i = 0; i < part.iov_len; ++i) {
      bytes_sum = bytes_sum + static_cast<const uint8_t*>(part.iov_base)[i];
    }
  }
  require(sum == size, "the parts are the payload");
  if (size == 0) {
    return;
  }
  if (harness_.holds_payload()) {
    kept_ += size;
  } else {
    session()->consume(*this, size);
  }
}

SessionHarness::SessionHarness(h2::Role role, const h2::SessionSettings& settings)
    : role_(role), settings_(settings) {
  session_ = h2::Session::create(
      role, settings,
      {.owner = *this,
       .writer = writer_,
       .chunks = chunks_,
       .resets = std::make_shared<h2::TokenBucket>(settings.resets_per_second, settings.reset_burst)});
  require(session_ != nullptr, "a session is made");
}

SessionHarness::~SessionHarness() {
  for (const auto& stream : streams_) {
    leave(*stream, NGHTTP2_CANCEL);
  }
  require(session_->open_streams() == 0, "no stream is left");
}

h2::Stream* SessionHarness::on_new_stream() {
  require(role_ == h2::Role::server, "only a server gets streams");
  if (refuses_streams()) {
    return nullptr;
  }
  streams_.push_back(std::make_unique<FuzzStream>(*this));
  return streams_.back().get();
}

bool SessionHarness::feed(std::span<const uint8_t> bytes, int64_t now_ns) {
  if (over_) {
    return false;
  }
  received_ += bytes.size();
  // In memory of its own size, that is gone afterwards.
  {
    const std::vector<uint8_t> batch(bytes.begin(), bytes.end());
    const bool understood = session_->receive(batch, now_ns);
    session_->dispatch();
    over_ = !understood || session_->flooded();
  }
  const bool flushed = session_->flush();
  writer_.finish();
  session_->dispatch();
  over_ = over_ || !flushed || session_->wants_close();
  sweep();
  check();
  return !over_;
}

void SessionHarness::open_stream() {
  streams_.push_back(std::make_unique<FuzzStream>(*this));
  static constexpr std::array<h2::Session::Header, 3> kHeaders{{
      {.name = ":method", .value = "CONNECT"},
      {.name = ":authority", .value = "10.0.0.1:80"},
      {.name = "forwarded", .value = "for=\"10.0.0.2:4711\"", .unique = true},
  }};
  if (!session_->open_stream(*streams_.back(), kHeaders)) {
    streams_.pop_back();
  }
}

FuzzStream* SessionHarness::pick(uint8_t which) {
  return streams_.empty() ? nullptr : streams_[which % streams_.size()].get();
}

void SessionHarness::answer(FuzzStream& stream, bool end) {
  if (role_ != h2::Role::server || stream.answered() || stream.header_blocks() == 0 || stream.is_closed()) {
    return;
  }
  static constexpr std::array<h2::Session::Header, 1> kHeaders{{{.name = ":status", .value = "200"}}};
  // A stream that the parser has given up since cannot be answered; the flow breaks off then.
  if (session_->respond(stream, kHeaders, end, h2::Urgency::now)) {
    stream.set_answered();
  }
  if (end) {
    stream.set_ended();
  }
}

void SessionHarness::send(FuzzStream& stream, size_t size) {
  const bool open = role_ == h2::Role::client || stream.answered();
  if (!open || stream.ended() || stream.is_closed() || over_) {
    return;
  }
  const size_t room = std::min({session_->sendable(stream), size, 4 * h2::kSlotPayloadBytes});
  if (room > 0) {
    // Whoever asked for the room gets rid of all of it, unless the session is at its end.
    const bool sent = session_->send(stream, {.base = slots_.data(), .bytes = room});
    require(sent || session_->wants_close(), "payload that there was room for is sent");
    over_ = !sent;
  }
}

void SessionHarness::leave(FuzzStream& stream, uint32_t code) {
  if (stream.attached() && stream.kept() > 0) {
    session_->consume(stream, stream.kept());
    stream.release(stream.kept());
  }
  session_->detach(stream, code);
}

void SessionHarness::act(uint8_t choice, uint8_t which) {
  FuzzStream* stream = pick(which);
  switch (choice % 12) {
    case 0:
      session_->ping();
      break;
    case 1:
      session_->announce_shutdown();
      break;
    case 2:
      session_->finish_shutdown();
      break;
    case 3:
      if (role_ == h2::Role::client && streams_.size() < settings_.max_concurrent_streams) {
        open_stream();
      }
      break;
    default:
      if (stream == nullptr || !stream->attached()) {
        break;
      }
      if (choice % 12 <= 5) {
        answer(*stream, choice % 12 == 5);
      } else if (choice % 12 <= 7) {
        send(*stream, which * size_t{257});
      } else if (choice % 12 == 8 && (stream->answered() || role_ == h2::Role::client) && !stream->ended()) {
        session_->end(*stream);
        stream->set_ended();
      } else if (choice % 12 == 9) {
        leave(*stream, which % 14);
      } else if (choice % 12 == 10 && stream->kept() > 0) {
        const size_t part = (stream->kept() + 1) / 2;
        session_->consume(*stream, part);
        stream->release(part);
      }
      break;
  }
  check();
}

/// Flows whose streams are over end themselves.
void SessionHarness::sweep() {
  std::erase_if(streams_, [this](const auto& stream) {
    if (!stream->is_closed() && stream->attached()) {
      return false;
    }
    leave(*stream, NGHTTP2_CANCEL);
    return true;
  });
}

void SessionHarness::check() const {
  const auto open = static_cast<size_t>(std::ranges::count_if(
      streams_, [](const auto& stream) { return stream->attached() && !stream->is_closed(); }));
  require(session_->open_streams() == open, "the session counts the streams that are open");
  require(role_ == h2::Role::client || open <= settings_.max_concurrent_streams,
          "streams stay within the limit");
  // Until the peer acknowledges our SETTINGS it has the protocol's own window.
  const size_t stream_limit = std::max<size_t>(settings_.stream_window_bytes, NGHTTP2_INITIAL_WINDOW_SIZE);
  size_t kept = 0;
  for (const auto& stream : streams_) {
    require(stream->kept() <= stream_limit, "a stream holds no more than its window");
    kept += stream->kept();
  }
  require(kept <= settings_.connection_window_bytes, "all streams hold no more than the connection's window");
}

void hear_bytes(h2::Role role, std::string_view beginning, std::span<const uint8_t> input) {
  if (input.size() < 2) {
    return;
  }
  const uint8_t manners = input[0];
  const size_t piece = input[1] == 0 ? input.size() : input[1];
  SessionHarness harness(role, kSmallLimits);
  harness.set_manners(manners & 7);
  if (role == h2::Role::client) {
    harness.open_stream();
    harness.open_stream();
    // Our own beginning and both requests leave before the peer says anything.
    if (!harness.feed({}, 1)) {
      return;
    }
  }
  if ((manners & 8) == 0 &&
      !harness.feed({reinterpret_cast<const uint8_t*>(beginning.data()), beginning.size()}, 1)) {
    return;
  }
  input = input.subspan(2);
  for (int64_t now_ns = 2; !input.empty(); ++now_ns) {
    const auto part = input.first(std::min(piece, input.size()));
    if (!harness.feed(part, now_ns)) {
      return;
    }
    if ((manners & 16) != 0) {
      harness.act(part.front(), part.back());
    }
    input = input.subspan(part.size());
  }
}

}  // namespace hadal::fuzz
