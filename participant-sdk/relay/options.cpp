#include "participant-sdk/relay/options.hpp"

#include "participant-sdk/src/outbox/record_headers.hpp"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <iterator>
#include <limits>

namespace concordat::relay {
namespace {

using Parsed = std::expected<void, std::string>; // error: what is expected instead

struct Entry {
    std::string_view name;
    std::string_view text;
    std::function<Parsed(Options&, const std::string&)> set;
    std::function<std::string(const Options&)> get;
};

std::unexpected<std::string> expected_value(std::string what) {
    return std::unexpected(std::move(what));
}

std::expected<std::uint64_t, std::string> parse_number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) {
        return std::unexpected("a whole number");
    }
    return value;
}

// A number directly followed by one of the units.
std::expected<std::uint64_t, std::string>
parse_with_unit(std::string_view text,
                std::span<const std::pair<std::string_view, std::uint64_t>> units,
                const std::string& example) {
    const auto digits = std::min(text.find_first_not_of("0123456789"), text.size());
    const auto number = parse_number(text.substr(0, digits));
    const auto unit = std::ranges::find(units, text.substr(digits),
                                        &std::pair<std::string_view, std::uint64_t>::first);
    if (!number || unit == units.end() ||
        *number > std::numeric_limits<std::int64_t>::max() / unit->second) {
        return std::unexpected(example);
    }
    return *number * unit->second;
}

Parsed parse_duration(std::chrono::milliseconds& out, std::string_view text) {
    static constexpr std::array<std::pair<std::string_view, std::uint64_t>, 4> units{
        {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}}};
    const auto value = parse_with_unit(text, units, "a duration such as 250ms, 5s or 2m");
    if (!value) {
        return std::unexpected(value.error());
    }
    out = std::chrono::milliseconds(*value);
    return {};
}

Parsed parse_size(std::size_t& out, std::string_view text) {
    static constexpr std::array<std::pair<std::string_view, std::uint64_t>, 5> units{
        {{"", 1}, {"B", 1}, {"KiB", 1U << 10U}, {"MiB", 1U << 20U}, {"GiB", 1U << 30U}}};
    const auto value = parse_with_unit(text, units, "a size such as 4096, 64KiB or 16MiB");
    if (!value) {
        return std::unexpected(value.error());
    }
    out = *value;
    return {};
}

Parsed parse_bool(bool& out, std::string_view text) {
    if (text != "true" && text != "false") {
        return expected_value("true or false");
    }
    out = text == "true";
    return {};
}

std::expected<RefusalPolicy, std::string> parse_policy(std::string_view text) {
    if (text == "block") {
        return RefusalPolicy::block;
    }
    if (text == "skip") {
        return RefusalPolicy::skip;
    }
    return std::unexpected("block or skip");
}

std::string_view policy_name(RefusalPolicy policy) noexcept {
    return policy == RefusalPolicy::block ? "block" : "skip";
}

template <typename Section, typename Member>
Entry text_entry(std::string_view name, std::string_view text, Section section, Member member) {
    return {name, text,
            [=](Options& o, const std::string& value) -> Parsed {
                o.*section.*member = value;
                return {};
            },
            [=](const Options& o) { return o.*section.*member; }};
}

template <typename Section, typename Member>
Entry duration_entry(std::string_view name, std::string_view text, Section section, Member member) {
    return {name, text,
            [=](Options& o, const std::string& value) {
                return parse_duration(o.*section.*member, value);
            },
            [=](const Options& o) { return fmt::format("{}ms", (o.*section.*member).count()); }};
}

template <typename Section, typename Member>
Entry size_entry(std::string_view name, std::string_view text, Section section, Member member) {
    return {
        name, text,
        [=](Options& o, const std::string& value) { return parse_size(o.*section.*member, value); },
        [=](const Options& o) { return std::to_string(o.*section.*member); }};
}

template <typename Section, typename Member>
Entry choice_entry(std::string_view name, std::string_view text, Section section, Member member,
                   std::vector<std::string_view> choices) {
    return {name, text,
            [=](Options& o, const std::string& value) -> Parsed {
                if (std::ranges::find(choices, value) == choices.end()) {
                    return expected_value(fmt::format("one of {}", fmt::join(choices, ", ")));
                }
                o.*section.*member = value;
                return {};
            },
            [=](const Options& o) { return o.*section.*member; }};
}

