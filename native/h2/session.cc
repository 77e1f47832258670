#include "native/h2/session.h"

#include <algorithm>
#include <array>
#include <utility>

#include "native/h2/session_callbacks.h"

// Of nghttp2 1.66, so in Node's and not in Debian's. Weak: absent there, and then it is null.
extern "C" __attribute__((weak)) void nghttp2_option_set_glitch_rate_limit(nghttp2_option* option,
                                                                           uint64_t burst, uint64_t rate);

namespace hadal::h2 {
namespace {

constexpr int kFirstUnknownType = NGHTTP2_CONTINUATION + 1;
constexpr size_t kMaxHeaders = 16;
/// Frames that wait for a peer that does not read; 200 streams at work make a few hundred.
constexpr size_t kMaxWaitingFrames = 10'000;

struct OptionFree {
  void operator()(nghttp2_option* option) const { nghttp2_option_del(option); }
};

using Option = std::unique_ptr<nghttp2_option, OptionFree>;

Option make_option(const SessionSettings& settings) {
  nghttp2_option* raw = nullptr;
  if (nghttp2_option_new(&raw) != 0) {
    return nullptr;
  }
  Option option(raw);
  // Credit is returned when bytes reached the application.
  nghttp2_option_set_no_auto_window_update(raw, 1);
  nghttp2_option_set_no_closed_streams(raw, 1);
  // Resets are normal here: every connection that an application aborts is one. Our own guard counts them per
  // peer, nghttp2's (1,000, then 33 per second) would take the tunnel and everybody on it down.
  // With twice our numbers its own never speaks first.
  nghttp2_option_set_stream_reset_rate_limit(raw, uint64_t{settings.reset_burst} * 2,
                                             uint64_t{settings.resets_per_second} * 2);
  // Its count of glitches (10,000, then 330 per second) has one for each answer that meets a stream which we
  // have reset already: an application that connects and aborts at once makes one per connection.
  if (nghttp2_option_set_glitch_rate_limit != nullptr) {
    nghttp2_option_set_glitch_rate_limit(raw, uint64_t{settings.reset_burst} * 2,
                                         uint64_t{settings.resets_per_second} * 2);
  }
  // Frames of unknown types come to us to be counted: nghttp2 1.52 does not, later ones count glitches.
  for (int type = kFirstUnknownType; type <= UINT8_MAX; ++type) {
    nghttp2_option_set_user_recv_extension_type(raw, static_cast<uint8_t>(type));
  }
  return option;
}

std::array<nghttp2_nv, kMaxHeaders> name_values(std::span<const Session::Header> headers) {
  std::array<nghttp2_nv, kMaxHeaders> out{};
  for (size_t i = 0; i < headers.size() && i < out.size(); ++i) {
    const Session::Header& header = headers[i];
    // nghttp2's structure is not const-correct; it only reads.
    out[i].name = reinterpret_cast<uint8_t*>(const_cast<char*>(header.name.data()));
    out[i].namelen = header.name.size();
    out[i].value = reinterpret_cast<uint8_t*>(const_cast<char*>(header.value.data()));
    out[i].valuelen = header.value.size();
    out[i].flags = header.unique ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE;
  }
  return out;
}

}  // namespace

size_t Stream::take_received(std::vector<iovec>& into) {
  into.clear();
  for (uint32_t i = first_chunk_; i != kNoChunk; i = session_->chunks_.chunks[i].next) {
    into.push_back(session_->chunks_.chunks[i].bytes);
  }
  first_chunk_ = last_chunk_ = kNoChunk;
  return std::exchange(received_bytes_, 0);
}

void Stream::forget_stream() {
  stream_id_ = -1;
  first_chunk_ = last_chunk_ = kNoChunk;
  received_bytes_ = close_code_ = 0;
  received_end_ = closed_ = ending_ = false;
}

std::unique_ptr<Session> Session::create(Role role, const SessionSettings& settings, SessionParts parts) {
  std::unique_ptr<Session> session(new Session(role, settings, std::move(parts)));
  const Option option = make_option(settings);
  if (option == nullptr) {
    return nullptr;
  }
  const auto create_session =
      role == Role::client ? nghttp2_session_client_new2 : nghttp2_session_server_new2;
  if (create_session(&session->session_, session_callbacks(), session.get(), option.get()) != 0) {
    return nullptr;
  }
  if (role == Role::client && settings.first_stream_id != 1 &&
      nghttp2_session_set_next_stream_id(session->session_, static_cast<int32_t>(settings.first_stream_id)) !=
          0) {
    return nullptr;
  }
  return session->submit_settings() ? std::move(session) : nullptr;
}

Session::Session(Role role, const SessionSettings& settings, SessionParts parts)
    : role_(role),
      settings_(settings),
      owner_(parts.owner),
      writer_(parts.writer),
      chunks_(parts.chunks),
      guard_{.resets = std::move(parts.resets),
             .control_frames =
                 TokenBucket(settings.control_frames_per_second, settings.control_frames_per_second)} {}

Session::~Session() { nghttp2_session_del(session_); }

bool Session::submit_settings() {
  std::array<nghttp2_settings_entry, 6> entries{};
  size_t count = 0;
  entries[count++] = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, settings_.stream_window_bytes};
  entries[count++] = {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, settings_.max_frame_bytes};
  entries[count++] = {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, settings_.header_list_bytes};
  if (role_ == Role::client) {
    entries[count++] = {NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
  } else {
    entries[count++] = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings_.max_concurrent_streams};
  }
  return nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, entries.data(), count) == 0 &&
         nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                               static_cast<int32_t>(settings_.connection_window_bytes)) == 0;
}

