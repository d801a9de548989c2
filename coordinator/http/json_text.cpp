#include "coordinator/http/json_text.hpp"

#include <array>
#include <charconv>
#include <system_error>

namespace concordat::http {
namespace {

constexpr std::string_view replacement_character = "\xEF\xBF\xBD";

void append_digits(std::string& out, std::uint64_t value, std::size_t width) {
    std::array<char, 20> buffer{};
    const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
    static_cast<void>(error); // twenty digits always fit
    const auto length = static_cast<std::size_t>(end - buffer.data());
    if (length < width) {
        out.append(width - length, '0');
    }
    out.append(buffer.data(), length);
}

void append_escape(std::string& out, unsigned char c) {
    static constexpr std::string_view hex = "0123456789abcdef";
    switch (c) {
    case '"':
        out += "\\\"";
        return;
    case '\\':
        out += "\\\\";
        return;
    case '\n':
        out += "\\n";
        return;
    case '\r':
        out += "\\r";
        return;
    case '\t':
        out += "\\t";
        return;
    default:
        break;
    }
    out += "\\u00";
    out += hex[c >> 4U];
    out += hex[c & 0xFU];
}

/// Bytes of the UTF-8 sequence at the start of `text`; 0 when it is malformed.
std::size_t sequence_length(std::string_view text) {
    const auto first = static_cast<unsigned char>(text.front());
    std::size_t length = 0;
    if (first >= 0xC2 && first <= 0xDF) {
        length = 2;
    } else if (first >= 0xE0 && first <= 0xEF) {
        length = 3;
    } else if (first >= 0xF0 && first <= 0xF4) {
        length = 4;
    }
    if (length == 0 || text.size() < length) {
        return 0;
    }
    for (std::size_t i = 1; i < length; ++i) {
        if ((static_cast<unsigned char>(text[i]) & 0xC0U) != 0x80U) {
            return 0;
        }
    }
    const auto second = static_cast<unsigned char>(text[1]);
    const bool outside = (first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) ||
                         (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F);
    return outside ? 0 : length;
}

struct Unit {
    std::string_view suffix;
    core::Duration size;
};
constexpr std::array<Unit, 4> units{{{"h", std::chrono::hours{1}},
                                     {"m", std::chrono::minutes{1}},
                                     {"s", std::chrono::seconds{1}},
                                     {"ms", std::chrono::milliseconds{1}}}};
constexpr core::Duration longest_duration = std::chrono::hours{24 * 365};

} // namespace

void append_json_string(std::string& out, std::string_view text) {
    out += '"';
    std::size_t plain_begin = 0;
    std::size_t at = 0;
    const auto flush = [&] { out.append(text, plain_begin, at - plain_begin); };
    while (at < text.size()) {
        const auto c = static_cast<unsigned char>(text[at]);
        if (c >= 0x20 && c < 0x7F && c != '"' && c != '\\') {
            ++at;
            continue;
        }
        if (c >= 0x80) {
            if (const std::size_t length = sequence_length(text.substr(at)); length != 0) {
                at += length;
                continue;
            }
        }
        flush();
        if (c >= 0x80) {
            out += replacement_character;
        } else {
            append_escape(out, c);
        }
        ++at;
        plain_begin = at;
    }
    flush();
    out += '"';
}

void append_number(std::string& out, std::uint64_t value) {
    append_digits(out, value, 1);
}

void append_time(std::string& out, core::WallTime time) {
    using namespace std::chrono;
    const auto day = floor<days>(time);
    const year_month_day date{day};
    const hh_mm_ss<milliseconds> clock{time - day};
    out += '"';
    append_digits(out, static_cast<std::uint64_t>(static_cast<int>(date.year())), 4);
    out += '-';
    append_digits(out, static_cast<unsigned>(date.month()), 2);
    out += '-';
    append_digits(out, static_cast<unsigned>(date.day()), 2);
    out += 'T';
    append_digits(out, static_cast<std::uint64_t>(clock.hours().count()), 2);
    out += ':';
    append_digits(out, static_cast<std::uint64_t>(clock.minutes().count()), 2);
    out += ':';
    append_digits(out, static_cast<std::uint64_t>(clock.seconds().count()), 2);
    out += '.';
    append_digits(out, static_cast<std::uint64_t>(clock.subseconds().count()), 3);
    out += "Z\"";
}

std::optional<core::Duration> parse_duration(std::string_view text) {
    std::int64_t count = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (error != std::errc{} || count < 0 || text.front() == '-') {
        return std::nullopt;
    }
    const std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
    for (const Unit& unit : units) {
        if (suffix == unit.suffix) {
            if (count > longest_duration / unit.size) {
                return std::nullopt;
            }
            return count * unit.size;
        }
    }
    return std::nullopt;
}

std::string format_duration(core::Duration duration) {
    if (duration > core::Duration::zero()) {
        for (const Unit& unit : units) {
            if (duration % unit.size == core::Duration::zero()) {
                return std::to_string(duration / unit.size) + std::string(unit.suffix);
            }
        }
    }
    return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count()) +
           "ms";
}

} // namespace concordat::http
