// Which bytes may stand where in an HTTP message; one table look-up per byte, no locale.
// Source: RFC 9110 §5.6.2 (token), §5.5 (field values); RFC 3986 §2.3 (unreserved), §3.2.2 (host).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

namespace concordat::transport::detail {

inline constexpr std::uint8_t token_class = 1;
inline constexpr std::uint8_t value_class = 2;  // visible, space, tab, and bytes from 0x80
inline constexpr std::uint8_t target_class = 4; // visible ASCII but '#'
inline constexpr std::uint8_t digit_class = 8;
inline constexpr std::uint8_t unreserved_class = 16;
inline constexpr std::uint8_t host_class = 32; // reg-name or IPv4: unreserved, sub-delims, escapes

inline constexpr std::array<std::uint8_t, 256> character_classes = [] {
    std::array<std::uint8_t, 256> classes{};
    const auto in = [](std::string_view set, unsigned code) {
        return code < 0x80 && set.find(static_cast<char>(code)) != std::string_view::npos;
    };
    for (unsigned code = 0; code < classes.size(); ++code) {
        const bool digit = code >= '0' && code <= '9';
        const bool letter = (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z');
        const bool unreserved = digit || letter || in("-._~", code);
        unsigned bits = 0;
        bits |= digit || letter || in("!#$%&'*+-.^_`|~", code) ? token_class : 0U;
        bits |= code == '\t' || (code >= 0x20 && code != 0x7F) ? value_class : 0U;
        bits |= code > 0x20 && code < 0x7F && code != '#' ? target_class : 0U;
        bits |= digit ? digit_class : 0U;
        bits |= unreserved ? unreserved_class : 0U;
        bits |= unreserved || in("!$&'()*+,;=%", code) ? host_class : 0U;
        classes[code] = static_cast<std::uint8_t>(bits);
    }
    return classes;
}();

[[nodiscard]] constexpr bool is(std::uint8_t character_class, char character) noexcept {
    return (character_classes[static_cast<std::uint8_t>(character)] & character_class) != 0;
}

[[nodiscard]] constexpr bool all(std::uint8_t character_class, std::string_view text) noexcept {
    return std::all_of(text.begin(), text.end(),
                       [&](char character) { return is(character_class, character); });
}

} // namespace concordat::transport::detail
