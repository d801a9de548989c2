#include "participant-sdk/src/transport/framing_filter.hpp"

#include "participant-sdk/src/transport/character_class.hpp"
#include "participant-sdk/src/transport/message.hpp"

#include <optional>

namespace concordat::transport {

namespace {

using detail::all;
using detail::is;

constexpr std::size_t max_method_bytes = 32;
constexpr std::size_t max_length_digits = 18; // below 2^63 whatever the digits are

constexpr std::string_view trim(std::string_view text) noexcept {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) {
        text.remove_prefix(1);
    }
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) {
        text.remove_suffix(1);
    }
    return text;
}

// Whether a comma-separated list names the token.
bool lists(std::string_view list, std::string_view token) noexcept {
    while (!list.empty()) {
        const std::size_t comma = list.find(',');
        if (equals_ignoring_case(trim(list.substr(0, comma)), token)) {
            return true;
        }
        list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
    }
    return false;
}

bool is_port(std::string_view text) noexcept {
    return !text.empty() && text.size() <= 5 && all(detail::digit_class, text);
}

bool is_host(std::string_view host) noexcept {
    if (host.starts_with('[')) {
        const std::size_t bracket = host.find(']');
        if (bracket == std::string_view::npos || bracket < 3) {
            return false;
        }
        const bool literal =
            host.substr(1, bracket - 1).find_first_not_of("0123456789abcdefABCDEF:.") ==
            std::string_view::npos;
        const std::string_view rest = host.substr(bracket + 1);
        return literal && (rest.empty() || (rest.front() == ':' && is_port(rest.substr(1))));
    }
    const std::size_t colon = host.find(':');
    const std::string_view name = host.substr(0, colon);
    return !name.empty() && all(detail::host_class, name) &&
           (colon == std::string_view::npos || is_port(host.substr(colon + 1)));
}

class Check {
public:
    explicit Check(const FramingLimits& limits) noexcept : limits_(limits) {}

    std::expected<Framing, FramingError> run(std::string_view head) noexcept {
        std::string_view line;
        if (!take_line(head, line)) {
            return std::unexpected(FramingError::bad_line_ending);
        }
        if (const auto error = request_line(line)) {
            return std::unexpected(*error);
        }
        for (std::size_t fields = 0;; ++fields) {
            if (!take_line(head, line)) {
                return std::unexpected(FramingError::bad_line_ending);
            }
            if (line.empty()) {
                break;
            }
            if (fields == limits_.max_fields) {
                return std::unexpected(FramingError::too_many_fields);
            }
            if (const auto error = field_line(line)) {
                return std::unexpected(*error);
            }
        }
        if (!head.empty()) {
            return std::unexpected(FramingError::bad_line_ending);
        }
        return conclude();
    }

private:
    using Verdict = std::optional<FramingError>;

    // Removes one line from the head. A line end is CR LF and nothing else contains CR or LF.
    static bool take_line(std::string_view& head, std::string_view& line) noexcept {
        const std::size_t feed = head.find('\n');
        if (feed == std::string_view::npos || feed == 0 || head[feed - 1] != '\r') {
            return false;
        }
        line = head.substr(0, feed - 1);
        head.remove_prefix(feed + 1);
        return line.find('\r') == std::string_view::npos;
    }

    Verdict request_line(std::string_view line) noexcept {
        const std::size_t first = line.find(' ');
        const std::size_t second =
            first == std::string_view::npos ? first : line.find(' ', first + 1);
        if (second == std::string_view::npos ||
            line.find(' ', second + 1) != std::string_view::npos) {
            return FramingError::bad_request_line;
        }
        const std::string_view method = line.substr(0, first);
        const std::string_view target = line.substr(first + 1, second - first - 1);
        const std::string_view version = line.substr(second + 1);
        if (method.empty() || method.size() > max_method_bytes ||
            !all(detail::token_class, method)) {
            return FramingError::bad_method;
        }
        const bool origin_form = target.starts_with('/') || (target == "*" && method == "OPTIONS");
        if (!origin_form || target.size() > limits_.max_target_bytes ||
            !all(detail::target_class, target)) {
            return FramingError::bad_target;
        }
        if (version != "HTTP/1.1" && version != "HTTP/1.0") {
            return FramingError::bad_version;
        }
        framing_.http11 = version == "HTTP/1.1";
        return std::nullopt;
    }

