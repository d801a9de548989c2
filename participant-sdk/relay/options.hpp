// The relay's configuration: default < YAML file < environment < flag.
//
// What: every option with its name, default and one line of documentation in one table, from which
// the parser, the printed configuration and the reference are made. Names are section.key; the
// environment has CONCORDAT_RELAY_SECTION__KEY, flags have --section.key=value.
// Limits: values are checked one by one and together; all complaints are reported at once.
//
// Threading: values. Errors: a list of sentences, each naming the option and where its value came
// from; for an unknown name, the nearest known one.
#pragma once

#include "participant-sdk/relay/envelope.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace concordat::relay {

enum class RefusalPolicy : std::uint8_t {
    block, // park the key: its rows wait, in order, for the operator
    skip,  // move the refused row to the dead rows and go on with the key
};

struct Options {
    struct Database {
        std::string conninfo;
        std::string password_file;
        std::string schema;
        std::chrono::milliseconds timeout{5000};
    } database;

    struct Kafka {
        std::string bootstrap_servers;
        std::string security_protocol = "plaintext";
        std::string sasl_mechanism;
        std::string sasl_username;
        std::string sasl_password_file;
        std::string ca_file;
        std::string certificate_file;
        std::string key_file;
        std::string compression = "none";
        std::chrono::milliseconds linger{1};
        std::size_t max_message_bytes = 1'000'000;
        std::size_t batch_bytes = 1'000'000;
        std::chrono::milliseconds stall_timeout{30'000};
        // Passed to librdkafka as they are; what the relay's guarantees rest on is refused.
        std::map<std::string, std::string> properties;
    } kafka;

    struct Pipeline {
        std::size_t batch_rows = 4000;
        std::size_t window_rows = 16'000;
        std::size_t window_bytes = 16U << 20U;
        std::size_t inline_payload_bytes = 4096;
        std::chrono::milliseconds poll_min{1};
        std::chrono::milliseconds poll_max{50};
        std::chrono::milliseconds sweep_interval{5000};
    } pipeline;

    struct Lease {
        std::string instance; // empty: host name and process id
        std::chrono::milliseconds duration{5000};
        std::chrono::milliseconds margin{1000};
        std::chrono::milliseconds heartbeat{200};
    } lease;

    EnvelopeOptions envelope;

    struct Policy {
        RefusalPolicy on_refused = RefusalPolicy::block;
        std::map<std::string, RefusalPolicy> topics; // by the row's topic
    } policy;

    struct Http {
        std::string address = "127.0.0.1";
        std::uint16_t port = 9464;
        bool admin = false; // the routes that change something
    } http;

    struct Log {
        std::string level = "info";
        std::string format = "json";
    } log;

    std::chrono::milliseconds shutdown_timeout{10'000};
};

struct OptionSource {
    std::string name;   // "kafka.linger"
    std::string value;  // as text
    std::string origin; // "file relay.yaml line 3", "environment", "flag --kafka.linger"
};

struct LoadedOptions {
    Options options;
    std::map<std::string, std::string> origins; // name → where its value came from
};

// One line of the reference: name, default, text.
struct OptionDescription {
    std::string name;
    std::string default_value;
    std::string text;
};
[[nodiscard]] std::vector<OptionDescription> describe_options();

// Applies the sources in the given order: a later one wins.
[[nodiscard]] std::expected<LoadedOptions, std::vector<std::string>>
load_options(std::span<const OptionSource> sources);

// Flattens a YAML file into sources.
[[nodiscard]] std::expected<std::vector<OptionSource>, std::vector<std::string>>
read_file_options(const std::string& path);
// Picks CONCORDAT_RELAY_* out of an environment block ("NAME=value" strings, nullptr at the end).
[[nodiscard]] std::vector<OptionSource> read_environment_options(const char* const* environment);

// YAML with every value and, as a comment, where it came from.
[[nodiscard]] std::string print_options(const LoadedOptions& loaded);

} // namespace concordat::relay
