// Acting on a message exactly once: the idempotent Kafka consumer.
//
// What: reads records, and for each one that is new runs the service's handler inside a PostgreSQL
// transaction that also records the message id. The effect and the fact that it happened commit
// together; a record that is delivered again finds the id and is skipped. Offsets are stored only
// after the commit.
// Why: brokers deliver at least once; a crash between effect and offset repeats the record.
//
// Identity: header "id" (Debezium preset of concordat-relay), else "ce_id" (CloudEvents), else
// topic/partition/offset, which cannot recognise a duplicate that was produced twice. An id that is
// longer than 200 bytes or not printable ASCII is kept as "sha256:" and its digest in hexadecimal.
// Order: records of a partition are handled in their order. While one fails, its partition waits
// and the others go on.
// Forgetting: ids are kept for `keep` and then dropped by whole days. A record that is delivered
// later than that is acted on again, so `keep` must exceed the topics' retention. The day is that
// of the record's creation time; topics with LogAppendTime have none, and their ids are never
// dropped.
//
// Threading: run() occupies the calling thread, and the handler runs on it; stop() and statistics()
// from any thread. Ownership: the handler is kept. Errors: none leave run() but those that no retry
// can cure, at the start; everything later is retried, logged through `on_event`, and counted. A
// handler that throws has failed.
// Durability: effects are on disk before the offset is stored, whatever the database's default
// (synchronous_commit is switched on where it is off).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pqxx {
class transaction_base;
} // namespace pqxx

namespace concordat::inbox {

// Views into the record; valid during the handler's call.
struct Record {
    std::string message_id; // as it is kept
    std::string_view topic;
    std::int32_t partition = 0;
    std::int64_t offset = 0;
    std::optional<std::string_view> key;
    std::optional<std::string_view> payload; // none: a tombstone
    std::vector<std::pair<std::string_view, std::string_view>> headers;
    std::int64_t timestamp_ms = 0; // the row's, where the relay tells it in a header; 0: none

    [[nodiscard]] std::optional<std::string_view> header(std::string_view name) const noexcept;
};

struct HandlerError {
    std::string detail;
    // False: trying again is pointless; the record goes the way of `on_failure` at once.
    bool retry = true;
};
// Does its work through the given transaction only, and neither commits nor aborts it.
using Handler =
    std::function<std::expected<void, HandlerError>(pqxx::transaction_base&, const Record&)>;

enum class OnFailure : std::uint8_t {
    block,       // try for ever, with pauses: the partition waits
    dead_letter, // after max_attempts to the dead-letter topic, then on with the next record
};

struct Event {
    enum class Kind : std::uint8_t {
        assigned,      // partitions were given to this consumer
        revoked,       // partitions were taken away
        retrying,      // a record failed and will be tried again
        dead_lettered, // a record went to the dead-letter topic
        trouble,       // database or broker away; going on
    };
    Kind kind;
    std::string detail;
};

struct Options {
    std::string consumer; // the name under which ids are kept; 1 to 200 bytes, stable for ever
    std::string bootstrap_servers;
    std::string group; // empty: the consumer's name
    std::vector<std::string> topics;
    std::string conninfo; // libpq; the database of the effects
    std::map<std::string, std::string> kafka_properties;

    std::size_t batch_records = 500; // handled in one transaction
    std::chrono::milliseconds batch_wait{5};
    std::chrono::milliseconds first_retry{100};
    std::chrono::milliseconds longest_retry{30'000};
    OnFailure on_failure = OnFailure::block;
    unsigned max_attempts = 10;    // dead_letter only
    std::string dead_letter_topic; // dead_letter only
    std::chrono::hours keep{8 * 24};
    // Called on the thread of run().
    std::function<void(const Event&)> on_event;
};

struct Statistics {
    std::uint64_t handled = 0;    // effects committed
    std::uint64_t duplicates = 0; // records whose id was there already
    std::uint64_t failures = 0;   // handler calls that failed
    std::uint64_t dead_lettered = 0;
    std::uint64_t batches = 0; // transactions committed
};

struct Error {
    std::string detail;
};

class Consumer {
public:
    // Checks the options and connects to nothing yet.
    [[nodiscard]] static std::expected<std::unique_ptr<Consumer>, Error> create(Options options,
                                                                                Handler handler);
    ~Consumer();
    Consumer(const Consumer&) = delete;
    Consumer& operator=(const Consumer&) = delete;

    // Until stop(): what is in hand is committed, its offsets too, and the group is left.
    [[nodiscard]] std::expected<void, Error> run();
    void stop() noexcept;
    [[nodiscard]] Statistics statistics() const noexcept;

private:
    class State;
    explicit Consumer(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

} // namespace concordat::inbox
