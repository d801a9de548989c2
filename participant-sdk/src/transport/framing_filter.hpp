// A strict check of a request head before the parser sees it.
//
// What: reads the raw bytes of one request head, from the method to the empty line, and refuses
// everything that another HTTP implementation on the path could read differently.
// Why: the Beast 1.81 parser accepts framing (several Content-Length fields, unknown transfer
// codings, Content-Length beside Transfer-Encoding, folded lines) that lets one message be taken
// for two: request smuggling. A server that refuses the ambiguity with 400 and closes is safe
// behind any proxy.
//
// Threading: pure function. Errors: the first violation found; nothing was done with the request.
// Source: RFC 9110 §5, §7.2; RFC 9112 §2.2, §3, §5, §6.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string_view>

namespace concordat::transport {

enum class FramingError : std::uint8_t {
    bad_line_ending,      // bare CR, bare LF, or no empty line at the end
    bad_request_line,     // not exactly "method SP target SP version"
    bad_method,           // not a token, or longer than 32 bytes
    bad_target,           // not origin form (or "*" for OPTIONS), or bytes outside printable ASCII
    bad_version,          // neither HTTP/1.1 nor HTTP/1.0
    folded_line,          // a field line that starts with white space
    bad_field_name,       // empty, not a token, white space before the colon, or no colon
    bad_field_value,      // NUL or another control character but tab
    too_many_fields,      // see FramingLimits
    missing_host,         // HTTP/1.0 requests need one too
    repeated_host,        // also when both are equal
    bad_host,             // not uri-host [":" port]
    repeated_length,      // more than one Content-Length, equal ones and lists included
    bad_length,           // not 1 to 18 digits
    length_with_encoding, // Content-Length beside Transfer-Encoding
    encoding_before_http11, // Transfer-Encoding on HTTP/1.0
    bad_encoding,           // anything but exactly one "chunked"
};

[[nodiscard]] std::string_view describe(FramingError error) noexcept;

struct FramingLimits {
    std::size_t max_fields = 64;
    std::size_t max_target_bytes = 4096;
};

// What the head says about the connection and the body that follows.
struct Framing {
    bool http11 = true;
    bool chunked = false;
    bool has_length = false;
    bool keep_alive = true; // version and Connection field together
    bool expects_continue = false;
    std::uint64_t content_length = 0;
};

// `head` ends with the empty line ("\r\n\r\n" inclusive).
[[nodiscard]] std::expected<Framing, FramingError>
check_framing(std::string_view head, const FramingLimits& limits = {}) noexcept;

} // namespace concordat::transport
