// Rows of the outbox on their way through the relay.
//
// A batch owns the database's result; its rows and the records made from them point into it, so it
// lives until the last of its rows is acknowledged or dropped. A payload above the inline limit
// comes later, in a result of its own, when the row's turn has come.
#pragma once

#include "participant-sdk/relay/database.hpp"
#include "participant-sdk/relay/envelope.hpp"
#include "participant-sdk/relay/partitions.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace concordat::relay {

struct Batch;

// A topic as the rows name it, and how it fares at Kafka.
struct Topic {
    std::string kafka_topic;
    bool ready = false; // known to the cluster
    Partitions partitions;
    bool stalled = false; // nothing acknowledged for too long: one row tries it, the others wait
    std::size_t at_kafka = 0;  // rows sent and not reported
    std::size_t set_aside = 0; // rows that wait until their partition is open
    // The latest acknowledgement, or when the first of the rows at Kafka was sent.
    std::chrono::steady_clock::time_point last_progress{};
};

struct Row {
    enum class State : std::uint8_t { waiting, set_aside, sent, finished };

    Batch* batch;
    std::int64_t id;
    std::int64_t created_at_us; // since 1970
    std::int32_t index;         // in the result
    std::uint16_t bucket;
    State state;
    bool payload_elsewhere;      // larger than the inline limit
    Topic* topic = nullptr;      // of a row that was sent or set aside
    std::int32_t partition = -1; // where it is expected to go; -1: without a key
};

// A row as it was sent. After a crash of the database another event may have its id.
struct RowIdentity {
    std::int64_t id;
    std::int16_t bucket;
    Uuid event_id;
};

struct Batch {
    explicit Batch(Result rows_result) : result(std::move(rows_result)) {}

    Result result;
    std::vector<Row> rows; // by id
    std::size_t next = 0;  // the first row that waits for its turn
    std::size_t unfinished = 0;
    std::size_t bytes = 0;
    // Payloads that came later: row id → result and row in it.
    std::unordered_map<std::int64_t, std::pair<std::shared_ptr<Result>, int>> payloads;

    [[nodiscard]] RowView view(const Row& row) const;
    [[nodiscard]] RowIdentity identity(const Row& row) const;
    [[nodiscard]] std::string_view topic(const Row& row) const;
    [[nodiscard]] std::optional<std::string_view> key(const Row& row) const;
    // Empty optional: NULL. Only when the payload is here.
    [[nodiscard]] std::optional<std::string_view> payload(const Row& row) const;
    [[nodiscard]] bool has_payload(const Row& row) const {
        return !row.payload_elsewhere || payloads.contains(row.id);
    }
    [[nodiscard]] std::int32_t payload_bytes(const Row& row) const;
    // What a row counts for in memory; its payload only if it is in the result.
    [[nodiscard]] std::size_t bytes_here(const Row& row) const;
    // A batch of this row only, with its payload if it is here: it keeps none of the others.
    [[nodiscard]] std::unique_ptr<Batch> row_alone(const Row& row) const;
};

// The columns that every reading statement selects, in this order.
namespace row_column {
inline constexpr int bucket = 0;
inline constexpr int id = 1;
inline constexpr int event_id = 2;
inline constexpr int created_at = 3;
inline constexpr int topic = 4;
inline constexpr int key = 5;
inline constexpr int type = 6;
inline constexpr int headers = 7;
inline constexpr int payload = 8; // NULL above the inline limit
inline constexpr int payload_bytes = 9;
} // namespace row_column

// Microseconds since 1970 from the server's binary timestamp, which counts from 2000.
[[nodiscard]] constexpr std::int64_t from_server_time(std::int64_t microseconds) noexcept {
    return microseconds + 946'684'800'000'000;
}

} // namespace concordat::relay
