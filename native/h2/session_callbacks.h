// nghttp2's callbacks, the only code that runs inside its parser and serializer.
#pragma once

#include <nghttp2/nghttp2.h>

namespace hadal::h2 {

class Stream;

/// Made once per process; sessions copy it.
[[nodiscard]] const nghttp2_session_callbacks* session_callbacks();

/// The body of a CONNECT in our direction.
[[nodiscard]] nghttp2_data_provider stream_body(Stream& stream);

}  // namespace hadal::h2
