#include "coordinator/app/logging.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

namespace concordat::app {

namespace {

bool as_json = true;

void append_escaped(std::string& out, std::string_view text) {
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
            out += c;
        }
    }
}

spdlog::level::level_enum to_spdlog(LogLevel level) {
    switch (level) {
    case LogLevel::debug:
        return spdlog::level::debug;
    case LogLevel::info:
        return spdlog::level::info;
    case LogLevel::warning:
        return spdlog::level::warn;
    case LogLevel::error:
        return spdlog::level::err;
    }
    return spdlog::level::err;
}

std::string render(std::string_view event, const LogFields& fields) {
    std::string line;
    if (as_json) {
        line += "\"event\":\"";
        append_escaped(line, event);
        line += '"';
        for (const auto& [name, value] : fields) {
            line += ",\"";
            append_escaped(line, name);
            line += "\":\"";
            append_escaped(line, value);
            line += '"';
        }
        return line;
    }
    line += event;
    for (const auto& [name, value] : fields) {
        line += fmt::format(" {}={}", name, value);
    }
    return line;
}

} // namespace

void configure_logging(const std::string& level, const std::string& format) {
    as_json = format == "json" || (format == "auto" && isatty(STDERR_FILENO) == 0);
    auto logger = spdlog::stderr_logger_mt("concordat");
    logger->set_pattern(as_json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})"
                                : "%Y-%m-%dT%H:%M:%S.%eZ %-7l %v",
                        spdlog::pattern_time_type::utc);
    logger->set_level(spdlog::level::from_str(level));
    logger->flush_on(spdlog::level::info);
    spdlog::set_default_logger(std::move(logger));
}

void log_event(LogLevel level, std::string_view event, const LogFields& fields) noexcept {
    try {
        if (spdlog::should_log(to_spdlog(level))) {
            spdlog::log(to_spdlog(level), "{}", render(event, fields));
        }
    } catch (...) {
        // A log line that cannot be written must not stop a coordinator.
    }
}

} // namespace concordat::app
