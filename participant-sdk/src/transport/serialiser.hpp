// Renders message heads into a buffer that is reused from message to message.
//
// Errors: false when a name or value could not stand in a message (control characters, a name that
// is no token): the buffer's content is then void. This is what makes header injection impossible.
// Framing fields (Content-Length, Transfer-Encoding, Connection, Host) given by the caller are
// skipped: the connection alone decides about them.
#pragma once

#include "participant-sdk/src/transport/client.hpp"
#include "participant-sdk/src/transport/message.hpp"

#include <string>
#include <string_view>

namespace concordat::transport::detail {

struct ResponseFraming {
    bool http11 = true;
    bool close = false;
    bool stream = false; // no length: chunked, or until close on HTTP/1.0
    std::string_view date;
};

[[nodiscard]] bool render_head(std::string& out, const Response& response,
                               const ResponseFraming& framing);
[[nodiscard]] bool render_head(std::string& out, const OutboundRequest& request,
                               std::string_view host);
// One chunk of a streamed body.
void render_chunk(std::string& out, std::string_view bytes);

// Whether this status never has a body (1xx, 204, 304).
[[nodiscard]] constexpr bool is_bodiless(int status) noexcept {
    return status < 200 || status == 204 || status == 304;
}

} // namespace concordat::transport::detail