void add_database_entries(std::vector<Entry>& table) {
    using D = Options::Database;
    const auto s = &Options::database;
    table.push_back(text_entry("database.conninfo",
                               "libpq connection string or URI of the database with the outbox", s,
                               &D::conninfo));
    table.push_back(text_entry("database.password_file",
                               "file whose first line is the password of the role", s,
                               &D::password_file));
    table.push_back(text_entry("database.schema",
                               "schema of the outbox tables; empty: the role's search path", s,
                               &D::schema));
    table.push_back(duration_entry("database.timeout",
                                   "limit for connecting and for each statement", s, &D::timeout));
}

void add_kafka_entries(std::vector<Entry>& table) {
    using K = Options::Kafka;
    const auto s = &Options::kafka;
    table.push_back(text_entry("kafka.bootstrap_servers", "host:port of some brokers, by commas", s,
                               &K::bootstrap_servers));
    table.push_back(
        choice_entry("kafka.security_protocol", "plaintext, ssl, sasl_plaintext or sasl_ssl", s,
                     &K::security_protocol, {"plaintext", "ssl", "sasl_plaintext", "sasl_ssl"}));
    table.push_back(choice_entry("kafka.sasl_mechanism", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", s,
                                 &K::sasl_mechanism,
                                 {"", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}));
    table.push_back(text_entry("kafka.sasl_username", "user name for SASL", s, &K::sasl_username));
    table.push_back(text_entry("kafka.sasl_password_file",
                               "file whose first line is the SASL password", s,
                               &K::sasl_password_file));
    table.push_back(text_entry("kafka.ca_file", "certificates that brokers are checked against", s,
                               &K::ca_file));
    table.push_back(text_entry("kafka.certificate_file", "the relay's own certificate", s,
                               &K::certificate_file));
    table.push_back(
        text_entry("kafka.key_file", "the key of the relay's own certificate", s, &K::key_file));
    table.push_back(choice_entry("kafka.compression", "none, gzip, snappy, lz4 or zstd", s,
                                 &K::compression, {"none", "gzip", "snappy", "lz4", "zstd"}));
    table.push_back(
        duration_entry("kafka.linger", "how long a record may wait for company", s, &K::linger));
    table.push_back(size_entry("kafka.max_message_bytes",
                               "larger records are refused without asking the broker", s,
                               &K::max_message_bytes));
    table.push_back(size_entry("kafka.batch_bytes", "largest batch of records sent at once", s,
                               &K::batch_bytes));
    table.push_back(duration_entry("kafka.stall_timeout",
                                   "without any acknowledgement for this long the producer is "
                                   "made anew; a topic without one is tried with one row, and "
                                   "its other rows are held",
                                   s, &K::stall_timeout));
}

void add_pipeline_entries(std::vector<Entry>& table) {
    using P = Options::Pipeline;
    const auto s = &Options::pipeline;
    table.push_back(size_entry("pipeline.batch_rows", "rows read at once", s, &P::batch_rows));
    table.push_back(size_entry("pipeline.window_rows",
                               "rows that may be in memory and not yet acknowledged", s,
                               &P::window_rows));
    table.push_back(
        size_entry("pipeline.window_bytes", "the same in bytes of rows", s, &P::window_bytes));
    table.push_back(size_entry("pipeline.inline_payload_bytes",
                               "larger payloads are fetched one by one when their turn comes", s,
                               &P::inline_payload_bytes));
    table.push_back(duration_entry("pipeline.poll_min", "pause between polls while rows come in", s,
                                   &P::poll_min));
    table.push_back(duration_entry("pipeline.poll_max", "longest pause between polls when idle", s,
                                   &P::poll_max));
    table.push_back(duration_entry("pipeline.sweep_interval",
                                   "how often everything behind the read position is looked "
                                   "through",
                                   s, &P::sweep_interval));
    using L = Options::Lease;
    const auto lease = &Options::lease;
    table.push_back(text_entry("lease.instance",
                               "name of this instance, unique per database; empty: host name and "
                               "process id",
                               lease, &L::instance));
    table.push_back(duration_entry("lease.duration",
                                   "how long the others wait for an instance that has died", lease,
                                   &L::duration));
    table.push_back(duration_entry("lease.margin",
                                   "how long before the end of an unrenewed lease publishing "
                                   "stops",
                                   lease, &L::margin));
    table.push_back(duration_entry("lease.heartbeat", "how often the sharing is looked at", lease,
                                   &L::heartbeat));
}

Entry preset_entry() {
    return {"envelope.preset", "debezium or cloudevents",
            [](Options& o, const std::string& value) -> Parsed {
                if (value != "debezium" && value != "cloudevents") {
                    return expected_value("debezium or cloudevents");
                }
                o.envelope.preset =
                    value == "debezium" ? EnvelopePreset::debezium : EnvelopePreset::cloudevents;
                return {};
            },
            [](const Options& o) {
                return std::string(o.envelope.preset == EnvelopePreset::debezium ? "debezium"
                                                                                 : "cloudevents");
            }};
}

