#include "participant-sdk/relay/producer.hpp"

#include "participant-sdk/relay/event_log.hpp"

#include <fmt/format.h>

#include <array>
#include <fstream>

namespace concordat::relay {
namespace {

std::expected<void, std::string> set(rd_kafka_conf_t* conf, const std::string& name,
                                     const std::string& value) {
    std::array<char, 512> reason{};
    if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), reason.data(), reason.size()) !=
        RD_KAFKA_CONF_OK) {
        return std::unexpected(fmt::format("kafka property {}: {}", name, reason.data()));
    }
    return {};
}

void write_log(const rd_kafka_t*, int level, const char* facility, const char* text) {
    // Syslog levels; librdkafka's warnings are mostly what its error events say as well.
    log_event(level <= 3 ? Severity::warning : Severity::debug, "kafka_client",
              {{"facility", facility}, {"message", text}});
}

std::expected<std::string, std::string> first_line(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    if (!std::getline(file, line)) {
        return std::unexpected(fmt::format("{} cannot be read", path));
    }
    return line;
}

} // namespace

Fault classify(rd_kafka_resp_err_t code) noexcept {
    switch (static_cast<int>(code)) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return Fault::none;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
        return Fault::record;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        return Fault::topic;
    default:
        return Fault::producer;
    }
}

std::expected<KafkaConfiguration, std::string>
make_kafka_configuration(const Options::Kafka& options) {
    KafkaConfiguration conf(rd_kafka_conf_new(), rd_kafka_conf_destroy);
    std::map<std::string, std::string> values{
        {"bootstrap.servers", options.bootstrap_servers},
        {"client.id", "concordat-relay"},
        {"security.protocol", options.security_protocol},
        {"log_level", "4"},
        // Brokers that went away are asked again within a second, not after ten.
        {"reconnect.backoff.ms", "50"},
        {"reconnect.backoff.max.ms", "1000"},
        {"socket.keepalive.enable", "true"},
    };
    const auto add = [&](const char* name, const std::string& value) {
        if (!value.empty()) {
            values[name] = value;
        }
    };
    add("sasl.mechanism", options.sasl_mechanism);
    add("sasl.username", options.sasl_username);
    add("ssl.ca.location", options.ca_file);
    add("ssl.certificate.location", options.certificate_file);
    add("ssl.key.location", options.key_file);
    if (!options.sasl_password_file.empty()) {
        const auto password = first_line(options.sasl_password_file);
        if (!password) {
            return std::unexpected(password.error());
        }
        values["sasl.password"] = *password;
    }
    for (const auto& [name, value] : options.properties) {
        values[name] = value;
    }
    for (const auto& [name, value] : values) {
        if (const auto done = set(conf.get(), name, value); !done) {
            return std::unexpected(done.error());
        }
    }
    rd_kafka_conf_set_log_cb(conf.get(), write_log);
    return conf;
}

std::map<std::string, std::string> producer_settings(const Options::Kafka& options,
                                                     std::size_t window_rows) {
    return {
        {"enable.idempotence", "true"},
        {"enable.gapless.guarantee", "true"},
        // Never give a record up: a record that times out while later ones succeed is a hole.
        {"message.timeout.ms", "0"},
        // As the Java client places keys, so that consumers and other producers agree.
        {"partitioner", "murmur2_random"},
        {"linger.ms", std::to_string(options.linger.count())},
        {"message.max.bytes", std::to_string(options.max_message_bytes)},
        {"batch.size", std::to_string(options.batch_bytes)},
        {"compression.type", options.compression},
        // The relay's own window is smaller: the queue is never the limit.
        {"queue.buffering.max.messages", std::to_string(window_rows + 1000)},
        {"queue.buffering.max.kbytes", "1048576"},
    };
}

std::expected<std::unique_ptr<Producer>, std::string>
Producer::create(const Options::Kafka& options, std::size_t window_rows, int wake_descriptor,
                 Listener& listener) {
    auto conf = make_kafka_configuration(options);
    if (!conf) {
        return std::unexpected(conf.error());
    }
    for (const auto& [name, value] : producer_settings(options, window_rows)) {
        if (const auto done = set(conf->get(), name, value); !done) {
            return std::unexpected(done.error());
        }
    }
    std::unique_ptr<Producer> producer(new Producer(listener));
    rd_kafka_conf_set_opaque(conf->get(), producer.get());
    rd_kafka_conf_set_dr_msg_cb(conf->get(), report);
    rd_kafka_conf_set_error_cb(conf->get(), trouble);
    std::array<char, 512> reason{};
    producer->handle_ = rd_kafka_new(RD_KAFKA_PRODUCER, conf->get(), reason.data(), reason.size());
    if (producer->handle_ == nullptr) {
        return std::unexpected(std::string(reason.data()));
    }
    std::ignore = conf->release(); // the handle owns it now
    rd_kafka_queue_t* queue = rd_kafka_queue_get_main(producer->handle_);
    static constexpr std::uint64_t one = 1;
    rd_kafka_queue_io_event_enable(queue, wake_descriptor, &one, sizeof one);
    rd_kafka_queue_destroy(queue);
    return producer;
}

