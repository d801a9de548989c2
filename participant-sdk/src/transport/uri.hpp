// The few parts of RFC 3986 that an HTTP service needs: base URLs of peers, percent-decoding of
// path segments and query strings.
//
// Threading: pure functions. Errors: std::unexpected with a sentence that says what is wrong; the
// caller has had no effect.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace concordat::transport {

inline constexpr std::size_t max_url_bytes = 2048;
inline constexpr std::size_t max_query_parameters = 64;

// Where connections go: one pool of connections per origin.
struct Origin {
    bool tls = false;
    std::string host; // lower case name, IPv4, or IPv6 without brackets
    std::uint16_t port = 0;

    [[nodiscard]] bool operator==(const Origin&) const = default;
    [[nodiscard]] std::string host_header() const; // "host:port", IPv6 in brackets
};

struct BaseUrl {
    Origin origin;
    std::string base_path; // "" or "/base", never with a trailing slash

    [[nodiscard]] bool operator==(const BaseUrl&) const = default;
};

// "http://host[:port][/base]": no user info, query, fragment, dot segments or empty host.
[[nodiscard]] std::expected<BaseUrl, std::string> parse_base_url(std::string_view text);

// nullopt on a broken escape or when it decodes to NUL. '+' stays '+'.
[[nodiscard]] std::optional<std::string> percent_decode(std::string_view text);
// Escapes all but RFC 3986 "unreserved": safe as one path segment or one query value.
[[nodiscard]] std::string percent_encode(std::string_view text);

using QueryParameters = std::vector<std::pair<std::string, std::string>>;
// "a=1&b=x%20y" decoded, in order; '+' in a query means a space. Errors on broken escapes and on
// more than max_query_parameters.
[[nodiscard]] std::expected<QueryParameters, std::string> parse_query(std::string_view query);

} // namespace concordat::transport
