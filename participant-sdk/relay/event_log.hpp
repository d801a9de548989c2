// The relay's log: one event a line on stderr, JSON for machines or text for people.
//
// What: log_event() writes a stable event name and fields. Values are escaped; payloads and keys of
// messages never go into the log.
// Threading: any thread. Errors: none.
#pragma once

#include "participant-sdk/relay/options.hpp"

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

namespace concordat::relay {

enum class Severity : std::uint8_t { debug, info, warning, error };

struct LogField {
    std::string_view name;
    std::variant<std::int64_t, bool, std::string> value;

    LogField(std::string_view field, std::string text) : name(field), value(std::move(text)) {}
    LogField(std::string_view field, std::string_view text)
        : name(field), value(std::string(text)) {}
    LogField(std::string_view field, const char* text) : name(field), value(std::string(text)) {}
    LogField(std::string_view field, bool flag) : name(field), value(flag) {}
    template <typename Integer>
        requires std::is_integral_v<Integer>
    LogField(std::string_view field, Integer number)
        : name(field), value(static_cast<std::int64_t>(number)) {}
};

// Once, before the first event.
void set_up_log(const Options::Log& options);
void log_event(Severity severity, std::string_view event,
               std::initializer_list<LogField> fields = {});

} // namespace concordat::relay
