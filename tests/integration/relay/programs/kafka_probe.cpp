// What the relay's tests need of Kafka besides the relay: topics, records, and a mock cluster.
//
//   kafka_probe create BOOTSTRAP NAME:PARTITIONS[:key=value...]...
//   kafka_probe delete BOOTSTRAP NAME...
//   kafka_probe alter BOOTSTRAP NAME key=value
//   kafka_probe grow BOOTSTRAP NAME:PARTITIONS   to so many partitions
//   kafka_probe produce BOOTSTRAP NAME ID...   a record for each id, which is its header "id", in
//                                              hexadecimal digits, and its value as given here
//   kafka_probe dump BOOTSTRAP NAME...         every record up to the present end, one JSON object
//                                              a line
//   kafka_probe mock PARTITIONS NAME...        a mock cluster until standard input ends; see
//                                              run_mock()
//
// PARTITIONS@BROKER puts all partitions on that broker.
//
// Exit code 0 on success, 1 with a sentence on stderr otherwise.

#include "participant-sdk/src/wire/hex.hpp"

#include <fmt/format.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <nlohmann/json.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int timeout_ms = 150'000;

struct Failure {
    std::string text;
};

using Handle = std::unique_ptr<rd_kafka_t, void (*)(rd_kafka_t*)>;

Handle make_handle(rd_kafka_type_t type,
                   const std::vector<std::pair<std::string, std::string>>& settings) {
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    std::array<char, 512> reason{};
    for (const auto& [name, value] : settings) {
        if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), reason.data(), reason.size()) !=
            RD_KAFKA_CONF_OK) {
            throw Failure{reason.data()};
        }
    }
    rd_kafka_t* handle = rd_kafka_new(type, conf, reason.data(), reason.size());
    if (handle == nullptr) {
        throw Failure{reason.data()};
    }
    return {handle, rd_kafka_destroy};
}

std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> out;
    std::istringstream stream(text);
    for (std::string part; std::getline(stream, part, separator);) {
        out.push_back(part);
    }
    return out;
}

// Waits for the one result event of an admin request.
void await_admin(rd_kafka_queue_t* queue) {
    rd_kafka_event_t* event = rd_kafka_queue_poll(queue, timeout_ms);
    if (event == nullptr) {
        throw Failure{"no answer"};
    }
    std::string problem;
    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        problem = rd_kafka_event_error_string(event);
    }
    const auto note = [&](const rd_kafka_topic_result_t* const* results, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            if (rd_kafka_topic_result_error(results[i]) != RD_KAFKA_RESP_ERR_NO_ERROR) {
                problem = fmt::format("{}: {}", rd_kafka_topic_result_name(results[i]),
                                      rd_kafka_topic_result_error_string(results[i]));
            }
        }
    };
    std::size_t count = 0;
    if (const auto* created = rd_kafka_event_CreateTopics_result(event)) {
        const auto* topics = rd_kafka_CreateTopics_result_topics(created, &count);
        note(topics, count);
    } else if (const auto* deleted = rd_kafka_event_DeleteTopics_result(event)) {
        const auto* topics = rd_kafka_DeleteTopics_result_topics(deleted, &count);
        note(topics, count);
    } else if (const auto* grown = rd_kafka_event_CreatePartitions_result(event)) {
        const auto* topics = rd_kafka_CreatePartitions_result_topics(grown, &count);
        note(topics, count);
    }
    rd_kafka_event_destroy(event);
    if (!problem.empty()) {
        throw Failure{problem};
    }
}

class Admin {
public:
    explicit Admin(const std::string& bootstrap)
        : handle_(make_handle(RD_KAFKA_PRODUCER, {{"bootstrap.servers", bootstrap}})),
          queue_(rd_kafka_queue_new(handle_.get()), rd_kafka_queue_destroy) {}

