#pragma once

// Log lines of concordatd: one JSON object a line on stderr, or text on a terminal. Event names are
// stable; payloads never appear.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace concordat::app {

enum class LogLevel : unsigned char { debug, info, warning, error };

using LogFields = std::vector<std::pair<std::string_view, std::string>>;

/// Sets level ("trace" … "error") and format ("json", "text", "auto"). Call once, from main.
void configure_logging(const std::string& level, const std::string& format);
/// Thread-safe, does not throw.
void log_event(LogLevel level, std::string_view event, const LogFields& fields = {}) noexcept;

} // namespace concordat::app
