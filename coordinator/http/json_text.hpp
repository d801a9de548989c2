#pragma once

// Writing JSON and the two textual types of the API, times and durations, by appending to one
// string: the replies are small and frequent, a document tree would cost more than the decision.
//
// Threading: pure functions. Errors: only parse_duration can fail.

#include "coordinator/core/ids.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace concordat::http {

/// Appends `text` quoted and escaped. Bytes that are not UTF-8 become U+FFFD, so that the reply is
/// JSON whatever a participant put into its reason.
void append_json_string(std::string& out, std::string_view text);
void append_number(std::string& out, std::uint64_t value);
/// Appends a quoted RFC 3339 UTC time with milliseconds: "2026-01-31T08:00:00.000Z".
void append_time(std::string& out, core::WallTime time);

/// "250ms", "10s", "5m", "2h": the form used in the API, the CLI and configuration files.
/// Nothing when the text is not one, or is longer than 365 days.
[[nodiscard]] std::optional<core::Duration> parse_duration(std::string_view text);
/// The shortest exact form, in milliseconds or a bigger unit.
[[nodiscard]] std::string format_duration(core::Duration duration);

} // namespace concordat::http