    void create(const std::string& specification) {
        const auto parts = split(specification, ':');
        std::array<char, 512> reason{};
        std::unique_ptr<rd_kafka_NewTopic_t, void (*)(rd_kafka_NewTopic_t*)> topic(
            rd_kafka_NewTopic_new(parts.at(0).c_str(), std::stoi(parts.at(1)),
                                  parts[1].contains('@') ? -1 : 1, reason.data(), reason.size()),
            rd_kafka_NewTopic_destroy);
        for (std::size_t i = 2; i < parts.size(); ++i) {
            const auto equals = parts[i].find('=');
            rd_kafka_NewTopic_set_config(topic.get(), parts[i].substr(0, equals).c_str(),
                                         parts[i].substr(equals + 1).c_str());
        }
        if (const auto at = parts.at(1).find('@'); at != std::string::npos) {
            std::int32_t broker = std::stoi(parts[1].substr(at + 1));
            for (int partition = 0; partition < std::stoi(parts[1]); ++partition) {
                rd_kafka_NewTopic_set_replica_assignment(topic.get(), partition, &broker, 1,
                                                         reason.data(), reason.size());
            }
        }
        rd_kafka_NewTopic_t* topics[] = {topic.get()};
        rd_kafka_CreateTopics(handle_.get(), topics, 1, nullptr, queue_.get());
        await_admin(queue_.get());
    }

    void remove(const std::string& name) {
        std::unique_ptr<rd_kafka_DeleteTopic_t, void (*)(rd_kafka_DeleteTopic_t*)> topic(
            rd_kafka_DeleteTopic_new(name.c_str()), rd_kafka_DeleteTopic_destroy);
        rd_kafka_DeleteTopic_t* topics[] = {topic.get()};
        rd_kafka_DeleteTopics(handle_.get(), topics, 1, nullptr, queue_.get());
        await_admin(queue_.get());
    }

    void grow(const std::string& specification) {
        const auto parts = split(specification, ':');
        std::array<char, 512> reason{};
        std::unique_ptr<rd_kafka_NewPartitions_t, void (*)(rd_kafka_NewPartitions_t*)> partitions(
            rd_kafka_NewPartitions_new(parts.at(0).c_str(),
                                       static_cast<std::size_t>(std::stoi(parts.at(1))),
                                       reason.data(), reason.size()),
            rd_kafka_NewPartitions_destroy);
        rd_kafka_NewPartitions_t* topics[] = {partitions.get()};
        rd_kafka_CreatePartitions(handle_.get(), topics, 1, nullptr, queue_.get());
        await_admin(queue_.get());
    }

    void alter(const std::string& name, const std::string& setting) {
        std::unique_ptr<rd_kafka_ConfigResource_t, void (*)(rd_kafka_ConfigResource_t*)> resource(
            rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name.c_str()),
            rd_kafka_ConfigResource_destroy);
        const auto equals = setting.find('=');
        rd_kafka_ConfigResource_set_config(resource.get(), setting.substr(0, equals).c_str(),
                                           setting.substr(equals + 1).c_str());
        rd_kafka_ConfigResource_t* resources[] = {resource.get()};
        rd_kafka_AlterConfigs(handle_.get(), resources, 1, nullptr, queue_.get());
        await_admin(queue_.get());
    }

private:
    Handle handle_;
    std::unique_ptr<rd_kafka_queue_t, void (*)(rd_kafka_queue_t*)> queue_;
};

nlohmann::json describe(const rd_kafka_message_t& message) {
    std::string hex;
    nlohmann::json out{{"topic", rd_kafka_topic_name(message.rkt)},
                       {"partition", message.partition},
                       {"offset", message.offset},
                       {"size", message.len}};
    rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    out["timestamp"] = rd_kafka_message_timestamp(&message, &type);
    out["key"] = nullptr;
    if (message.key != nullptr) {
        out["key"] = std::string(static_cast<const char*>(message.key), message.key_len);
    }
    out["value"] = nullptr;
    if (message.payload != nullptr) {
        const std::string_view shown(static_cast<const char*>(message.payload),
                                     std::min<std::size_t>(message.len, 400));
        out["value"] = shown;
        for (const char c : shown.substr(0, 64)) {
            hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
        }
    }
    out["hex"] = hex; // of the first bytes: "value" shows only what is UTF-8
    out["headers"] = nlohmann::json::array();
    rd_kafka_headers_t* headers = nullptr;
    if (rd_kafka_message_headers(&message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const char* name = nullptr;
        const void* value = nullptr;
        std::size_t size = 0;
        for (std::size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) ==
                                RD_KAFKA_RESP_ERR_NO_ERROR;
             ++i) {
            out["headers"].push_back({name, std::string(static_cast<const char*>(value), size)});
        }
    }
    return out;
}

