// Publishing a message together with a business change: the transactional outbox.
//
// What: publish() writes the message into the outbox table inside the caller's transaction, an
// ordinary one or one that ends with PREPARE TRANSACTION. concordat-relay forwards it to Kafka once
// that transaction has committed. If it rolls back, the message never existed.
// Why: a service that writes to its database and to a broker separately can lose one of the two.
//
// Order: messages of one key reach Kafka in the order in which their transactions committed, if
// those transactions exclude each other: take the lock of the business row first, publish last.
// Delivery: at least once. Every delivery carries the same event id, which concordat::inbox uses to
// act on it once.
//
// Threading: like the transaction it is given; no state of its own but an atomic in wake().
// Ownership: nothing is kept after the call. Durability: that of the transaction.
// Errors: PublishError. After `database_error` the transaction is unusable and must be rolled back;
// after any other error nothing was sent and it goes on. No exception leaves these functions.
#pragma once

#include <pqxx/pqxx> // connection_base is a class of its own in libpqxx 6, another name in 7

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace concordat::outbox {

// The limits are those of the table and of Kafka's default topic settings.
inline constexpr std::size_t topic_limit_bytes = 249;
inline constexpr std::size_t key_limit_bytes = 4096;
inline constexpr std::size_t type_limit_bytes = 255;
inline constexpr std::size_t headers_limit_bytes = 8192; // as JSON
inline constexpr std::size_t payload_limit_bytes = 900'000;

struct Message {
    // Where to: the name that the relay's topic rule turns into the Kafka topic. Letters, digits,
    // '.', '_' and '-' only.
    std::string topic;
    // Order is kept among messages of one key. Without a key there is no order.
    std::optional<std::string> key;
    // Any bytes; they reach the consumer untouched. No value: a Kafka tombstone.
    std::optional<std::string> payload;
    // The kind of event, "order.placed"; part of the envelope.
    std::string type;
    // UTF-8 text; names at most once. "traceparent" is carried on as W3C trace context. "id",
    // "ce_id" and "outbox-created-at" are refused: by them consumers know the message.
    std::vector<std::pair<std::string, std::string>> headers;
    // A UUID; made by the database when empty.
    std::string event_id;
};

struct PublishError {
    enum class Kind : std::uint8_t {
        invalid_message, // a limit or a format; effect none
        database_error,  // the statement failed; the transaction is lost
    };
    Kind kind;
    std::string detail; // one sentence, without payload
};

// Returns the event id.
[[nodiscard]] std::expected<std::string, PublishError> publish(pqxx::transaction_base& transaction,
                                                               const Message& message);

// Wakes a relay that has gone to sleep for want of rows: worth up to 50 ms of latency for a service
// that publishes rarely. Call it after the commit, on a connection without an open transaction; at
// most one call in 20 ms per process reaches the database. Never inside the publishing transaction:
// NOTIFY makes commits wait for each other. False: not sent, which does no harm.
bool wake(pqxx::connection_base& connection) noexcept;

} // namespace concordat::outbox
