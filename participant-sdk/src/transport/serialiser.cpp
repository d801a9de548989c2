#include "participant-sdk/src/transport/serialiser.hpp"

#include "participant-sdk/src/transport/character_class.hpp"

#include <array>
#include <charconv>

namespace concordat::transport::detail {

namespace {

std::string_view reason(int status) noexcept {
    switch (status) {
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 202:
        return "Accepted";
    case 204:
        return "No Content";
    case 304:
        return "Not Modified";
    case 307:
        return "Temporary Redirect";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 413:
        return "Content Too Large";
    case 415:
        return "Unsupported Media Type";
    case 422:
        return "Unprocessable Content";
    case 425:
        return "Too Early";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return ""; // the reason phrase may be empty
    }
}

template <typename Number>
void append_number(std::string& out, Number number, int base = 10) {
    std::array<char, 24> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number, base).ptr;
    out.append(digits.data(), end);
}

bool is_framing_field(std::string_view name) noexcept {
    switch (name.size()) {
    case 4:
        return equals_ignoring_case(name, "host");
    case 10:
        return equals_ignoring_case(name, "connection");
    case 14:
        return equals_ignoring_case(name, "content-length");
    case 17:
        return equals_ignoring_case(name, "transfer-encoding");
    default:
        return false;
    }
}

bool append_fields(std::string& out, const Headers& headers) {
    for (const Header header : headers) {
        if (header.name.empty() || !all(token_class, header.name) ||
            !all(value_class, header.value)) {
            return false;
        }
        if (is_framing_field(header.name)) {
            continue;
        }
        out.append(header.name).append(": ").append(header.value).append("\r\n");
    }
    return true;
}

bool append_content_type(std::string& out, const std::string& content_type) {
    if (content_type.empty()) {
        return true;
    }
    out.append("Content-Type: ").append(content_type).append("\r\n");
    return all(value_class, content_type);
}

void append_content_length(std::string& out, std::size_t size) {
    out.append("Content-Length: ");
    append_number(out, size);
    out.append("\r\n");
}

} // namespace

bool render_head(std::string& out, const Response& response, const ResponseFraming& framing) {
    if (response.status < 200 || response.status > 999) {
        return false;
    }
    out.clear();
    out.append("HTTP/1.1 ");
    append_number(out, response.status);
    out.push_back(' ');
    out.append(reason(response.status)).append("\r\nDate: ").append(framing.date).append("\r\n");
    if (framing.stream || !response.body.empty()) {
        if (!append_content_type(out, response.content_type)) {
            return false;
        }
    }
    if (framing.stream) {
        out.append(framing.http11 ? "Transfer-Encoding: chunked\r\n" : "");
    } else if (!is_bodiless(response.status)) {
        append_content_length(out, response.body.size());
    }
    if (framing.close) {
        out.append("Connection: close\r\n");
    } else if (!framing.http11) {
        out.append("Connection: keep-alive\r\n");
    }
    if (!append_fields(out, response.headers)) {
        return false;
    }
    out.append("\r\n");
    return true;
}

bool render_head(std::string& out, const OutboundRequest& request, std::string_view host) {
    if (request.method.empty() || !all(token_class, request.method) ||
        !request.target.starts_with('/') || !all(target_class, request.target)) {
        return false;
    }
    out.clear();
    out.append(request.method).append(" ").append(request.target).append(" HTTP/1.1\r\nHost: ");
    out.append(host).append("\r\n");
    if (!request.body.empty() && !append_content_type(out, request.content_type)) {
        return false;
    }
    if (!request.body.empty() || (request.method != "GET" && request.method != "HEAD")) {
        append_content_length(out, request.body.size());
    }
    if (!append_fields(out, request.headers)) {
        return false;
    }
    out.append("\r\n");
    return true;
}

void render_chunk(std::string& out, std::string_view bytes) {
    append_number(out, bytes.size(), 16);
    out.append("\r\n").append(bytes).append("\r\n");
}

} // namespace concordat::transport::detail
