#pragma once

// Times and durations as the API, the CLI and configuration files spell them. Replies are written
// by appending to one string, with these and participant-sdk/src/wire/json_text.hpp: they are small
// and frequent, a document tree would cost more than the decision.
//
// Threading: pure functions. Errors: only parse_duration can fail.

#include "coordinator/core/ids.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace concordat::http {

/// Appends a quoted RFC 3339 UTC time with milliseconds: "2026-01-31T08:00:00.000Z".
void append_time(std::string& out, core::WallTime time);

/// "250ms", "10s", "5m", "2h": the form used in the API, the CLI and configuration files.
/// Nothing when the text is not one, or is longer than 365 days.
[[nodiscard]] std::optional<core::Duration> parse_duration(std::string_view text);
/// The shortest exact form, in milliseconds or a bigger unit.
[[nodiscard]] std::string format_duration(core::Duration duration);

} // namespace concordat::http
