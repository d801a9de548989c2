#pragma once

// Configuration of concordatd. Every setting stands once in a table (settings.cpp) with its key,
// default and description; file, environment, flags, the printed configuration, the sample and the
// checks are all derived from that table.
//
// Rank: default < YAML file < environment CONCORDAT_SECTION__KEY < flag (--set section.key=value or
// a flag of its own). Every value remembers where it came from.
//
// Threading: used by main before any thread exists. Errors: all found at once, as sentences.

#include "coordinator/core/transaction_coordinator.hpp"
#include "coordinator/http/participant_caller.hpp"
#include "coordinator/log/decision_log.hpp"
#include "participant-sdk/src/transport/server.hpp"

#include <chrono>
#include <cstddef>
#include <expected>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::app {

/// One coordinator node as all nodes of its group know it.
struct MemberAddress {
    core::NodeId id;
    std::string peer_address; ///< host:port
    std::string api_url;      ///< http://host:port
};

struct HostPort {
    std::string host;
    std::uint16_t port = 0;
};

struct Configuration {
    core::NodeId node;
    std::string cluster_name;
    std::string data_directory;
    std::vector<MemberAddress> members;

    HostPort api_listen;
    std::size_t io_threads = 1;
    transport::ServerOptions server;
    std::size_t max_queued_requests = 0;
    std::chrono::milliseconds drain_deadline{};
    bool insecure = false;
    std::string access_file; ///< callers and their roles; empty = everybody may do everything

    log::Options log;
    core::CoordinatorOptions transactions;
    http::CallerOptions participants;

    std::string log_level;
    std::string log_format; ///< json | text | auto
};

/// Where a value came from, for --print-config and for error messages.
struct SourcedValue {
    std::string text;
    std::string source; ///< "default", "file:LINE", "environment", "flag"
};
using SourcedValues = std::map<std::string, SourcedValue, std::less<>>;

struct ConfigurationSources {
    std::string file;                                       ///< path; empty = none
    std::vector<std::string> environment;                   ///< "NAME=value"
    std::vector<std::pair<std::string, std::string>> flags; ///< key, value
};

struct ConfigurationErrors {
    std::vector<std::string> messages;
};

/// Collects the text of every setting from its strongest source. Errors: unknown keys (with the
/// nearest known one), unreadable file.
std::expected<SourcedValues, ConfigurationErrors> collect(const ConfigurationSources& sources);
/// Parses and cross-checks; reports all errors at once.
std::expected<Configuration, ConfigurationErrors> resolve(const SourcedValues& values);
/// The configuration as a YAML file with the source of every value as a comment.
std::string print(const SourcedValues& values);
/// A commented sample file with all settings at their defaults.
std::string sample();

/// "250ms", "5s", "2m", "1h".
std::expected<std::chrono::nanoseconds, std::string> parse_duration(std::string_view text);
/// "512", "64KiB", "64MiB", "1GiB"; bytes.
std::expected<std::size_t, std::string> parse_size(std::string_view text);
/// "host:port", "[v6]:port".
std::expected<HostPort, std::string> parse_host_port(std::string_view text);
/// "1,host:port,http://host:port" separated by ';'.
std::expected<std::vector<MemberAddress>, std::string> parse_members(std::string_view text);

} // namespace concordat::app
