#pragma once

// Bytes as hexadecimal text: the keys of outbox rows and the API's cursors.
//
// Threading: pure functions.

#include <optional>
#include <string>
#include <string_view>

namespace concordat::wire {

/// Two lower-case digits for each byte.
[[nodiscard]] std::string to_hex(std::string_view bytes);
/// The bytes of pairs of digits of either case; nothing when the text is not that.
[[nodiscard]] std::optional<std::string> from_hex(std::string_view hex);

} // namespace concordat::wire