// Partitions of the topics and the offsets at which they end now.
rd_kafka_topic_partition_list_t* ends_of(rd_kafka_t* handle,
                                         const std::vector<std::string>& topics) {
    auto* list = rd_kafka_topic_partition_list_new(8);
    for (const std::string& name : topics) {
        rd_kafka_topic_t* topic = rd_kafka_topic_new(handle, name.c_str(), nullptr);
        const rd_kafka_metadata_t* metadata = nullptr;
        if (rd_kafka_metadata(handle, 0, topic, &metadata, timeout_ms) !=
            RD_KAFKA_RESP_ERR_NO_ERROR) {
            throw Failure{"no metadata of " + name};
        }
        for (int i = 0; i < metadata->topics[0].partition_cnt; ++i) {
            const auto id = metadata->topics[0].partitions[i].id;
            std::int64_t low = 0;
            std::int64_t high = 0;
            if (rd_kafka_query_watermark_offsets(handle, name.c_str(), id, &low, &high,
                                                 timeout_ms) != RD_KAFKA_RESP_ERR_NO_ERROR) {
                throw Failure{"no offsets of " + name};
            }
            if (high > low) {
                auto* entry = rd_kafka_topic_partition_list_add(list, name.c_str(), id);
                entry->offset = RD_KAFKA_OFFSET_BEGINNING;
                entry->metadata = nullptr;
                entry->opaque = reinterpret_cast<void*>(high); // NOLINT: a number, not an address
            }
        }
        rd_kafka_metadata_destroy(metadata);
        rd_kafka_topic_destroy(topic);
    }
    return list;
}

void dump(const std::string& bootstrap, const std::vector<std::string>& topics) {
    const Handle handle = make_handle(RD_KAFKA_CONSUMER, {{"bootstrap.servers", bootstrap},
                                                          {"group.id", "probe"},
                                                          {"enable.auto.commit", "false"},
                                                          {"check.crcs", "true"},
                                                          {"fetch.wait.max.ms", "10"}});
    auto* list = ends_of(handle.get(), topics);
    int open = list->cnt;
    rd_kafka_assign(handle.get(), list);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    while (open > 0) {
        if (std::chrono::steady_clock::now() > deadline) {
            throw Failure{"the topics could not be read to their end in time"};
        }
        rd_kafka_message_t* message = rd_kafka_consumer_poll(handle.get(), 100);
        if (message == nullptr) {
            continue;
        }
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            const auto* entry = rd_kafka_topic_partition_list_find(
                list, rd_kafka_topic_name(message->rkt), message->partition);
            const auto end = reinterpret_cast<std::int64_t>(entry->opaque);
            if (message->offset < end) {
                fmt::print("{}\n", describe(*message).dump(
                                       -1, ' ', false, nlohmann::json::error_handler_t::replace));
            }
            if (message->offset + 1 == end) {
                --open;
            }
        }
        rd_kafka_message_destroy(message);
    }
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_consumer_close(handle.get());
}

void produce(const std::string& bootstrap, const std::string& topic,
             const std::vector<std::string>& ids) {
    const Handle handle = make_handle(
        RD_KAFKA_PRODUCER, {{"bootstrap.servers", bootstrap}, {"enable.idempotence", "true"}});
    for (const std::string& hex : ids) {
        const auto id = concordat::wire::from_hex(hex);
        if (!id) {
            throw Failure{"not hexadecimal: " + hex};
        }
        const auto code = rd_kafka_producev(
            handle.get(), RD_KAFKA_V_TOPIC(topic.c_str()), RD_KAFKA_V_PARTITION(0),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_VALUE(const_cast<char*>(hex.data()), hex.size()),
            RD_KAFKA_V_HEADER("id", id->data(), static_cast<ssize_t>(id->size())), RD_KAFKA_V_END);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
            throw Failure{rd_kafka_err2str(code)};
        }
    }
    if (rd_kafka_flush(handle.get(), timeout_ms) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        throw Failure{"not everything was acknowledged"};
    }
}

