#include "coordinator/app/settings.hpp"

#include "coordinator/http/allowed_networks.hpp"

#include <charconv>

namespace concordat::app {

namespace {

using Assigned = std::expected<void, std::string>;

template <class Number>
std::expected<Number, std::string> parse_number(std::string_view text, Number least, Number most) {
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) {
        return std::unexpected("is not a whole number: " + std::string(text));
    }
    if (value < least || value > most) {
        return std::unexpected("must be between " + std::to_string(least) + " and " +
                               std::to_string(most));
    }
    return value;
}

std::expected<bool, std::string> parse_bool(std::string_view text) {
    if (text == "true") {
        return true;
    }
    if (text == "false") {
        return false;
    }
    return std::unexpected("must be true or false");
}

std::vector<std::string> split_list(std::string_view text) {
    std::vector<std::string> items;
    while (!text.empty()) {
        const auto comma = text.find_first_of(",;");
        if (comma != 0) {
            items.emplace_back(text.substr(0, comma));
        }
        text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
    }
    return items;
}

/// Stores a parsed value, or passes its error on.
template <class Value, class Target>
Assigned store(std::expected<Value, std::string> parsed, Target& target) {
    if (!parsed) {
        return std::unexpected(parsed.error());
    }
    target = static_cast<Target>(*parsed);
    return {};
}

template <class Target>
Assigned store_duration(std::string_view text, Target& target) {
    const auto parsed = parse_duration(text);
    if (!parsed) {
        return std::unexpected(parsed.error());
    }
    target = std::chrono::duration_cast<Target>(*parsed);
    return {};
}

template <class Target>
Assigned store_count(std::string_view text, Target& target, std::uint64_t least,
                     std::uint64_t most) {
    return store(parse_number<std::uint64_t>(text, least, most), target);
}

template <class Target>
Assigned store_size(std::string_view text, Target& target, std::size_t least) {
    const auto parsed = parse_size(text);
    if (parsed && *parsed < least) {
        return std::unexpected("must be at least " + std::to_string(least) + " bytes");
    }
    return store(parsed, target);
}

constexpr std::uint64_t million = 1'000'000;

constexpr Setting node_settings[] = {
    {"node.id", "1", "This node's number in its group, never re-used by another disk.",
     [](Configuration& c, std::string_view text) {
         const auto id = parse_number<std::uint64_t>(text, 1, 1'000'000'000);
         if (id) {
             c.node = core::NodeId{*id};
         }
         return id ? Assigned{} : std::unexpected(id.error());
     }},
    {"node.cluster_name", "concordat", "Nodes of another cluster name are refused.",
     [](Configuration& c, std::string_view text) {
         c.cluster_name = text;
         return text.empty() || text.size() > 64
                    ? std::unexpected(std::string("must have 1 to 64 characters"))
                    : Assigned{};
     }},
    {"node.data_directory", "", "Where the decision log lives; on a disk that honours fsync.",
     [](Configuration& c, std::string_view text) {
         c.data_directory = text;
         return text.empty() ? std::unexpected(std::string("is required")) : Assigned{};
     }},
    {"node.members", "",
     "Voting members at first start: \"id,peer host:port,api url\" separated by ';'. Empty = a "
     "single node. Ignored once the data directory holds a log.",
     [](Configuration& c, std::string_view text) { return store(parse_members(text), c.members); }},
    {"node.drain_deadline", "10s", "How long a stopping node waits for what is in flight.",
     [](Configuration& c, std::string_view text) {
         return store_duration(text, c.drain_deadline);
     }},
};

constexpr Setting api_settings[] = {
    {"api.listen", "127.0.0.1:8700", "host:port of the REST API.",
     [](Configuration& c, std::string_view text) {
         return store(parse_host_port(text), c.api_listen);
     }},
    {"api.insecure", "false",
     "Allow listeners off the loopback interface without TLS; only inside a trusted network.",
     [](Configuration& c, std::string_view text) { return store(parse_bool(text), c.insecure); }},
    {"api.access_file", "",
     "File with the callers (tokens by their SHA-256, certificate names) and their roles; empty = "
     "every caller may do everything.",
     [](Configuration& c, std::string_view text) {
         c.access_file = text;
         return Assigned{};
     }},
    {"api.io_threads", "1", "Threads for HTTP; one is right on two cores.",
     [](Configuration& c, std::string_view text) {
         return store_count(text, c.io_threads, 1, 64);
     }},
    {"api.header_limit", "8KiB", "Largest request head.",
     [](Configuration& c, std::string_view text) {
         return store_size(text, c.server.header_limit_bytes, 1024);
     }},
    {"api.body_limit", "256KiB", "Largest request body.",
     [](Configuration& c, std::string_view text) {
         return store_size(text, c.server.body_limit_bytes, 1024);
     }},
    {"api.header_timeout", "5s", "From the first byte of a request head to its last.",
     [](Configuration& c, std::string_view text) {
         return store_duration(text, c.server.header_timeout);
     }},
    {"api.idle_timeout", "30s", "A connection without a request is closed after this.",
     [](Configuration& c, std::string_view text) {
         return store_duration(text, c.server.idle_timeout);
     }},
    {"api.max_connections", "4096", "Connections at once.",
     [](Configuration& c, std::string_view text) {
         return store_count(text, c.server.max_connections, 1, million);
     }},
    {"api.max_connections_per_address", "1024", "Connections at once from one address.",
     [](Configuration& c, std::string_view text) {
         return store_count(text, c.server.max_connections_per_address, 1, million);
     }},
    {"api.max_queued_requests", "10000",
     "Requests waiting for the core; more are answered 503 overloaded.",
     [](Configuration& c, std::string_view text) {
         return store_count(text, c.max_queued_requests, 1, million);
     }},
};

constexpr Setting log_settings[] = {
    {"log.peer_listen", "", "host:port for the other nodes; empty for a single node.",
     [](Configuration& c, std::string_view text) {
         c.log.peer_listen_address = text;
         if (text.empty()) {
             return Assigned{};
         }
         const auto parsed = parse_host_port(text);
         return parsed ? Assigned{} : std::unexpected(parsed.error());
     }},
    {"log.election_timeout", "500ms", "Silence of the leader after which an election starts.",
     [](Configuration& c, std::string_view text) {
         return store_duration(text, c.log.election_timeout);
     }},
    {"log.heartbeat_interval", "50ms", "How often an idle leader is heard.",
     [](Configuration& c, std::string_view text) {
         return store_duration(text, c.log.heartbeat_interval);
     }},
    {"log.segment_size", "64MiB", "Size at which a new segment file begins.",
     [](Configuration& c, std::string_view text) {
         return store_size(text, c.log.segment_bytes, 64UL << 10);
     }},
    {"log.max_entry_size", "8MiB", "Largest log entry (one turn of the core).",
     [](Configuration& c, std::string_view text) {
         return store_size(text, c.log.max_entry_bytes, 1UL << 20);
     }},
    {"log.max_inflight_entries", "1024", "Entries appended and not yet committed.",
     [](Configuration& c, std::string_view text) {
         return store_count(text, c.log.max_inflight_entries, 1, million);
     }},
    {"log.snapshot_after", "256MiB", "Log bytes after which a snapshot is taken.",
     [](Configuration& c, std::string_view text) {
         return store_size(text, c.log.snapshot_after_bytes, 64UL << 10);
     }},
    {"log.trailing_entries", "1024", "Entries kept behind a snapshot for slow followers.",
     [](Configuration& c, std::string_view text) {
         return store_count(text, c.log.trailing_entries, 0, million);
     }},
    {"log.fsync", "true", "false loses acknowledged decisions at a power cut: for tests only.",
     [](Configuration& c, std::string_view text) { return store(parse_bool(text), c.log.fsync); }},
};

constexpr Setting transaction_settings[] = {
    {"transactions.default_timeout", "30s", "Deadline for a decision when the client names none.",
     [](Configuration& c, std::string_view text) {
         return store_duration(text, c.transactions.default_timeout);
     }},
    {"transactions.max_timeout", "24h", "Longest deadline a client may ask for.",
     [](Configuration& c, std::string_view text) {
         return store_duration(text, c.transactions.max_timeout);
     }},
    {"transactions.max_branches", "64", "Branches of one transaction.",
     [](Configuration& c, std::string_view text) {
         return store_count(text, c.transactions.max_branches, 1, 64);
     }},
    {"transactions.max_in_flight", "100000", "Unfinished transactions; more are refused.",
     [](Configuration& c, std::string_view text) {
         return store_count(text, c.transactions.max_in_flight, 1, 10 * million);
     }},
    {"transactions.retry_initial", "50ms", "First back-off of a participant call.",
     [](Configuration& c, std::string_view text) {
         return store_duration(text, c.transactions.retry_initial);
     }},
    {"transactions.retry_cap", "5s", "Longest back-off of a participant call.",
     [](Configuration& c, std::string_view text) {
         return store_duration(text, c.transactions.retry_cap);
     }},
    {"transactions.attention_after", "5m", "Age at which an unfinished one needs attention.",
     [](Configuration& c, std::string_view text) {
         return store_duration(text, c.transactions.attention_after);
     }},
    {"transactions.finished_retained", "50000",
     "Finished transactions kept for readers; must be equal on all nodes of a group.",
     [](Configuration& c, std::string_view text) {
         return store_count(text, c.transactions.retention.finished_transactions, 1, 10 * million);
     }},
};

constexpr Setting other_settings[] = {
    {"participants.answer_limit", "64KiB", "Largest answer of a participant.",
     [](Configuration& c, std::string_view text) {
         return store_size(text, c.participants.max_answer_bytes, 1024);
     }},
    {"participants.connect_timeout", "1s", "For a connection to a participant.",
     [](Configuration& c, std::string_view text) {
         return store_duration(text, c.participants.connect_timeout);
     }},
    {"participants.max_batch", "64", "Operations in one batched call.",
     [](Configuration& c, std::string_view text) {
         return store_count(text, c.participants.max_batch, 1, 256);
     }},
    {"participants.breaker_failures", "8", "Unknown results in a row that open the breaker.",
     [](Configuration& c, std::string_view text) {
         return store_count(text, c.participants.breaker_failures, 1, million);
     }},
    {"participants.breaker_open", "500ms", "How long an open breaker lets only a probe pass.",
     [](Configuration& c, std::string_view text) {
         return store_duration(text, c.participants.breaker_open);
     }},
    {"participants.max_queued", "10000", "Calls waiting for one participant.",
     [](Configuration& c, std::string_view text) {
         return store_count(text, c.participants.max_queued_per_participant, 1, million);
     }},
    {"participants.allowed_networks", "",
     "CIDR networks, separated by ',', that participants may live in; empty = all.",
     [](Configuration& c, std::string_view text) {
         c.participants.allowed_networks = split_list(text);
         const auto parsed = http::AllowedNetworks::parse(c.participants.allowed_networks);
         return parsed ? Assigned{} : std::unexpected(parsed.error());
     }},
    {"logging.level", "info", "trace, debug, info, warning or error.",
     [](Configuration& c, std::string_view text) {
         c.log_level = text;
         const bool known = text == "trace" || text == "debug" || text == "info" ||
                            text == "warning" || text == "error";
         return known
                    ? Assigned{}
                    : std::unexpected(std::string("must be trace, debug, info, warning or error"));
     }},
    {"logging.format", "auto", "json, text, or auto: text on a terminal.",
     [](Configuration& c, std::string_view text) {
         c.log_format = text;
         const bool known = text == "json" || text == "text" || text == "auto";
         return known ? Assigned{} : std::unexpected(std::string("must be json, text or auto"));
     }},
};

const std::vector<Setting>& all_settings() {
    static const std::vector<Setting> all = [] {
        std::vector<Setting> joined;
        const auto add = [&joined](std::span<const Setting> part) {
            joined.insert(joined.end(), part.begin(), part.end());
        };
        add(node_settings);
        add(api_settings);
        add(log_settings);
        add(transaction_settings);
        add(other_settings);
        return joined;
    }();
    return all;
}

} // namespace

std::span<const Setting> settings() {
    return all_settings();
}

} // namespace concordat::app
