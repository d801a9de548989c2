// Names of Kafka headers that tell which message a record is.
//
// What: the relay writes them, the inbox reads them, publish() refuses them, and the relay leaves
// them out of a row that has them all the same.
// Why: a message that brings its own identity can be taken for another one and dropped as a repeat.
#pragma once

#include <string_view>

namespace concordat::outbox {

// The event id; one of them, by the relay's preset.
inline constexpr const char* debezium_id_header = "id";
inline constexpr const char* cloudevents_id_header = "ce_id";
// When the row was written, in milliseconds since 1970, if the record bears another time.
inline constexpr const char* created_at_header = "outbox-created-at";

[[nodiscard]] constexpr bool identifies_message(std::string_view header) noexcept {
    return header == debezium_id_header || header == cloudevents_id_header ||
           header == created_at_header;
}

} // namespace concordat::outbox