// Prints the bootstrap address, then obeys lines on standard input, each answered with "ok":
//   produce-error CODE COUNT   the next produce requests fail with that broker error code
//   produce-well               no more of them
//   topic-error NAME CODE      metadata of the topic carry that error; 0 ends it
//   latency MS                 every answer takes that long
//   down | up                  the broker's connections
void run_mock(int partitions, const std::vector<std::string>& topics) {
    const Handle handle = make_handle(RD_KAFKA_PRODUCER, {});
    std::unique_ptr<rd_kafka_mock_cluster_t, void (*)(rd_kafka_mock_cluster_t*)> cluster(
        rd_kafka_mock_cluster_new(handle.get(), 1), rd_kafka_mock_cluster_destroy);
    for (const std::string& topic : topics) {
        rd_kafka_mock_topic_create(cluster.get(), topic.c_str(), partitions, 1);
    }
    fmt::print("{}\n", rd_kafka_mock_cluster_bootstraps(cluster.get()));
    std::fflush(stdout);
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream words(line);
        std::string verb;
        words >> verb;
        if (verb == "produce-error") {
            int code = 0;
            std::size_t count = 0;
            words >> code >> count;
            constexpr std::int16_t produce_request = 0;
            const std::vector<rd_kafka_resp_err_t> errors(count,
                                                          static_cast<rd_kafka_resp_err_t>(code));
            rd_kafka_mock_push_request_errors_array(cluster.get(), produce_request, errors.size(),
                                                    errors.data());
        } else if (verb == "produce-well") {
            constexpr std::int16_t produce_request = 0;
            rd_kafka_mock_clear_request_errors(cluster.get(), produce_request);
        } else if (verb == "topic-error") {
            std::string topic;
            int code = 0;
            words >> topic >> code;
            rd_kafka_mock_topic_set_error(cluster.get(), topic.c_str(),
                                          static_cast<rd_kafka_resp_err_t>(code));
        } else if (verb == "latency") {
            int milliseconds = 0;
            words >> milliseconds;
            rd_kafka_mock_broker_set_rtt(cluster.get(), 1, milliseconds);
        } else if (verb == "down") {
            rd_kafka_mock_broker_set_down(cluster.get(), 1);
        } else if (verb == "up") {
            rd_kafka_mock_broker_set_up(cluster.get(), 1);
        } else {
            throw Failure{"unknown order: " + line};
        }
        fmt::print("ok\n");
        std::fflush(stdout);
    }
}

int run(const std::vector<std::string>& arguments) {
    const std::string& verb = arguments.at(0);
    const std::string& target = arguments.at(1);
    const std::vector<std::string> rest(arguments.begin() + 2, arguments.end());
    if (verb == "dump") {
        dump(target, rest);
    } else if (verb == "mock") {
        run_mock(std::stoi(target), rest);
    } else if (verb == "produce") {
        produce(target, rest.at(0), {rest.begin() + 1, rest.end()});
    } else if (verb == "grow") {
        Admin(target).grow(rest.at(0));
    } else if (verb == "alter") {
        Admin(target).alter(rest.at(0), rest.at(1));
    } else if (verb == "create" || verb == "delete") {
        Admin admin(target);
        for (const std::string& topic : rest) {
            verb == "create" ? admin.create(topic) : admin.remove(topic);
        }
    } else {
        throw Failure{"unknown verb " + verb};
    }
    return 0;
}

} // namespace

int main(int argc, char** argv) {
    try {
        return run({argv + 1, argv + argc});
    } catch (const Failure& failure) {
        fmt::print(stderr, "kafka_probe: {}\n", failure.text);
    } catch (const std::exception& error) {
        fmt::print(stderr, "kafka_probe: {}\n", error.what());
    }
    return 1;
}
