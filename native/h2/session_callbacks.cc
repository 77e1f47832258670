#include "native/h2/session_callbacks.h"

#include <algorithm>

#include "native/h2/session.h"

namespace hadal::h2 {
namespace {

// Nobody returns credit in crumbs; a peer that does keeps us busy for nothing.
constexpr int32_t kTinyWindowUpdate = 1024;

Session& session_of(void* user_data) { return *static_cast<Session*>(user_data); }

Stream* stream_of(nghttp2_session* session, int32_t id) {
  return static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, id));
}

}  // namespace

struct SessionCallbacks {
  static int on_begin_headers(nghttp2_session* raw, const nghttp2_frame* frame, void* user_data) {
    Session& session = session_of(user_data);
    session.header_bytes_ = 0;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
      return 0;
    }
    Stream* stream = session.owner_.on_new_stream();
    if (stream == nullptr) {
      nghttp2_submit_rst_stream(raw, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
      return 0;
    }
    session.attach(*stream, frame->hd.stream_id);
    nghttp2_session_set_stream_user_data(raw, frame->hd.stream_id, stream);
    return 0;
  }

  static int on_header(nghttp2_session* raw, const nghttp2_frame* frame, const uint8_t* name,
                       size_t name_length, const uint8_t* value, size_t value_length, uint8_t /*flags*/,
                       void* user_data) {
    Session& session = session_of(user_data);
    // 32 per field as RFC 9113 counts the list.
    session.header_bytes_ += static_cast<uint32_t>(name_length + value_length + 32);
    if (session.header_bytes_ > session.settings_.header_list_bytes) {
      session.flood("header bytes");
      return 0;
    }
    Stream* stream = stream_of(raw, frame->hd.stream_id);
    const bool taken =
        stream == nullptr || stream->on_header({reinterpret_cast<const char*>(name), name_length},
                                               {reinterpret_cast<const char*>(value), value_length});
    return taken ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }

  static int on_data_chunk(nghttp2_session* raw, uint8_t /*flags*/, int32_t id, const uint8_t* data,
                           size_t length, void* user_data) {
    Session& session = session_of(user_data);
    Stream* stream = stream_of(raw, id);
    if (stream == nullptr) {
      // We have left this stream; its bytes were in flight.
      nghttp2_session_consume_connection(raw, length);
      return 0;
    }
    auto& chunks = session.chunks_.chunks;
    const auto index = static_cast<uint32_t>(chunks.size());
    chunks.push_back(
        {.bytes = {.iov_base = const_cast<uint8_t*>(data), .iov_len = length}, .next = Stream::kNoChunk});
    if (stream->last_chunk_ == Stream::kNoChunk) {
      stream->first_chunk_ = index;
    } else {
      chunks[stream->last_chunk_].next = index;
    }
    stream->last_chunk_ = index;
    stream->received_bytes_ += static_cast<uint32_t>(length);
    session.touch(*stream);
    return 0;
  }

  /// Each of these makes us write a RST_STREAM, such as one for every stream beyond the limit.
  static int on_invalid_frame(nghttp2_session* /*raw*/, const nghttp2_frame* /*frame*/, int /*error*/,
                              void* user_data) {
    Session& session = session_of(user_data);
    if (!session.guard_.resets->take(session.now_ns_)) {
      session.flood("frames to refuse");
    }
    return 0;
  }

