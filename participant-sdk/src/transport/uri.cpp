#include "participant-sdk/src/transport/uri.hpp"

#include "participant-sdk/src/transport/character_class.hpp"
#include "participant-sdk/src/transport/message.hpp"

#include <algorithm>
#include <charconv>

namespace concordat::transport {

namespace {

constexpr std::size_t max_host_bytes = 253; // RFC 1035 §2.3.4, in presentation form

int hex_digit(char character) noexcept {
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    const char folded = static_cast<char>(character | 0x20);
    return folded >= 'a' && folded <= 'f' ? folded - 'a' + 10 : -1;
}

std::expected<std::uint16_t, std::string> parse_port(std::string_view text) {
    unsigned port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc{} || end != text.data() + text.size() || port == 0 || port > 65535) {
        return std::unexpected("the port is not a number from 1 to 65535");
    }
    return static_cast<std::uint16_t>(port);
}

std::expected<Origin, std::string> parse_authority(std::string_view authority, bool tls) {
    Origin origin{.tls = tls, .host = {}, .port = tls ? std::uint16_t{443} : std::uint16_t{80}};
    std::string_view rest;
    if (authority.starts_with('[')) {
        const std::size_t bracket = authority.find(']');
        if (bracket == std::string_view::npos) {
            return std::unexpected("the IPv6 address has no closing bracket");
        }
        origin.host = authority.substr(1, bracket - 1);
        rest = authority.substr(bracket + 1);
        if (origin.host.size() < 2 ||
            origin.host.find_first_not_of("0123456789abcdefABCDEF:.") != std::string::npos) {
            return std::unexpected("the text in brackets is not an IPv6 address");
        }
    } else {
        const std::size_t colon = authority.find(':');
        origin.host = authority.substr(0, colon);
        rest = colon == std::string_view::npos ? std::string_view{} : authority.substr(colon);
        if (origin.host.empty() || origin.host.size() > max_host_bytes ||
            !std::all_of(origin.host.begin(), origin.host.end(), [](char character) {
                return detail::is(detail::unreserved_class, character);
            })) {
            return std::unexpected("the host is empty, too long, or has characters beyond "
                                   "letters, digits and \"-._~\"");
        }
    }
    std::transform(origin.host.begin(), origin.host.end(), origin.host.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    });
    if (!rest.empty()) {
        const auto port = rest.starts_with(':')
                              ? parse_port(rest.substr(1))
                              : std::unexpected(std::string{"text follows the host"});
        if (!port) {
            return std::unexpected(port.error());
        }
        origin.port = *port;
    }
    return origin;
}

// What is wrong with the path, or nullptr.
const char* problem_of_base_path(std::string_view path) {
    if (!detail::all(detail::target_class, path) || path.find('?') != std::string_view::npos) {
        return "the base path has a query, a fragment or illegal characters";
    }
    if (!percent_decode(path)) {
        return "the base path has a broken percent escape";
    }
    for (std::size_t begin = 1; begin < path.size();) {
        const std::size_t end = std::min(path.find('/', begin), path.size());
        const std::string_view segment = path.substr(begin, end - begin);
        if (segment.empty() || segment == "." || segment == "..") {
            return "the base path has an empty or a dot segment";
        }
        begin = end + 1;
    }
    return nullptr;
}

std::optional<std::string> decode_query_part(std::string_view text) {
    std::string spaced{text};
    std::replace(spaced.begin(), spaced.end(), '+', ' ');
    return percent_decode(spaced);
}

} // namespace

std::string Origin::host_header() const {
    const bool ipv6 = host.find(':') != std::string::npos;
    return (ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::expected<BaseUrl, std::string> parse_base_url(std::string_view text) {
    if (text.size() > max_url_bytes) {
        return std::unexpected("the URL is longer than 2048 bytes");
    }
    const std::size_t scheme_end = text.find("://");
    const std::string_view scheme =
        scheme_end == std::string_view::npos ? std::string_view{} : text.substr(0, scheme_end);
    const bool tls = equals_ignoring_case(scheme, "https");
    if (!tls && !equals_ignoring_case(scheme, "http")) {
        return std::unexpected("the URL does not start with http:// or https://");
    }
    text.remove_prefix(scheme_end + 3);
    const std::size_t slash = std::min(text.find('/'), text.size());
    auto origin = parse_authority(text.substr(0, slash), tls);
    if (!origin) {
        return std::unexpected(std::move(origin.error()));
    }
    BaseUrl url{.origin = std::move(*origin), .base_path = std::string{text.substr(slash)}};
    while (url.base_path.ends_with('/')) {
        url.base_path.pop_back();
    }
    if (const char* const problem = problem_of_base_path(url.base_path)) {
        return std::unexpected(problem);
    }
    return url;
}

std::optional<std::string> percent_decode(std::string_view text) {
    std::string decoded;
    decoded.reserve(text.size());
    for (std::size_t index = 0; index < text.size(); ++index) {
        if (text[index] != '%') {
            decoded.push_back(text[index]);
            continue;
        }
        if (text.size() - index < 3) {
            return std::nullopt;
        }
        const int high = hex_digit(text[index + 1]);
        const int low = hex_digit(text[index + 2]);
        if (high < 0 || low < 0 || (high == 0 && low == 0)) {
            return std::nullopt;
        }
        decoded.push_back(static_cast<char>(high * 16 + low));
        index += 2;
    }
    return decoded;
}

std::string percent_encode(std::string_view text) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string encoded;
    encoded.reserve(text.size());
    for (const char character : text) {
        if (detail::is(detail::unreserved_class, character)) {
            encoded.push_back(character);
        } else {
            const auto code = static_cast<unsigned char>(character);
            encoded.push_back('%');
            encoded.push_back(digits[code >> 4U]);
            encoded.push_back(digits[code & 15U]);
        }
    }
    return encoded;
}

std::expected<QueryParameters, std::string> parse_query(std::string_view query) {
    QueryParameters parameters;
    while (!query.empty()) {
        const std::size_t end = std::min(query.find('&'), query.size());
        const std::string_view part = query.substr(0, end);
        query.remove_prefix(std::min(end + 1, query.size()));
        if (part.empty()) {
            continue;
        }
        if (parameters.size() == max_query_parameters) {
            return std::unexpected("the query has more than 64 parameters");
        }
        const std::size_t equals = std::min(part.find('='), part.size());
        auto key = decode_query_part(part.substr(0, equals));
        auto value = decode_query_part(part.substr(std::min(equals + 1, part.size())));
        if (!key || !value) {
            return std::unexpected("the query has a broken percent escape");
        }
        parameters.emplace_back(std::move(*key), std::move(*value));
    }
    return parameters;
}

} // namespace concordat::transport
