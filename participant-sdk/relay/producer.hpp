// The idempotent, gapless Kafka producer.
//
// What: an owner of a librdkafka producer handle, configured so that no record is lost, none is
// reordered and none is skipped while the handle lives: idempotence, gapless guarantee, no message
// time-out; and the first record in a partition has to travel alone, see partitions.hpp. The price
// is that an error of one record ends the handle ("fatal"); the owner then purges it, waits for the
// outstanding reports, and makes a new one. Why no transactions: without KIP-890 a transactional
// producer can leave hanging transactions; the event id and the inbox give the same result.
//
// Threading: one thread calls; librdkafka's own threads write to the event descriptor and call the
// log sink. Ownership: key and headers are copied; the value is not and must stay valid until its
// report. Errors: codes of librdkafka, sorted by what has to be done.
// Source: librdkafka INTRODUCTION.md, "Idempotent Producer"; KIP-98.
#pragma once

#include "participant-sdk/relay/envelope.hpp"
#include "participant-sdk/relay/options.hpp"

#include <librdkafka/rdkafka.h>

#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace concordat::relay {

// What a refused record means.
enum class Fault : std::uint8_t {
    none,
    record,   // this record can never be written as it is
    topic,    // no record can be written to this topic as things are
    producer, // nothing about the record: the handle has to be made anew
};
[[nodiscard]] Fault classify(rd_kafka_resp_err_t code) noexcept;

// The settings that every handle of the relay shares: addresses, security, free properties.
using KafkaConfiguration = std::unique_ptr<rd_kafka_conf_t, void (*)(rd_kafka_conf_t*)>;
[[nodiscard]] std::expected<KafkaConfiguration, std::string>
make_kafka_configuration(const Options::Kafka& options);

// What the guarantees rest on, and the limits; the operator's free properties cannot undo it.
[[nodiscard]] std::map<std::string, std::string> producer_settings(const Options::Kafka& options,
                                                                   std::size_t window_rows);

struct OutboundRecord {
    const std::string* topic;
    std::optional<std::string_view> key;
    std::optional<std::string_view> payload;
    std::int64_t timestamp_ms;
    const RecordHeaders* headers;
    void* tag; // given back in the report
};

class Producer {
public:
    struct Listener {
        virtual ~Listener() = default;
        // `partition`: where the record is, if there was no error.
        virtual void on_report(void* tag, rd_kafka_resp_err_t code, std::int32_t partition) = 0;
        // A change for the worse of the connection to the cluster, in words; not an order to act.
        virtual void on_trouble(rd_kafka_resp_err_t code, const std::string& text) = 0;
    };

    // `wake_descriptor` becomes readable when poll() has something to do.
    [[nodiscard]] static std::expected<std::unique_ptr<Producer>, std::string>
    create(const Options::Kafka& options, std::size_t window_rows, int wake_descriptor,
           Listener& listener);
    ~Producer();
    Producer(const Producer&) = delete;
    Producer& operator=(const Producer&) = delete;

    // NO_ERROR: a report will follow. _QUEUE_FULL: try again later. Anything else: refused at once,
    // nothing was queued.
    [[nodiscard]] rd_kafka_resp_err_t produce(const OutboundRecord& record);
    // Where records with this key go while their topic has that many partitions.
    [[nodiscard]] static std::int32_t partition_of(std::string_view key, std::int32_t partitions);
    // Delivers reports; the number of events served.
    int poll();
    // Gives up everything queued and in flight; reports follow. Records in flight may be written.
    void purge();
    // Gives up what was not handed to a broker; reports follow. The handle is for nothing new then.
    void purge_queued();
    // The reason why this handle is of no more use.
    [[nodiscard]] const std::optional<std::string>& fatal() const noexcept { return fatal_; }
    [[nodiscard]] std::size_t outstanding() const noexcept { return outstanding_; }

private:
    explicit Producer(Listener& listener) noexcept : listener_(listener) {}
    static void report(rd_kafka_t* handle, const rd_kafka_message_t* message, void* self);
    static void trouble(rd_kafka_t* handle, int code, const char* reason, void* self);
    [[nodiscard]] rd_kafka_topic_t* topic(const std::string& name);

    Listener& listener_;
    rd_kafka_t* handle_ = nullptr;
    std::unordered_map<std::string, rd_kafka_topic_t*> topics_;
    std::optional<std::string> fatal_;
    std::size_t outstanding_ = 0;
};

} // namespace concordat::relay
