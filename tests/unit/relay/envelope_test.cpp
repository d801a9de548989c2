#include "participant-sdk/relay/envelope.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>

namespace concordat::relay {
namespace {

const std::string event_id = std::string("\x12\x34\x56\x78\x9a\xbc\xde\xf0", 8) +
                             std::string("\x01\x23\x45\x67\x89\xab\xcd\xef", 8);

RowView row() {
    RowView view;
    view.event_id = event_id;
    view.created_at_us = 1'706'745'599'999'001;
    view.topic = "Order";
    view.type = "OrderCreated";
    return view;
}

constexpr std::int64_t just_now = 1'706'745'600'000; // milliseconds since 1970, as describe() wants

std::string find(const RecordHeaders& headers, std::string_view name) {
    for (const auto& [header, value] : headers) {
        if (header == name) {
            return value;
        }
    }
    return "(none)";
}

TEST(Envelope, debezium_names_topic_and_id_as_the_router_does) {
    // The default settings of the outbox event router: one header, a prefixed topic.
    const Envelope envelope({});
    RecordHeaders headers;
    EXPECT_EQ(envelope.describe(row(), just_now, headers), 1'706'745'599'999);
    EXPECT_EQ(envelope.topic("Order"), "outbox.event.Order");
    EXPECT_EQ(headers, (RecordHeaders{{"id", "12345678-9abc-def0-0123-456789abcdef"}}));
}

TEST(Envelope, topic_rule_replaces_the_placeholder_or_names_one_topic) {
    // A rule of the operator wins over the preset's.
    EXPECT_EQ(Envelope({.topic_rule = "a.${topic}.b"}).topic("x"), "a.x.b");
    EXPECT_EQ(Envelope({.topic_rule = "everything"}).topic("x"), "everything");
    EXPECT_EQ(Envelope({.preset = EnvelopePreset::cloudevents}).topic("x"), "x");
}

TEST(Envelope, cloudevents_carries_the_mandatory_attributes_and_trace_context) {
    // CloudEvents 1.0 needs id, source, specversion and type; traceparent is an extension.
    RowView view = row();
    view.headers_json = R"({"traceparent":"00-a-b-01","n":1})";
    RecordHeaders headers;
    const Envelope envelope({.preset = EnvelopePreset::cloudevents, .source = "/shop"});
    EXPECT_EQ(envelope.describe(view, just_now, headers), 1'706'745'599'999);
    EXPECT_EQ(find(headers, "ce_specversion"), "1.0");
    EXPECT_EQ(find(headers, "ce_id"), "12345678-9abc-def0-0123-456789abcdef");
    EXPECT_EQ(find(headers, "ce_source"), "/shop");
    EXPECT_EQ(find(headers, "ce_type"), "OrderCreated");
    EXPECT_EQ(find(headers, "ce_time"), "2024-01-31T23:59:59.999001Z");
    EXPECT_EQ(find(headers, "ce_traceparent"), "00-a-b-01");
    EXPECT_EQ(find(headers, "traceparent"), "00-a-b-01");
    EXPECT_EQ(find(headers, "n"), "1");
}

TEST(Envelope, row_headers_cannot_replace_what_identifies_the_event) {
    // The inbox reads "id" or "ce_id" and the day of the row: no row may bring its own.
    RowView view = row();
    view.headers_json = R"({"id":"forged","ce_id":"forged","outbox-created-at":"1","x":"y"})";
    const std::string id = "12345678-9abc-def0-0123-456789abcdef";
    RecordHeaders headers;
    std::ignore = Envelope({}).describe(view, just_now, headers);
    EXPECT_EQ(headers, (RecordHeaders{{"id", id}, {"x", "y"}}));
    const Envelope cloudevents({.preset = EnvelopePreset::cloudevents});
    std::ignore = cloudevents.describe(view, just_now, headers);
    EXPECT_EQ(find(headers, "ce_id"), id);
    EXPECT_EQ(find(headers, "x"), "y");
    EXPECT_EQ(headers.size(), 7U) << "six of CloudEvents, one of the row";
}

TEST(Envelope, row_that_waited_for_more_than_half_a_day_bears_the_time_of_sending) {
    // Brokers forget a producer by the age of its records; the row's own time goes on in a header.
    using namespace std::chrono;
    const Envelope envelope({});
    const std::int64_t created = row().created_at_us / 1000;
    const std::int64_t limit = created + milliseconds(12h).count();
    RowView view = row();
    view.headers_json = R"({"outbox-created-at":"1"})";
    RecordHeaders headers;
    EXPECT_EQ(envelope.describe(view, limit, headers), created);
    EXPECT_EQ(find(headers, "outbox-created-at"), "(none)");
    EXPECT_EQ(envelope.describe(view, limit + 1, headers), limit + 1);
    EXPECT_EQ(find(headers, "outbox-created-at"), std::to_string(created));
    EXPECT_EQ(headers.size(), 2U) << "and the id";
}

} // namespace
} // namespace concordat::relay