Producer::~Producer() {
    if (handle_ == nullptr) {
        return;
    }
    rd_kafka_queue_t* queue = rd_kafka_queue_get_main(handle_);
    rd_kafka_queue_io_event_enable(queue, -1, nullptr, 0);
    rd_kafka_queue_destroy(queue);
    for (const auto& [name, topic] : topics_) {
        rd_kafka_topic_destroy(topic);
    }
    rd_kafka_destroy(handle_);
}

rd_kafka_topic_t* Producer::topic(const std::string& name) {
    const auto [entry, added] = topics_.try_emplace(name, nullptr);
    if (added) {
        entry->second = rd_kafka_topic_new(handle_, name.c_str(), nullptr);
    }
    return entry->second;
}

rd_kafka_resp_err_t Producer::produce(const OutboundRecord& record) {
    rd_kafka_topic_t* handle = topic(*record.topic);
    if (handle == nullptr) {
        return RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION;
    }
    rd_kafka_headers_t* headers = rd_kafka_headers_new(record.headers->size());
    for (const auto& [name, value] : *record.headers) {
        rd_kafka_header_add(headers, name.data(), static_cast<ssize_t>(name.size()), value.data(),
                            static_cast<ssize_t>(value.size()));
    }
    std::array<rd_kafka_vu_t, 7> fields{};
    fields[0].vtype = RD_KAFKA_VTYPE_RKT;
    fields[0].u.rkt = handle;
    fields[1].vtype = RD_KAFKA_VTYPE_VALUE;
    // librdkafka does not write to it; its type only lacks the const.
    fields[1].u.mem.ptr = record.payload ? const_cast<char*>(record.payload->data()) : nullptr;
    fields[1].u.mem.size = record.payload ? record.payload->size() : 0;
    fields[2].vtype = RD_KAFKA_VTYPE_KEY;
    fields[2].u.mem.ptr = record.key ? const_cast<char*>(record.key->data()) : nullptr;
    fields[2].u.mem.size = record.key ? record.key->size() : 0;
    fields[3].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
    fields[3].u.i64 = record.timestamp_ms;
    fields[4].vtype = RD_KAFKA_VTYPE_HEADERS;
    fields[4].u.headers = headers;
    fields[5].vtype = RD_KAFKA_VTYPE_OPAQUE;
    fields[5].u.ptr = record.tag;
    fields[6].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
    fields[6].u.i = 0; // neither copy nor free the value
    rd_kafka_error_t* error = rd_kafka_produceva(handle_, fields.data(), fields.size());
    if (error == nullptr) {
        ++outstanding_;
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    const rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    rd_kafka_error_destroy(error);
    rd_kafka_headers_destroy(headers);
    return code;
}

// The same function that the setting "partitioner" names.
std::int32_t Producer::partition_of(std::string_view key, std::int32_t partitions) {
    return rd_kafka_msg_partitioner_murmur2(nullptr, key.data(), key.size(), partitions, nullptr,
                                            nullptr);
}

int Producer::poll() {
    return rd_kafka_poll(handle_, 0);
}

void Producer::purge() {
    rd_kafka_purge(handle_, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
                                RD_KAFKA_PURGE_F_NON_BLOCKING);
}

void Producer::purge_queued() {
    rd_kafka_purge(handle_, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING);
}

void Producer::report(rd_kafka_t*, const rd_kafka_message_t* message, void* self) {
    auto& producer = *static_cast<Producer*>(self);
    --producer.outstanding_;
    producer.listener_.on_report(message->_private, message->err, message->partition);
}

void Producer::trouble(rd_kafka_t* handle, int code, const char* reason, void* self) {
    auto& producer = *static_cast<Producer*>(self);
    auto error = static_cast<rd_kafka_resp_err_t>(code);
    std::string text = reason == nullptr ? "" : reason;
    if (error == RD_KAFKA_RESP_ERR__FATAL) {
        std::array<char, 512> detail{};
        error = rd_kafka_fatal_error(handle, detail.data(), detail.size());
        text = detail.data();
        producer.fatal_ = text;
    }
    producer.listener_.on_trouble(error, text);
}

} // namespace concordat::relay
