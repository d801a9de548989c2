#include "participant-sdk/relay/event_log.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <iterator>

namespace concordat::relay {
namespace {

std::atomic<bool> as_json{true};

spdlog::level::level_enum level_of(Severity severity) noexcept {
    switch (severity) {
    case Severity::debug:
        return spdlog::level::debug;
    case Severity::info:
        return spdlog::level::info;
    case Severity::warning:
        return spdlog::level::warn;
    case Severity::error:
        return spdlog::level::err;
    }
    return spdlog::level::err;
}

std::string json_string(std::string_view text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string render(const LogField& field) {
    if (const auto* number = std::get_if<std::int64_t>(&field.value)) {
        return std::to_string(*number);
    }
    if (const auto* flag = std::get_if<bool>(&field.value)) {
        return *flag ? "true" : "false";
    }
    return json_string(std::get<std::string>(field.value));
}

} // namespace

void set_up_log(const Options::Log& options) {
    auto logger = std::make_shared<spdlog::logger>(
        "relay", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    as_json = options.format == "json";
    if (as_json) {
        logger->set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%fZ","level":"%l",%v})",
                            spdlog::pattern_time_type::utc);
    } else {
        logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %-7l %v");
    }
    logger->set_level(spdlog::level::from_str(options.level));
    logger->flush_on(spdlog::level::debug);
    spdlog::set_default_logger(std::move(logger));
}

void log_event(Severity severity, std::string_view event, std::initializer_list<LogField> fields) {
    spdlog::logger* logger = spdlog::default_logger_raw();
    if (!logger->should_log(level_of(severity))) {
        return;
    }
    std::string line;
    if (as_json) {
        line = fmt::format(R"("event":{})", json_string(event));
        for (const LogField& field : fields) {
            fmt::format_to(std::back_inserter(line), R"(,"{}":{})", field.name, render(field));
        }
    } else {
        line = event;
        for (const LogField& field : fields) {
            fmt::format_to(std::back_inserter(line), " {}={}", field.name, render(field));
        }
    }
    logger->log(level_of(severity), spdlog::string_view_t(line));
}

} // namespace concordat::relay
