// How an outbox row looks as a Kafka record.
//
// What: the topic by rule, the headers by preset; key and payload pass through untouched.
//   debezium     what the Debezium outbox event router emits with its default settings: topic
//                "outbox.event.<topic>", key, payload, header "id" with the event id. The type goes
//                into a header only if type_header names one (the router's "additional placement").
//   cloudevents  CloudEvents 1.0, Kafka protocol binding, binary content mode: "ce_*" headers and
//                "content-type".
// Headers of the row follow, "traceparent" among them, so both presets carry W3C trace context.
// Those that tell which message it is (src/outbox/record_headers.hpp) are not the row's to bring.
//
// Threading: const after construction, any thread. Errors: none; headers that are not an object of
// strings are passed as their JSON text.
// Sources: Debezium documentation, "Outbox Event Router"; CloudEvents 1.0.2, Kafka binding §3.2;
// CloudEvents Distributed Tracing extension.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace concordat::relay {

enum class EnvelopePreset : std::uint8_t { debezium, cloudevents };

struct EnvelopeOptions {
    EnvelopePreset preset = EnvelopePreset::debezium;
    std::string topic_rule; // "${topic}" stands for the row's topic; empty: the preset's own rule
    std::string source = "/concordat/outbox";      // ce_source
    std::string content_type = "application/json"; // unless the row has a "content-type" header
    std::string type_header;                       // debezium only; empty: none
};

// A row as read from the database; views into the result.
struct RowView {
    std::string_view event_id;      // 16 bytes
    std::int64_t created_at_us = 0; // since 1970
    std::string_view topic;
    std::optional<std::string_view> key;
    std::string_view type;
    std::optional<std::string_view> headers_json;
};

using RecordHeaders = std::vector<std::pair<std::string, std::string>>;

class Envelope {
public:
    explicit Envelope(EnvelopeOptions options);

    [[nodiscard]] std::string topic(std::string_view row_topic) const;
    // What a record tells beside key and payload: replaces the content of `headers`, whose memory
    // is used again, and returns the time stamp. All times in milliseconds since 1970.
    //
    // The time is the row's. Brokers forget a producer by the time stamps of its records, after a
    // day unless told otherwise (producer.id.expiration.ms), and take any batch of one that they do
    // not know. A row that has waited for more than 12 hours bears the time of sending, `now_ms`,
    // and its own in the header created_at_header: consumers know repeats by the day of the row.
    [[nodiscard]] std::int64_t describe(const RowView& row, std::int64_t now_ms,
                                        RecordHeaders& headers) const;

private:
    void add_cloudevents(const RowView& row, RecordHeaders& headers) const;
    void add_row_headers(std::string_view json, RecordHeaders& headers) const;

    EnvelopeOptions options_;
    std::string topic_prefix_;
    std::string topic_suffix_;
    bool has_placeholder_ = true; // without one, the rule names the one topic for all rows
};

// RFC 3339 in UTC with microseconds.
[[nodiscard]] std::string format_timestamp(std::int64_t microseconds_since_1970);

} // namespace concordat::relay