Entry policy_entry() {
    return {"policy.on_refused",
            "what to do with a row that Kafka refuses for good: block its key, or skip the row",
            [](Options& o, const std::string& value) -> Parsed {
                const auto policy = parse_policy(value);
                if (!policy) {
                    return std::unexpected(policy.error());
                }
                o.policy.on_refused = *policy;
                return {};
            },
            [](const Options& o) { return std::string(policy_name(o.policy.on_refused)); }};
}

void add_envelope_entries(std::vector<Entry>& table) {
    using E = EnvelopeOptions;
    const auto s = &Options::envelope;
    table.push_back(preset_entry());
    table.push_back(text_entry("envelope.topic_rule",
                               "Kafka topic, ${topic} stands for the row's; empty: the preset's "
                               "own (outbox.event.${topic} or ${topic})",
                               s, &E::topic_rule));
    table.push_back(
        text_entry("envelope.source", "ce_source of the cloudevents preset", s, &E::source));
    table.push_back(text_entry("envelope.content_type", "content-type of the cloudevents preset", s,
                               &E::content_type));
    table.push_back(text_entry("envelope.type_header",
                               "header for the row's type in the debezium preset, not id, ce_id or "
                               "outbox-created-at; empty: none",
                               s, &E::type_header));
    table.push_back(policy_entry());
}

void add_process_entries(std::vector<Entry>& table) {
    const auto http = &Options::http;
    table.push_back(text_entry("http.address", "IP address for metrics, health and outbox routes",
                               http, &Options::Http::address));
    table.push_back({"http.port", "port for them; 0: chosen by the system and logged",
                     [](Options& o, const std::string& value) -> Parsed {
                         const auto port = parse_number(value);
                         if (!port || *port > 65'535) {
                             return expected_value("a port, 0 to 65535");
                         }
                         o.http.port = static_cast<std::uint16_t>(*port);
                         return {};
                     },
                     [](const Options& o) { return std::to_string(o.http.port); }});
    table.push_back(
        {"http.admin", "offer the routes that change the outbox or show payloads",
         [](Options& o, const std::string& value) { return parse_bool(o.http.admin, value); },
         [](const Options& o) { return std::string(o.http.admin ? "true" : "false"); }});
    const auto log = &Options::log;
    table.push_back(choice_entry("log.level", "debug, info, warning or error", log,
                                 &Options::Log::level, {"debug", "info", "warning", "error"}));
    table.push_back(
        choice_entry("log.format", "json or text", log, &Options::Log::format, {"json", "text"}));
    table.push_back(
        {"process.shutdown_timeout",
         "how long the end may take before what is in flight is given up",
         [](Options& o, const std::string& value) {
             return parse_duration(o.shutdown_timeout, value);
         },
         [](const Options& o) { return fmt::format("{}ms", o.shutdown_timeout.count()); }});
}

const std::vector<Entry>& option_table() {
    static const std::vector<Entry> table = [] {
        std::vector<Entry> entries;
        add_database_entries(entries);
        add_kafka_entries(entries);
        add_pipeline_entries(entries);
        add_envelope_entries(entries);
        add_process_entries(entries);
        return entries;
    }();
    return table;
}

