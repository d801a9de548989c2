// The consumer's side of Kafka: records in, offsets and pauses out.
//
// What: owns a librdkafka consumer whose offsets are stored by hand and committed by it. A batch is
// collected by poll(); partitions that are revoked meanwhile lose their records from the batch, so
// that nothing is handled for a partition that another consumer owns already.
//
// Threading: one thread. Ownership: messages belong to the batch. Errors: in words, through
// SourceListener; none is final after open().
#pragma once

#include <concordat/inbox.hpp>

#include <librdkafka/rdkafka.h>

#include <chrono>
#include <expected>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace concordat::inbox {

struct DestroyMessage {
    void operator()(rd_kafka_message_t* message) const noexcept {
        rd_kafka_message_destroy(message);
    }
};
using Message = std::unique_ptr<rd_kafka_message_t, DestroyMessage>;
using Partition = std::pair<std::string, std::int32_t>;

[[nodiscard]] Partition partition_of(const rd_kafka_message_t& message);
[[nodiscard]] Record to_record(const rd_kafka_message_t& message);
// The day under which the record's id is kept, "2026-01-31"; 1970-01-01 without a creation time.
[[nodiscard]] std::string day_of(const rd_kafka_message_t& message);

struct SourceListener {
    virtual ~SourceListener() = default;
    virtual void on_source_event(Event::Kind kind, const std::string& detail) = 0;
    virtual void on_revoked(const std::vector<Partition>& partitions) = 0;
};

class KafkaSource {
public:
    [[nodiscard]] static std::expected<std::unique_ptr<KafkaSource>, std::string>
    open(const Options& options, SourceListener& listener);
    ~KafkaSource();
    KafkaSource(const KafkaSource&) = delete;
    KafkaSource& operator=(const KafkaSource&) = delete;

    // Waits up to `patience` for a first record, then collects for batch_wait.
    [[nodiscard]] std::vector<Message> poll(std::chrono::milliseconds patience);
    // Everything up to these records (inclusive) is done.
    void store(const std::map<Partition, std::int64_t>& offsets);
    // Stops delivery and goes back, so that `offset` is the next one after resume(). False: it is
    // not known whether it went back; ask again before resume().
    [[nodiscard]] bool pause_at(const Partition& partition, std::int64_t offset);
    void resume(const Partition& partition);
    // Commits what is stored and leaves the group.
    void close();

private:
    KafkaSource(const Options& options, SourceListener& listener) noexcept
        : options_(options), listener_(listener) {}
    static void rebalance(rd_kafka_t* handle, rd_kafka_resp_err_t code,
                          rd_kafka_topic_partition_list_t* partitions, void* self);
    void revoke(const rd_kafka_topic_partition_list_t* partitions);

    const Options& options_;
    SourceListener& listener_;
    rd_kafka_t* handle_ = nullptr;
    std::vector<Message> collected_;
    std::set<Partition> paused_;
};

} // namespace concordat::inbox