bool Session::receive(std::span<const uint8_t> bytes, int64_t now_ns) {
  now_ns_ = now_ns;
  chunks_.chunks.clear();
  const ssize_t parsed = nghttp2_session_mem_recv(session_, bytes.data(), bytes.size());
  if (parsed < 0 || static_cast<size_t>(parsed) != bytes.size()) {
    if (failure_detail_.empty()) {
      failure_detail_ = nghttp2_strerror(static_cast<int>(parsed));
    }
    flooded_ |= parsed == NGHTTP2_ERR_FLOODED;
    return false;
  }
  if (nghttp2_session_get_outbound_queue_size(session_) > kMaxWaitingFrames) {
    flood("answers that it does not read");
  }
  announce_output();
  return true;
}

// What nghttp2 itself has to say; frames that wait for company do not count.
void Session::announce_output() {
  if (nghttp2_session_want_write(session_) != 0) {
    owner_.on_output(waits_for_company_ ? Urgency::soon : Urgency::now);
  }
}

void Session::dispatch() {
  while (Stream* stream = touched_.pop_front()) {
    stream->on_stream_activity();
    drop_untaken(*stream);
  }
}

// Payload that nobody took is gone with the buffer it lies in; so are its chunks.
void Session::drop_untaken(Stream& stream) {
  if (stream.session_ == this && stream.received_bytes_ > 0) {
    stream.first_chunk_ = stream.last_chunk_ = Stream::kNoChunk;
    consume(stream, std::exchange(stream.received_bytes_, 0));
  }
}

bool Session::flush() { return run_output(); }

bool Session::run_output() {
  waits_for_company_ = false;
  while (true) {
    const uint8_t* bytes = nullptr;
    const ssize_t count = nghttp2_session_mem_send(session_, &bytes);
    if (count < 0) {
      failure_detail_ = nghttp2_strerror(static_cast<int>(count));
      return false;
    }
    if (count == 0) {
      return !writer_.failed();
    }
    writer_.append({bytes, static_cast<size_t>(count)});
  }
}

bool Session::open_stream(Stream& stream, std::span<const Header> headers) {
  const auto pairs = name_values(headers);
  nghttp2_data_provider body = stream_body(stream);
  const int32_t id = nghttp2_submit_request(session_, nullptr, pairs.data(), headers.size(), &body, &stream);
  if (id < 0) {
    failure_detail_ = nghttp2_strerror(id);
    return false;
  }
  attach(stream, id);
  owner_.on_output(Urgency::now);
  return true;
}

