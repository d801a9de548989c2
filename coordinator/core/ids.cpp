#include "coordinator/core/ids.hpp"

#include <algorithm>
#include <charconv>
#include <limits>

namespace concordat::core {
namespace {

bool is_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}

bool is_lower(char c) noexcept {
    return c >= 'a' && c <= 'z';
}

bool is_xid_character(char c) noexcept {
    return is_digit(c) || is_lower(c) || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == '-';
}

bool is_name_character(char c) noexcept {
    return is_digit(c) || is_lower(c) || c == '-';
}

/// Reads a number without sign and without leading zero from the front of `text`.
std::optional<std::uint64_t> take_number(std::string_view& text) {
    if (text.empty() || !is_digit(text.front()) ||
        (text.front() == '0' && text.size() > 1 && is_digit(text[1]))) {
        return std::nullopt;
    }
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{}) {
        return std::nullopt;
    }
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return number;
}

bool take_character(std::string_view& text, char expected) {
    if (text.empty() || text.front() != expected) {
        return false;
    }
    text.remove_prefix(1);
    return true;
}

} // namespace

std::optional<Xid> parse_xid(std::string_view text) {
    if (text.empty() || text.size() > max_xid_bytes ||
        !std::all_of(text.begin(), text.end(), is_xid_character)) {
        return std::nullopt;
    }
    return Xid{std::string{text}};
}

std::optional<ParticipantName> parse_participant_name(std::string_view text) {
    if (text.empty() || text.size() > max_participant_name_bytes ||
        !std::all_of(text.begin(), text.end(), is_name_character)) {
        return std::nullopt;
    }
    return ParticipantName{std::string{text}};
}

Xid make_server_xid(std::uint16_t group, Epoch epoch, std::uint64_t sequence) {
    // 'g', three numbers and two dashes; 20 digits hold any 64-bit number.
    char buffer[48];
    char* const end = buffer + sizeof buffer;
    char* position = buffer;
    *position++ = 'g';
    position = std::to_chars(position, end, group).ptr;
    *position++ = '-';
    position = std::to_chars(position, end, epoch.value()).ptr;
    *position++ = '-';
    position = std::to_chars(position, end, sequence).ptr;
    return Xid{std::string(buffer, position)};
}

std::optional<ServerXid> parse_server_xid(const Xid& xid) {
    std::string_view text = xid.value();
    if (!take_character(text, 'g')) {
        return std::nullopt;
    }
    const auto group = take_number(text);
    if (!group || *group > std::numeric_limits<std::uint16_t>::max() ||
        !take_character(text, '-')) {
        return std::nullopt;
    }
    const auto epoch = take_number(text);
    if (!epoch || !take_character(text, '-')) {
        return std::nullopt;
    }
    const auto sequence = take_number(text);
    if (!sequence || !text.empty()) {
        return std::nullopt;
    }
    return ServerXid{static_cast<std::uint16_t>(*group), Epoch{*epoch}, *sequence};
}

} // namespace concordat::core