  static int on_frame(nghttp2_session* raw, const nghttp2_frame* frame, void* user_data) {
    Session& session = session_of(user_data);
    Stream* stream = frame->hd.stream_id != 0 ? stream_of(raw, frame->hd.stream_id) : nullptr;
    count_frame(session, *frame);
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS:
      case NGHTTP2_DATA:
        if (stream != nullptr) {
          if (frame->hd.type == NGHTTP2_HEADERS && (frame->hd.flags & NGHTTP2_FLAG_END_HEADERS) != 0) {
            stream->on_headers_end();
          }
          stream->received_end_ |= (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
          session.touch(*stream);
        }
        break;
      case NGHTTP2_WINDOW_UPDATE:
        if (stream != nullptr) {
          session.touch(*stream);
        } else {
          session.owner_.on_more_room();
        }
        break;
      case NGHTTP2_SETTINGS:
        session.owner_.on_output(Urgency::now);
        session.owner_.on_more_room();
        break;
      case NGHTTP2_PING:
        session.owner_.on_output(Urgency::now);
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) {
          session.owner_.on_ping_answer();
        }
        break;
      case NGHTTP2_GOAWAY:
        session.owner_.on_goaway();
        break;
      default:
        break;
    }
    return 0;
  }

  static int on_stream_close(nghttp2_session* raw, int32_t id, uint32_t error_code, void* user_data) {
    Stream* stream = stream_of(raw, id);
    if (stream != nullptr) {
      Session& session = session_of(user_data);
      stream->closed_ = true;
      stream->close_code_ = error_code;
      --session.open_streams_;
      session.touch(*stream);
      session.owner_.on_output(Urgency::now);
    }
    return 0;
  }

  static ssize_t read_body(nghttp2_session* /*raw*/, int32_t /*id*/, uint8_t* /*buffer*/, size_t length,
                           uint32_t* flags, nghttp2_data_source* source, void* user_data) {
    Session& session = session_of(user_data);
    const auto* stream = static_cast<Stream*>(source->ptr);
    if (session.sending_ == stream) {
      const size_t left = session.payload_.bytes - session.payload_offset_;
      const size_t left_in_slot = kSlotPayloadBytes - session.payload_offset_ % kSlotPayloadBytes;
      const size_t take = std::min({length, left, left_in_slot});
      if (take > 0) {
        *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
        return static_cast<ssize_t>(take);
      }
    }
    if (stream->ending_) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
      return 0;
    }
    return NGHTTP2_ERR_DEFERRED;
  }

  static int send_data(nghttp2_session* /*raw*/, nghttp2_frame* /*frame*/, const uint8_t* header,
                       size_t length, nghttp2_data_source* /*source*/, void* user_data) {
    Session& session = session_of(user_data);
    const size_t slot = session.payload_offset_ / kSlotPayloadBytes;
    const size_t within = session.payload_offset_ % kSlotPayloadBytes;
    uint8_t* payload = session.payload_.base + slot * kRecordBytes + kFrameHeaderBytes + within;
    session.payload_offset_ += length;
    session.writer_.write_data_frame(header, payload, length);
    return session.writer_.failed() ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
  }

  static void count_frame(Session& session, const nghttp2_frame& frame) {
    const bool ends = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (frame.hd.type) {
      case NGHTTP2_RST_STREAM:
        if (!session.guard_.resets->take(session.now_ns_)) {
          session.flood("RST_STREAM");
        }
        return;
      case NGHTTP2_HEADERS:
        // Requests and answers are what a tunnel is for; interim answers and trailers are not.
        if (frame.headers.cat != NGHTTP2_HCAT_HEADERS) {
          return;
        }
        break;
      case NGHTTP2_DATA:
        // Padding is no payload.
        if (frame.hd.length > frame.data.padlen || ends) {
          return;
        }
        break;
      case NGHTTP2_WINDOW_UPDATE:
        if (frame.window_update.window_size_increment >= kTinyWindowUpdate) {
          return;
        }
        break;
      default:
        break;
    }
    count_control_frame(session);
  }

  static void count_control_frame(Session& session) {
    if (!session.guard_.control_frames.take(session.now_ns_)) {
      session.flood("control frames");
    }
  }

  /// A frame of a type that nobody knows, its payload passed over.
  static int on_unknown_frame(nghttp2_session* /*raw*/, void** /*payload*/,
                              const nghttp2_frame_hd* /*header*/, void* user_data) {
    count_control_frame(session_of(user_data));
    return NGHTTP2_ERR_CANCEL;
  }
};

const nghttp2_session_callbacks* session_callbacks() {
  static nghttp2_session_callbacks* const callbacks = [] {
    nghttp2_session_callbacks* made = nullptr;
    nghttp2_session_callbacks_new(&made);
    nghttp2_session_callbacks_set_on_begin_headers_callback(made, SessionCallbacks::on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(made, SessionCallbacks::on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, SessionCallbacks::on_data_chunk);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(made, SessionCallbacks::on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(made, SessionCallbacks::on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(made, SessionCallbacks::on_stream_close);
    nghttp2_session_callbacks_set_unpack_extension_callback(made, SessionCallbacks::on_unknown_frame);
    nghttp2_session_callbacks_set_send_data_callback(made, SessionCallbacks::send_data);
    return made;
  }();
  return callbacks;
}

nghttp2_data_provider stream_body(Stream& stream) {
  return {.source = {.ptr = &stream}, .read_callback = SessionCallbacks::read_body};
}

}  // namespace hadal::h2
