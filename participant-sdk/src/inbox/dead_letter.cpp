#include "participant-sdk/src/inbox/dead_letter.hpp"

#include <fmt/format.h>

#include <array>
#include <map>
#include <optional>

namespace concordat::inbox {
namespace {

constexpr int send_timeout_ms = 10'000;

void take_report(rd_kafka_t*, const rd_kafka_message_t* message, void*) {
    *static_cast<std::optional<rd_kafka_resp_err_t>*>(message->_private) = message->err;
}

} // namespace

std::expected<void, std::string> DeadLetter::open() {
    std::map<std::string, std::string> values;
    for (const auto& [name, value] : options_.kafka_properties) {
        // Security settings are shared; the rest is the consumer's.
        if (name.starts_with("sasl.") || name.starts_with("ssl.") || name == "security.protocol") {
            values[name] = value;
        }
    }
    values["bootstrap.servers"] = options_.bootstrap_servers;
    values["enable.idempotence"] = "true";
    values["message.timeout.ms"] = std::to_string(send_timeout_ms);
    values["linger.ms"] = "0";
    values["message.max.bytes"] = "1000000000"; // the topic says what it takes
    values["partitioner"] = "murmur2_random";
    values["log_level"] = "0";
    std::unique_ptr<rd_kafka_conf_t, void (*)(rd_kafka_conf_t*)> conf(rd_kafka_conf_new(),
                                                                      rd_kafka_conf_destroy);
    std::array<char, 512> reason{};
    for (const auto& [name, value] : values) {
        if (rd_kafka_conf_set(conf.get(), name.c_str(), value.c_str(), reason.data(),
                              reason.size()) != RD_KAFKA_CONF_OK) {
            return std::unexpected(std::string(reason.data()));
        }
    }
    rd_kafka_conf_set_dr_msg_cb(conf.get(), take_report);
    handle_.reset(rd_kafka_new(RD_KAFKA_PRODUCER, conf.get(), reason.data(), reason.size()));
    if (handle_ == nullptr) {
        return std::unexpected(std::string(reason.data()));
    }
    std::ignore = conf.release(); // the handle owns it now
    return {};
}

std::expected<void, std::string> DeadLetter::send(const rd_kafka_message_t& message,
                                                  const std::string& reason) {
    // A fatal error ends an idempotent producer; the record comes again, and needs a new one.
    if (handle_ != nullptr &&
        rd_kafka_fatal_error(handle_.get(), nullptr, 0) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        handle_.reset();
    }
    if (handle_ == nullptr) {
        if (const auto opened = open(); !opened) {
            return opened;
        }
    }
    rd_kafka_headers_t* original = nullptr;
    rd_kafka_headers_t* headers =
        rd_kafka_message_headers(&message, &original) == RD_KAFKA_RESP_ERR_NO_ERROR
            ? rd_kafka_headers_copy(original)
            : rd_kafka_headers_new(2);
    const std::string source = fmt::format("{}/{}/{}", rd_kafka_topic_name(message.rkt),
                                           message.partition, message.offset);
    rd_kafka_header_add(headers, "dead-letter-reason", -1, reason.data(),
                        static_cast<ssize_t>(reason.size()));
    rd_kafka_header_add(headers, "dead-letter-source", -1, source.data(),
                        static_cast<ssize_t>(source.size()));
    rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    const std::int64_t time = rd_kafka_message_timestamp(&message, &type);
    std::optional<rd_kafka_resp_err_t> report;
    const rd_kafka_resp_err_t queued = rd_kafka_producev(
        handle_.get(), RD_KAFKA_V_TOPIC(options_.dead_letter_topic.c_str()),
        RD_KAFKA_V_VALUE(message.payload, message.len),
        RD_KAFKA_V_KEY(message.key, message.key_len), RD_KAFKA_V_TIMESTAMP(time > 0 ? time : 0),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_OPAQUE(&report), RD_KAFKA_V_END);
    if (queued != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_headers_destroy(headers);
        return std::unexpected(std::string(rd_kafka_err2str(queued)));
    }
    // message.timeout.ms bounds this: every record gets its report.
    while (!report) {
        rd_kafka_poll(handle_.get(), 100);
    }
    if (*report != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return std::unexpected(std::string(rd_kafka_err2str(*report)));
    }
    return {};
}

} // namespace concordat::inbox