// Levenshtein distance, for "did you mean".
std::size_t edit_distance(std::string_view left, std::string_view right) {
    std::vector<std::size_t> row(right.size() + 1);
    for (std::size_t j = 0; j <= right.size(); ++j) {
        row[j] = j;
    }
    for (std::size_t i = 1; i <= left.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= right.size(); ++j) {
            const std::size_t change = diagonal + (left[i - 1] == right[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
        }
    }
    return row.back();
}

std::string_view nearest_name(std::string_view name) {
    return std::ranges::min_element(
               option_table(), {},
               [&](const Entry& entry) { return edit_distance(name, entry.name); })
        ->name;
}

// What the relay sets itself because its guarantees rest on it, or because an option exists.
constexpr std::array<std::string_view, 18> reserved_properties{
    "enable.idempotence",
    "enable.gapless.guarantee",
    "message.timeout.ms",
    "acks",
    "request.required.acks",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "retries",
    "message.send.max.retries",
    "partitioner",
    "transactional.id",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "metadata.broker.list",
    "linger.ms",
    "queue.buffering.max.ms",
    "sasl.password",
    "delivery.report.only.error"};

Parsed set_prefixed(Options& options, const OptionSource& source) {
    if (source.name.starts_with("kafka.properties.")) {
        const std::string property = source.name.substr(17);
        if (std::ranges::find(reserved_properties, property) != reserved_properties.end()) {
            return expected_value("another property: this one is the relay's own");
        }
        options.kafka.properties[property] = source.value;
        return {};
    }
    const auto policy = parse_policy(source.value);
    if (!policy) {
        return std::unexpected(policy.error());
    }
    options.policy.topics[source.name.substr(14)] = *policy;
    return {};
}

Parsed apply(Options& options, const OptionSource& source, bool& known) {
    known = true;
    if (source.name.starts_with("kafka.properties.") || source.name.starts_with("policy.topics.")) {
        return set_prefixed(options, source);
    }
    const auto entry = std::ranges::find(option_table(), source.name, &Entry::name);
    if (entry == option_table().end()) {
        known = false;
        return {};
    }
    return entry->set(options, source.value);
}

void check_together(const Options& o, std::vector<std::string>& complaints) {
    const auto require = [&](bool holds, std::string_view sentence) {
        if (!holds) {
            complaints.emplace_back(sentence);
        }
    };
    require(!o.kafka.bootstrap_servers.empty(), "kafka.bootstrap_servers is needed");
    require(o.pipeline.batch_rows >= 16 && o.pipeline.batch_rows <= 20'000,
            "pipeline.batch_rows must be 16 to 20000");
    require(o.pipeline.window_rows >= o.pipeline.batch_rows && o.pipeline.window_rows <= 80'000,
            "pipeline.window_rows must be at least pipeline.batch_rows and at most 80000");
    require(o.pipeline.window_bytes >= 1U << 20U, "pipeline.window_bytes must be at least 1MiB");
    require(o.pipeline.inline_payload_bytes <= 65'536,
            "pipeline.inline_payload_bytes must be at most 64KiB");
    require(o.pipeline.poll_min.count() >= 1 && o.pipeline.poll_min <= o.pipeline.poll_max,
            "pipeline.poll_min must be at least 1ms and at most pipeline.poll_max");
    require(o.pipeline.sweep_interval.count() >= 100,
            "pipeline.sweep_interval must be at least 100ms");
    require(o.lease.heartbeat.count() >= 20 && o.lease.heartbeat * 3 <= o.lease.duration,
            "lease.heartbeat must be at least 20ms and at most a third of lease.duration");
    require(o.lease.margin.count() >= 100 && o.lease.margin * 2 <= o.lease.duration,
            "lease.margin must be at least 100ms and at most half of lease.duration");
    require(o.lease.instance.size() <= 200, "lease.instance must have at most 200 bytes");
    require(o.database.timeout.count() >= 1000, "database.timeout must be at least 1s");
    require(o.kafka.stall_timeout.count() >= 1000, "kafka.stall_timeout must be at least 1s");
    require(o.kafka.linger.count() <= 1000, "kafka.linger must be at most 1s");
    require(o.kafka.max_message_bytes >= 1000 && o.kafka.max_message_bytes <= 1'000'000'000,
            "kafka.max_message_bytes must be 1000 to 1000000000");
    require(o.kafka.batch_bytes >= 16'384 && o.kafka.batch_bytes <= 1U << 30U,
            "kafka.batch_bytes must be 16KiB to 1GiB");
    require(!o.kafka.security_protocol.starts_with("sasl") || !o.kafka.sasl_mechanism.empty(),
            "kafka.sasl_mechanism is needed with that kafka.security_protocol");
    require(!outbox::identifies_message(o.envelope.type_header),
            "envelope.type_header must be another header than those that identify a message");
}

void flatten(const YAML::Node& node, const std::string& prefix, const std::string& path,
             std::vector<OptionSource>& out, std::vector<std::string>& complaints) {
    const int line = node.Mark().line + 1;
    if (node.IsMap()) {
        for (const auto& child : node) {
            const auto key = child.first.as<std::string>();
            flatten(child.second, prefix.empty() ? key : prefix + "." + key, path, out, complaints);
        }
    } else if (node.IsScalar()) {
        out.push_back({prefix, node.Scalar(), fmt::format("{} line {}", path, line)});
    } else if (node.IsNull()) {
        out.push_back({prefix, "", fmt::format("{} line {}", path, line)});
    } else {
        complaints.push_back(fmt::format("{} line {}: a list is not expected here", path, line));
    }
}

std::string yaml_quoted(std::string_view value) {
    std::string out = "\"";
    for (const char c : value) {
        if (c == '"' || c == '\\') {
            out.push_back('\\');
        }
        out.push_back(c);
    }
    return out + "\"";
}

} // namespace

