#include "participant-sdk/relay/envelope.hpp"

#include "participant-sdk/relay/database.hpp"
#include "participant-sdk/src/outbox/record_headers.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>

namespace concordat::relay {
namespace {

constexpr std::string_view placeholder = "${topic}";
constexpr std::chrono::milliseconds oldest_time_stamp = std::chrono::hours(12);

std::string_view default_rule(EnvelopePreset preset) noexcept {
    return preset == EnvelopePreset::debezium ? "outbox.event.${topic}" : "${topic}";
}

} // namespace

std::string format_timestamp(std::int64_t microseconds_since_1970) {
    using namespace std::chrono;
    const sys_time<microseconds> time{microseconds(microseconds_since_1970)};
    const auto day = floor<days>(time);
    const year_month_day date(day);
    const hh_mm_ss<microseconds> clock(time - day);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", static_cast<int>(date.year()),
                       static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                       clock.hours().count(), clock.minutes().count(), clock.seconds().count(),
                       clock.subseconds().count());
}

Envelope::Envelope(EnvelopeOptions options) : options_(std::move(options)) {
    const std::string_view rule =
        options_.topic_rule.empty() ? default_rule(options_.preset) : options_.topic_rule;
    const auto at = rule.find(placeholder);
    topic_prefix_ = rule.substr(0, at);
    has_placeholder_ = at != std::string_view::npos;
    if (has_placeholder_) {
        topic_suffix_ = rule.substr(at + placeholder.size());
    }
}

std::string Envelope::topic(std::string_view row_topic) const {
    if (!has_placeholder_) {
        return topic_prefix_;
    }
    return fmt::format("{}{}{}", topic_prefix_, row_topic, topic_suffix_);
}

std::int64_t Envelope::describe(const RowView& row, std::int64_t now_ms,
                                RecordHeaders& headers) const {
    headers.clear();
    if (options_.preset == EnvelopePreset::debezium) {
        headers.emplace_back(outbox::debezium_id_header, format_uuid(row.event_id));
        if (!options_.type_header.empty()) {
            headers.emplace_back(options_.type_header, row.type);
        }
    } else {
        add_cloudevents(row, headers);
    }
    if (row.headers_json) {
        add_row_headers(*row.headers_json, headers);
    }
    const std::int64_t created_ms = row.created_at_us / 1000;
    if (now_ms - created_ms <= oldest_time_stamp.count()) {
        return created_ms;
    }
    headers.emplace_back(outbox::created_at_header, std::to_string(created_ms));
    return now_ms;
}

void Envelope::add_cloudevents(const RowView& row, RecordHeaders& headers) const {
    headers.emplace_back("ce_specversion", "1.0");
    headers.emplace_back(outbox::cloudevents_id_header, format_uuid(row.event_id));
    headers.emplace_back("ce_source", options_.source);
    // "type" is mandatory in CloudEvents; the topic is the best there is for rows without one.
    headers.emplace_back("ce_type", row.type.empty() ? row.topic : row.type);
    headers.emplace_back("ce_time", format_timestamp(row.created_at_us));
    headers.emplace_back("content-type", options_.content_type);
}

void Envelope::add_row_headers(std::string_view json, RecordHeaders& headers) const {
    const auto object = nlohmann::json::parse(json, nullptr, false);
    if (!object.is_object()) {
        return;
    }
    for (const auto& [name, value] : object.items()) {
        if (outbox::identifies_message(name)) {
            continue;
        }
        std::string text = value.is_string() ? value.get<std::string>()
                                             : value.dump(-1, ' ', false,
                                                          nlohmann::json::error_handler_t::replace);
        const bool cloudevents = options_.preset == EnvelopePreset::cloudevents;
        const auto present = std::ranges::find(headers, name, &RecordHeaders::value_type::first);
        if (present != headers.end()) {
            // What the preset says is not the row's to change.
            if (cloudevents && name == "content-type") {
                present->second = std::move(text);
            }
            continue;
        }
        if (cloudevents && (name == "traceparent" || name == "tracestate")) {
            headers.emplace_back("ce_" + name, text);
        }
        headers.emplace_back(name, std::move(text));
    }
}

} // namespace concordat::relay
