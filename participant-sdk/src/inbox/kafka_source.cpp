#include "participant-sdk/src/inbox/kafka_source.hpp"

#include "participant-sdk/src/outbox/record_headers.hpp"
#include "participant-sdk/src/wire/hex.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <stdexcept>
#include <system_error>

namespace concordat::inbox {
namespace {

constexpr int seek_timeout_ms = 5000;
constexpr std::int64_t year_2200_ms = 7'258'118'400'000;

class PartitionList {
public:
    PartitionList() : list_(rd_kafka_topic_partition_list_new(4)) {}
    ~PartitionList() { rd_kafka_topic_partition_list_destroy(list_); }
    PartitionList(const PartitionList&) = delete;
    PartitionList& operator=(const PartitionList&) = delete;

    rd_kafka_topic_partition_t& add(const Partition& partition) {
        return *rd_kafka_topic_partition_list_add(list_, partition.first.c_str(), partition.second);
    }
    [[nodiscard]] rd_kafka_topic_partition_list_t* get() const noexcept { return list_; }

private:
    rd_kafka_topic_partition_list_t* list_;
};

std::string describe(const rd_kafka_topic_partition_list_t* partitions) {
    std::string out;
    for (int i = 0; i < partitions->cnt; ++i) {
        out += fmt::format("{}{}[{}]", i == 0 ? "" : ", ", partitions->elems[i].topic,
                           partitions->elems[i].partition);
    }
    return out;
}

void discard_error(rd_kafka_error_t* error) {
    if (error != nullptr) {
        rd_kafka_error_destroy(error);
    }
}

// What the relay says of rows that had waited so long that their records bear another time.
std::int64_t row_time_ms(const rd_kafka_message_t& message) {
    rd_kafka_headers_t* headers = nullptr;
    const void* value = nullptr;
    std::size_t size = 0;
    if (rd_kafka_message_headers(&message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        rd_kafka_header_get_last(headers, outbox::created_at_header, &value, &size) !=
            RD_KAFKA_RESP_ERR_NO_ERROR ||
        value == nullptr) {
        return 0;
    }
    const auto* const text = static_cast<const char*>(value);
    std::int64_t time = 0;
    const auto [end, error] = std::from_chars(text, text + size, time);
    return error == std::errc{} && end == text + size && time > 0 && time < year_2200_ms ? time : 0;
}

std::int64_t creation_time_ms(const rd_kafka_message_t& message) {
    if (const std::int64_t time = row_time_ms(message); time != 0) {
        return time;
    }
    rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    const std::int64_t time = rd_kafka_message_timestamp(&message, &type);
    const bool usable = type == RD_KAFKA_TIMESTAMP_CREATE_TIME && time > 0 && time < year_2200_ms;
    return usable ? time : 0;
}

// The table takes text of 1 to 200 bytes in the database's encoding. An id that may be none is told
// from others by its digest.
std::string as_text(std::string_view id) {
    const bool plain =
        id.size() <= 200 && std::ranges::all_of(id, [](char c) { return c >= 0x20 && c < 0x7f; });
    if (plain) {
        return std::string(id);
    }
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned length = 0;
    if (EVP_Digest(id.data(), id.size(), digest.data(), &length, EVP_sha256(), nullptr) != 1) {
        throw std::runtime_error("SHA-256 is not to be had");
    }
    return "sha256:" +
           wire::to_hex(std::string_view(reinterpret_cast<const char*>(digest.data()), length));
}

} // namespace

Partition partition_of(const rd_kafka_message_t& message) {
    return {rd_kafka_topic_name(message.rkt), message.partition};
}

Record to_record(const rd_kafka_message_t& message) {
    Record record;
    record.topic = rd_kafka_topic_name(message.rkt);
    record.partition = message.partition;
    record.offset = message.offset;
    record.timestamp_ms = creation_time_ms(message);
    if (message.key != nullptr) {
        record.key.emplace(static_cast<const char*>(message.key), message.key_len);
    }
    if (message.payload != nullptr) {
        record.payload.emplace(static_cast<const char*>(message.payload), message.len);
    }
    rd_kafka_headers_t* headers = nullptr;
    if (rd_kafka_message_headers(&message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const char* name = nullptr;
        const void* value = nullptr;
        std::size_t size = 0;
        for (std::size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) ==
                                RD_KAFKA_RESP_ERR_NO_ERROR;
             ++i) {
            record.headers.emplace_back(name, std::string_view(static_cast<const char*>(value),
                                                               value == nullptr ? 0 : size));
        }
    }
    for (const std::string_view name :
         {outbox::debezium_id_header, outbox::cloudevents_id_header}) {
        if (const auto id = record.header(name); id && !id->empty()) {
            record.message_id = as_text(*id);
            return record;
        }
    }
    record.message_id =
        fmt::format("{}/{}/{}", record.topic.substr(0, 160), record.partition, record.offset);
    return record;
}

std::string day_of(const rd_kafka_message_t& message) {
    using namespace std::chrono;
    const sys_time<milliseconds> time{milliseconds(creation_time_ms(message))};
    const year_month_day date(floor<days>(time));
    return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(date.year()),
                       static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
}

std::expected<std::unique_ptr<KafkaSource>, std::string>
KafkaSource::open(const Options& options, SourceListener& listener) {
    std::map<std::string, std::string> values{
        {"client.id", options.consumer}, {"auto.offset.reset", "earliest"},
        {"reconnect.backoff.ms", "50"},  {"reconnect.backoff.max.ms", "1000"},
        {"fetch.wait.max.ms", "50"},     {"log_level", "0"},
    };
    for (const auto& [name, value] : options.kafka_properties) {
        values[name] = value;
    }
    // These are what the promise rests on, so they come last.
    values["bootstrap.servers"] = options.bootstrap_servers;
    values["group.id"] = options.group.empty() ? options.consumer : options.group;
    values["enable.auto.commit"] = "true"; // of what was stored, and nothing else
    values["enable.auto.offset.store"] = "false";
    values["auto.commit.interval.ms"] = "1000";
    values["isolation.level"] = "read_committed";
    values["enable.partition.eof"] = "false";

    std::unique_ptr<rd_kafka_conf_t, void (*)(rd_kafka_conf_t*)> conf(rd_kafka_conf_new(),
                                                                      rd_kafka_conf_destroy);
    std::array<char, 512> reason{};
    for (const auto& [name, value] : values) {
        if (rd_kafka_conf_set(conf.get(), name.c_str(), value.c_str(), reason.data(),
                              reason.size()) != RD_KAFKA_CONF_OK) {
            return std::unexpected(fmt::format("kafka property {}: {}", name, reason.data()));
        }
    }
    std::unique_ptr<KafkaSource> source(new KafkaSource(options, listener));
    rd_kafka_conf_set_opaque(conf.get(), source.get());
    rd_kafka_conf_set_rebalance_cb(conf.get(), rebalance);
    source->handle_ = rd_kafka_new(RD_KAFKA_CONSUMER, conf.get(), reason.data(), reason.size());
    if (source->handle_ == nullptr) {
        return std::unexpected(std::string(reason.data()));
    }
    std::ignore = conf.release(); // the handle owns it now
    rd_kafka_poll_set_consumer(source->handle_);
    PartitionList topics;
    for (const std::string& topic : options.topics) {
        topics.add({topic, RD_KAFKA_PARTITION_UA});
    }
    if (const auto code = rd_kafka_subscribe(source->handle_, topics.get());
        code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return std::unexpected(std::string(rd_kafka_err2str(code)));
    }
    return source;
}

KafkaSource::~KafkaSource() {
    collected_.clear();
    if (handle_ != nullptr) {
        rd_kafka_destroy(handle_);
    }
}

void KafkaSource::rebalance(rd_kafka_t* handle, rd_kafka_resp_err_t code,
                            rd_kafka_topic_partition_list_t* partitions, void* self) {
    auto& source = *static_cast<KafkaSource*>(self);
    const bool cooperative = std::string_view(rd_kafka_rebalance_protocol(handle)) == "COOPERATIVE";
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        if (cooperative) {
            discard_error(rd_kafka_incremental_assign(handle, partitions));
        } else {
            rd_kafka_assign(handle, partitions);
        }
        source.listener_.on_source_event(Event::Kind::assigned, describe(partitions));
        return;
    }
    source.revoke(partitions);
    // Everything stored is committed work; the next owner should not see it again.
    rd_kafka_commit(handle, nullptr, 0);
    if (cooperative) {
        discard_error(rd_kafka_incremental_unassign(handle, partitions));
    } else {
        rd_kafka_assign(handle, nullptr);
    }
    source.listener_.on_source_event(Event::Kind::revoked, describe(partitions));
}

void KafkaSource::revoke(const rd_kafka_topic_partition_list_t* partitions) {
    std::vector<Partition> gone;
    for (int i = 0; i < partitions->cnt; ++i) {
        gone.emplace_back(partitions->elems[i].topic, partitions->elems[i].partition);
    }
    std::erase_if(collected_, [&](const Message& message) {
        return std::ranges::find(gone, partition_of(*message)) != gone.end();
    });
    // A pause outlives the assignment in librdkafka, and nobody would end it when the partition is
    // back.
    for (const Partition& partition : gone) {
        if (paused_.contains(partition)) {
            resume(partition);
        }
    }
    listener_.on_revoked(gone);
}

std::vector<Message> KafkaSource::poll(std::chrono::milliseconds patience) {
    const auto now = [] { return std::chrono::steady_clock::now(); };
    auto deadline = now() + patience;
    while (collected_.size() < options_.batch_records) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - now());
        Message message(rd_kafka_consumer_poll(
            handle_, static_cast<int>(std::max<std::int64_t>(0, left.count()))));
        if (message == nullptr) {
            if (left.count() <= 0) {
                break;
            }
            continue;
        }
        if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            listener_.on_source_event(Event::Kind::trouble, rd_kafka_message_errstr(message.get()));
            continue;
        }
        if (collected_.empty()) {
            deadline = now() + options_.batch_wait;
        }
        collected_.push_back(std::move(message));
    }
    return std::exchange(collected_, {});
}