std::vector<OptionDescription> describe_options() {
    const Options defaults;
    std::vector<OptionDescription> out;
    for (const Entry& entry : option_table()) {
        out.push_back({std::string(entry.name), entry.get(defaults), std::string(entry.text)});
    }
    out.push_back({"policy.topics.TOPIC", "", "the same for the rows of one topic"});
    out.push_back({"kafka.properties.NAME", "",
                   "any other librdkafka property; those that the guarantees rest on are refused"});
    return out;
}

std::expected<LoadedOptions, std::vector<std::string>>
load_options(std::span<const OptionSource> sources) {
    LoadedOptions loaded;
    std::vector<std::string> complaints;
    for (const OptionSource& source : sources) {
        bool known = false;
        const Parsed applied = apply(loaded.options, source, known);
        if (!known) {
            complaints.push_back(fmt::format("{}: unknown option '{}'; the nearest is '{}'",
                                             source.origin, source.name,
                                             nearest_name(source.name)));
        } else if (!applied) {
            complaints.push_back(fmt::format("{}: {} is '{}', expected {}", source.origin,
                                             source.name, source.value, applied.error()));
        } else {
            loaded.origins[source.name] = source.origin;
        }
    }
    check_together(loaded.options, complaints);
    if (!complaints.empty()) {
        return std::unexpected(std::move(complaints));
    }
    return loaded;
}

std::expected<std::vector<OptionSource>, std::vector<std::string>>
read_file_options(const std::string& path) {
    std::vector<OptionSource> out;
    std::vector<std::string> complaints;
    try {
        const YAML::Node root = YAML::LoadFile(path);
        if (root.IsMap()) {
            flatten(root, "", path, out, complaints);
        } else if (!root.IsNull()) {
            complaints.push_back(fmt::format("{}: sections are expected at the top", path));
        }
    } catch (const std::exception& error) {
        complaints.push_back(fmt::format("{}: {}", path, error.what()));
    }
    if (!complaints.empty()) {
        return std::unexpected(std::move(complaints));
    }
    return out;
}

std::vector<OptionSource> read_environment_options(const char* const* environment) {
    constexpr std::string_view prefix = "CONCORDAT_RELAY_";
    std::vector<OptionSource> out;
    for (; *environment != nullptr; ++environment) {
        const std::string_view variable = *environment;
        const auto equals = variable.find('=');
        if (!variable.starts_with(prefix) || equals == std::string_view::npos) {
            continue;
        }
        // Kubernetes sets CONCORDAT_RELAY_PORT and the like for a service of that name.
        if (variable.substr(0, equals).find("__") == std::string_view::npos) {
            continue;
        }
        std::string name;
        const std::string_view key = variable.substr(prefix.size(), equals - prefix.size());
        for (std::size_t i = 0; i < key.size(); ++i) {
            if (key.substr(i).starts_with("__")) {
                name.push_back('.');
                ++i;
            } else {
                name.push_back(key[i] >= 'A' && key[i] <= 'Z' ? static_cast<char>(key[i] + 32)
                                                              : key[i]);
            }
        }
        out.push_back({name, std::string(variable.substr(equals + 1)),
                       fmt::format("environment {}", variable.substr(0, equals))});
    }
    return out;
}

std::string print_options(const LoadedOptions& loaded) {
    std::string out;
    std::string section;
    const auto line = [&](std::string_view name, const std::string& value) {
        const auto dot = name.find('.');
        if (name.substr(0, dot) != section) {
            section = name.substr(0, dot);
            out += section + ":\n";
        }
        const auto origin = loaded.origins.find(std::string(name));
        fmt::format_to(std::back_inserter(out), "  {}: {} # {}\n", name.substr(dot + 1),
                       yaml_quoted(value),
                       origin == loaded.origins.end() ? "default" : origin->second);
    };
    for (const Entry& entry : option_table()) {
        line(entry.name, entry.get(loaded.options));
        if (entry.name == "kafka.stall_timeout" && !loaded.options.kafka.properties.empty()) {
            out += "  properties:\n";
            for (const auto& [name, value] : loaded.options.kafka.properties) {
                fmt::format_to(std::back_inserter(out), "    {}: {}\n", name, yaml_quoted(value));
            }
        }
        if (entry.name == "policy.on_refused" && !loaded.options.policy.topics.empty()) {
            out += "  topics:\n";
            for (const auto& [topic, policy] : loaded.options.policy.topics) {
                fmt::format_to(std::back_inserter(out), "    {}: {}\n", yaml_quoted(topic),
                               policy_name(policy));
            }
        }
    }
    return out;
}

} // namespace concordat::relay