bool Session::respond(Stream& stream, std::span<const Header> headers, bool end, Urgency urgency) {
  const auto pairs = name_values(headers);
  nghttp2_data_provider body = stream_body(stream);
  waits_for_company_ |= urgency == Urgency::soon;
  owner_.on_output(urgency);
  return nghttp2_submit_response(session_, stream.stream_id_, pairs.data(), headers.size(),
                                 end ? nullptr : &body) == 0;
}

size_t Session::sendable(const Stream& stream) const {
  const int32_t of_stream = nghttp2_session_get_stream_remote_window_size(session_, stream.stream_id_);
  const int32_t of_session = nghttp2_session_get_remote_window_size(session_);
  return static_cast<size_t>(std::max(0, std::min(of_stream, of_session)));
}

bool Session::send(Stream& stream, const SlottedPayload& payload) {
  sending_ = &stream;
  payload_ = payload;
  payload_offset_ = 0;
  const int resumed = nghttp2_session_resume_data(session_, stream.stream_id_);
  const bool sent = (resumed == 0 || resumed == NGHTTP2_ERR_INVALID_ARGUMENT) && run_output();
  sending_ = nullptr;
  owner_.on_output(Urgency::now);
  return sent && payload_offset_ == payload_.bytes;
}

void Session::end(Stream& stream) {
  stream.ending_ = true;
  nghttp2_session_resume_data(session_, stream.stream_id_);
  owner_.on_output(Urgency::now);
}

void Session::detach(Stream& stream, uint32_t code) {
  if (stream.session_ == nullptr) {
    return;
  }
  stream.unlink();
  if (stream.received_bytes_ > 0) {
    nghttp2_session_consume_connection(session_, stream.received_bytes_);
    stream.received_bytes_ = 0;
  }
  if (!stream.closed_) {
    nghttp2_session_set_stream_user_data(session_, stream.stream_id_, nullptr);
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream.stream_id_, code);
    --open_streams_;
    // Resets come with every connection that an application aborts, often in the hundreds per second.
    waits_for_company_ = true;
    owner_.on_output(Urgency::soon);
  }
  stream.session_ = nullptr;
}

void Session::consume(const Stream& stream, size_t bytes, size_t lent) {
  if (bytes > 0) {
    nghttp2_session_consume_stream(session_, stream.stream_id_, bytes);
    nghttp2_session_consume_connection(session_, bytes - lent);
    announce_output();
  }
}

void Session::lend(size_t bytes) {
  nghttp2_session_consume_connection(session_, bytes);
  announce_output();
}

void Session::announce_shutdown() {
  // "No more, please", which a stream that is on its way still passes ...
  if (role_ == Role::server) {
    nghttp2_submit_shutdown_notice(session_);
    owner_.on_output(Urgency::now);
  }
}

void Session::finish_shutdown() {
  // ... and the word after which none does.
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_),
                        NGHTTP2_NO_ERROR, nullptr, 0);
  owner_.on_output(Urgency::now);
}

void Session::ping() {
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  owner_.on_output(Urgency::now);
}

uint32_t Session::peer_max_concurrent_streams() const {
  return nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

bool Session::wants_close() const {
  return nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0;
}

void Session::touch(Stream& stream) {
  if (!stream.linked()) {
    touched_.push_back(stream);
  }
}

void Session::attach(Stream& stream, int32_t id) {
  stream.session_ = this;
  stream.stream_id_ = id;
  ++open_streams_;
  ++streams_total_;
}

void Session::flood(const char* what) {
  if (!flooded_) {
    flooded_ = true;
    failure_detail_ = std::string("flood of ") + what;
    nghttp2_session_terminate_session(session_, NGHTTP2_ENHANCE_YOUR_CALM);
  }
}

}  // namespace hadal::h2