void KafkaSource::store(const std::map<Partition, std::int64_t>& offsets) {
    PartitionList list;
    for (const auto& [partition, offset] : offsets) {
        list.add(partition).offset = offset + 1;
    }
    // Fails for partitions that were revoked, which is as it should be.
    rd_kafka_offsets_store(handle_, list.get());
}

bool KafkaSource::pause_at(const Partition& partition, std::int64_t offset) {
    PartitionList list;
    rd_kafka_topic_partition_t& entry = list.add(partition);
    entry.offset = offset;
    rd_kafka_pause_partitions(handle_, list.get());
    paused_.insert(partition);
    entry.err = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (rd_kafka_error_t* error = rd_kafka_seek_partitions(handle_, list.get(), seek_timeout_ms)) {
        listener_.on_source_event(Event::Kind::trouble, rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
        return false;
    }
    if (entry.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        listener_.on_source_event(Event::Kind::trouble, rd_kafka_err2str(entry.err));
        return false;
    }
    return true;
}

void KafkaSource::resume(const Partition& partition) {
    PartitionList list;
    list.add(partition);
    rd_kafka_resume_partitions(handle_, list.get());
    paused_.erase(partition);
}

void KafkaSource::close() {
    collected_.clear();
    rd_kafka_consumer_close(handle_);
}

} // namespace concordat::inbox