    Verdict field_line(std::string_view line) noexcept {
        if (line.front() == ' ' || line.front() == '\t') {
            return FramingError::folded_line;
        }
        std::size_t colon = 0;
        while (colon < line.size() && is(detail::token_class, line[colon])) {
            ++colon;
        }
        if (colon == 0 || colon == line.size() || line[colon] != ':') {
            return FramingError::bad_field_name;
        }
        const std::string_view value = line.substr(colon + 1);
        if (!all(detail::value_class, value)) {
            return FramingError::bad_field_value;
        }
        return field(line.substr(0, colon), trim(value));
    }

    // The length decides first: most fields are none of the five that matter.
    Verdict field(std::string_view name, std::string_view value) noexcept {
        switch (name.size()) {
        case 4:
            return equals_ignoring_case(name, "host") ? host(value) : std::nullopt;
        case 6:
            if (equals_ignoring_case(name, "expect")) {
                framing_.expects_continue = equals_ignoring_case(value, "100-continue");
            }
            return std::nullopt;
        case 10:
            if (equals_ignoring_case(name, "connection")) {
                close_ = close_ || lists(value, "close");
                keep_alive_ = keep_alive_ || lists(value, "keep-alive");
            }
            return std::nullopt;
        case 14:
            return equals_ignoring_case(name, "content-length") ? length(value) : std::nullopt;
        case 17:
            return equals_ignoring_case(name, "transfer-encoding") ? encoding(value) : std::nullopt;
        default:
            return std::nullopt;
        }
    }

    Verdict host(std::string_view value) noexcept {
        if (host_) {
            return FramingError::repeated_host;
        }
        host_ = true;
        return is_host(value) ? Verdict{} : FramingError::bad_host;
    }

    Verdict length(std::string_view value) noexcept {
        if (framing_.has_length || value.find(',') != std::string_view::npos) {
            return FramingError::repeated_length;
        }
        if (value.empty() || value.size() > max_length_digits || !all(detail::digit_class, value)) {
            return FramingError::bad_length;
        }
        framing_.has_length = true;
        for (const char digit : value) {
            framing_.content_length =
                framing_.content_length * 10 + static_cast<std::uint64_t>(digit - '0');
        }
        return std::nullopt;
    }

    Verdict encoding(std::string_view value) noexcept {
        if (framing_.chunked || !equals_ignoring_case(value, "chunked")) {
            return FramingError::bad_encoding;
        }
        framing_.chunked = true;
        return std::nullopt;
    }

    std::expected<Framing, FramingError> conclude() noexcept {
        if (!host_) {
            return std::unexpected(FramingError::missing_host);
        }
        if (framing_.chunked && !framing_.http11) {
            return std::unexpected(FramingError::encoding_before_http11);
        }
        if (framing_.chunked && framing_.has_length) {
            return std::unexpected(FramingError::length_with_encoding);
        }
        framing_.keep_alive = !close_ && (framing_.http11 || keep_alive_);
        framing_.expects_continue = framing_.expects_continue && framing_.http11;
        return framing_;
    }

    const FramingLimits& limits_;
    Framing framing_;
    bool host_ = false;
    bool close_ = false;
    bool keep_alive_ = false;
};

} // namespace

std::string_view describe(FramingError error) noexcept {
    switch (error) {
    case FramingError::bad_line_ending:
        return "a line does not end in CR LF";
    case FramingError::bad_request_line:
        return "the request line is not method, target and version with single spaces";
    case FramingError::bad_method:
        return "the method is not a token of at most 32 bytes";
    case FramingError::bad_target:
        return "the request target is not a path of printable ASCII or is too long";
    case FramingError::bad_version:
        return "the version is neither HTTP/1.1 nor HTTP/1.0";
    case FramingError::folded_line:
        return "a header field is folded over several lines";
    case FramingError::bad_field_name:
        return "a header field name is not a token followed by a colon";
    case FramingError::bad_field_value:
        return "a header field value contains a control character";
    case FramingError::too_many_fields:
        return "there are too many header fields";
    case FramingError::missing_host:
        return "the Host field is missing";
    case FramingError::repeated_host:
        return "there is more than one Host field";
    case FramingError::bad_host:
        return "the Host field is not a host with an optional port";
    case FramingError::repeated_length:
        return "there is more than one Content-Length";
    case FramingError::bad_length:
        return "Content-Length is not a plain decimal number";
    case FramingError::length_with_encoding:
        return "Content-Length and Transfer-Encoding exclude each other";
    case FramingError::encoding_before_http11:
        return "Transfer-Encoding needs HTTP/1.1";
    case FramingError::bad_encoding:
        return "Transfer-Encoding is not exactly one \"chunked\"";
    }
    return "the request head is malformed";
}

std::expected<Framing, FramingError> check_framing(std::string_view head,
                                                   const FramingLimits& limits) noexcept {
    return Check{limits}.run(head);
}

} // namespace concordat::transport
