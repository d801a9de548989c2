#include "coordinator/app/configuration.hpp"

#include "coordinator/app/settings.hpp"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <numeric>
#include <set>

namespace concordat::app {

namespace {

const Setting* find_setting(std::string_view key) {
    const auto table = settings();
    const auto found =
        std::ranges::find_if(table, [key](const Setting& setting) { return setting.key == key; });
    return found == table.end() ? nullptr : &*found;
}

/// Levenshtein distance, to name the nearest known key in an error.
std::size_t distance(std::string_view left, std::string_view right) {
    std::vector<std::size_t> row(right.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= left.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= right.size(); ++j) {
            const std::size_t above = row[j];
            const std::size_t change = left[i - 1] == right[j - 1] ? 0 : 1;
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + change});
            diagonal = above;
        }
    }
    return row.back();
}

std::string unknown_key(std::string_view key, std::string_view where) {
    const auto nearest = std::ranges::min_element(
        settings(), {}, [key](const Setting& setting) { return distance(setting.key, key); });
    return fmt::format("{}: unknown setting '{}'; did you mean '{}'?", where, key, nearest->key);
}

std::string environment_name(std::string_view key) {
    std::string name = "CONCORDAT_";
    for (const char c : key) {
        if (c == '.') {
            name += "__";
        } else {
            name += (c >= 'a' && c <= 'z') ? static_cast<char>(c - 'a' + 'A') : c;
        }
    }
    return name;
}

/// A YAML list of members becomes the one-line form of the flag.
std::string member_list(const YAML::Node& list) {
    std::string joined;
    for (const auto& item : list) {
        joined += joined.empty() ? "" : ";";
        joined += item.IsMap() ? fmt::format("{},{},{}", item["id"].as<std::string>(),
                                             item["peer_address"].as<std::string>(),
                                             item["api_url"].as<std::string>())
                               : item.as<std::string>();
    }
    return joined;
}

void collect_section(const std::string& file, const std::string& section, const YAML::Node& content,
                     SourcedValues& values, ConfigurationErrors& errors) {
    if (!content.IsMap()) {
        errors.messages.push_back(fmt::format("{}:{}: section '{}' is not a map", file,
                                              content.Mark().line + 1, section));
        return;
    }
    for (const auto& item : content) {
        const std::string key = section + "." + item.first.as<std::string>();
        const std::string where = fmt::format("{}:{}", file, item.first.Mark().line + 1);
        if (find_setting(key) == nullptr) {
            errors.messages.push_back(unknown_key(key, where));
        } else if (item.second.IsSequence()) {
            values[key] = {member_list(item.second), where};
        } else if (item.second.IsScalar()) {
            values[key] = {item.second.as<std::string>(), where};
        } else {
            errors.messages.push_back(fmt::format("{}: '{}' is not a plain value", where, key));
        }
    }
}

void collect_file(const std::string& file, SourcedValues& values, ConfigurationErrors& errors) {
    try {
        const YAML::Node document = YAML::LoadFile(file);
        if (document.IsNull()) {
            return;
        }
        if (!document.IsMap()) {
            errors.messages.push_back(file + ": is not a map of sections");
            return;
        }
        for (const auto& section : document) {
            collect_section(file, section.first.as<std::string>(), section.second, values, errors);
        }
    } catch (const YAML::Exception& error) {
        errors.messages.push_back(fmt::format("{}: {}", file, error.what()));
    }
}

void collect_environment(const std::vector<std::string>& environment, SourcedValues& values,
                         ConfigurationErrors& errors) {
    constexpr std::string_view prefix = "CONCORDAT_";
    std::map<std::string, std::string_view, std::less<>> names;
    for (const auto& setting : settings()) {
        names.emplace(environment_name(setting.key), setting.key);
    }
    for (const auto& pair : environment) {
        const std::string_view text = pair;
        const auto equals = text.find('=');
        // Names without a section belong to other programs (CONCORDAT_SERVER is the CLI's).
        if (!text.starts_with(prefix) || equals == std::string_view::npos ||
            text.substr(0, equals).find("__") == std::string_view::npos ||
            text.starts_with("CONCORDAT_RELAY_")) {
            continue;
        }
        const auto name = text.substr(0, equals);
        const auto known = names.find(name);
        if (known == names.end()) {
            errors.messages.push_back(
                fmt::format("environment: unknown variable '{}'", std::string(name)));
        } else {
            values[std::string(known->second)] = {std::string(text.substr(equals + 1)),
                                                  "environment"};
        }
    }
}

bool is_loopback(const std::string& host) {
    return host == "localhost" || host == "::1" || host.starts_with("127.");
}

void check_listeners(const Configuration& c, std::vector<std::string>& errors) {
    if (!c.insecure && !is_loopback(c.api_listen.host)) {
        errors.push_back("api.listen: " + c.api_listen.host +
                         " is not a loopback address and there is no TLS; set api.insecure "
                         "(--insecure) only inside a trusted network");
    }
    if (c.log.peer_listen_address.empty()) {
        return;
    }
    const auto peer = parse_host_port(c.log.peer_listen_address);
    if (peer && !c.insecure && !is_loopback(peer->host)) {
        errors.push_back("log.peer_listen: " + peer->host +
                         " is not a loopback address and there is no TLS; set api.insecure "
                         "(--insecure) only inside a trusted network");
    }
}

void check_members(const Configuration& c, std::vector<std::string>& errors) {
    if (c.members.empty()) {
        return;
    }
    std::set<core::NodeId> ids;
    for (const auto& member : c.members) {
        if (!ids.insert(member.id).second) {
            errors.push_back(fmt::format("node.members: id {} stands twice", member.id.value()));
        }
    }
    if (!ids.contains(c.node)) {
        errors.push_back(fmt::format("node.members: node.id {} is not among them", c.node.value()));
    }
    if (c.members.size() % 2 == 0) {
        errors.push_back(fmt::format("node.members: {} members; an even number tolerates no more "
                                     "failures than one less, use 1, 3 or 5",
                                     c.members.size()));
    }
    if (c.members.size() > 1 && c.log.peer_listen_address.empty()) {
        errors.push_back("log.peer_listen: is required with more than one member");
    }
}

std::vector<std::string> cross_check(const Configuration& c) {
    std::vector<std::string> errors;
    check_listeners(c, errors);
    check_members(c, errors);
    if (c.log.heartbeat_interval * 3 > c.log.election_timeout) {
        errors.push_back("log.heartbeat_interval: must be at most a third of log.election_timeout");
    }
    if (c.transactions.default_timeout > c.transactions.max_timeout) {
        errors.push_back("transactions.default_timeout: is longer than transactions.max_timeout");
    }
    if (c.transactions.retry_initial > c.transactions.retry_cap) {
        errors.push_back("transactions.retry_initial: is longer than transactions.retry_cap");
    }
    return errors;
}

/// What several parts need to know, copied from where the operator wrote it once.
void distribute(Configuration& c) {
    c.log.node = c.node;
    c.log.cluster_name = c.cluster_name;
    c.log.data_directory = c.data_directory;
    c.log.members.clear();
    for (const auto& member : c.members) {
        c.log.members.push_back({member.id, member.peer_address});
    }
    if (c.log.members.empty()) {
        c.log.members.push_back({c.node, c.log.peer_listen_address});
    }
    c.transactions.node = c.node;
    // Participants in doubt inquire where PREPARE told them to.
    c.participants.coordinators.clear();
    for (const auto& member : c.members) {
        c.participants.coordinators.push_back(member.api_url);
    }
    if (c.members.empty() && is_loopback(c.api_listen.host) && c.api_listen.port != 0) {
        const std::string host = c.api_listen.host == "::1" ? "[::1]" : c.api_listen.host;
        c.participants.coordinators.push_back(fmt::format("http://{}:{}", host, c.api_listen.port));
    }
    c.server.address = c.api_listen.host == "localhost" ? "127.0.0.1" : c.api_listen.host;
    c.server.port = c.api_listen.port;
}

} // namespace

std::expected<SourcedValues, ConfigurationErrors> collect(const ConfigurationSources& sources) {
    SourcedValues values;
    ConfigurationErrors errors;
    for (const auto& setting : settings()) {
        values[std::string(setting.key)] = {std::string(setting.fallback), "default"};
    }
    if (!sources.file.empty()) {
        collect_file(sources.file, values, errors);
    }
    collect_environment(sources.environment, values, errors);
    for (const auto& [key, value] : sources.flags) {
        if (find_setting(key) == nullptr) {
            errors.messages.push_back(unknown_key(key, "flag"));
        } else {
            values[key] = {value, "flag"};
        }
    }
    if (!errors.messages.empty()) {
        return std::unexpected(std::move(errors));
    }
    return values;
}

std::expected<Configuration, ConfigurationErrors> resolve(const SourcedValues& values) {
    Configuration configuration;
    ConfigurationErrors errors;
    for (const auto& setting : settings()) {
        const auto& value = values.find(setting.key)->second;
        const auto assigned = setting.assign(configuration, value.text);
        if (!assigned) {
            errors.messages.push_back(
                fmt::format("{} ({}): {}", setting.key, value.source, assigned.error()));
        }
    }
    if (errors.messages.empty()) {
        errors.messages = cross_check(configuration);
    }
    if (!errors.messages.empty()) {
        return std::unexpected(std::move(errors));
    }
    distribute(configuration);
    return configuration;
}

namespace {

/// Writes all settings as YAML, with a comment made by `comment` before each.
template <class Text, class Comment>
std::string write_yaml(const Text& text, const Comment& comment) {
    std::string out;
    std::string_view section;
    for (const auto& setting : settings()) {
        const auto dot = setting.key.find('.');
        if (setting.key.substr(0, dot) != section) {
            section = setting.key.substr(0, dot);
            out += fmt::format("{}{}:\n", out.empty() ? "" : "\n", section);
        }
        out += fmt::format("  # {}\n  {}: \"{}\"\n", comment(setting), setting.key.substr(dot + 1),
                           text(setting));
    }
    return out;
}

} // namespace

std::string print(const SourcedValues& values) {
    return write_yaml(
        [&values](const Setting& setting) { return values.find(setting.key)->second.text; },
        [&values](const Setting& setting) {
            return "from " + values.find(setting.key)->second.source;
        });
}

std::string sample() {
    return write_yaml([](const Setting& setting) { return std::string(setting.fallback); },
                      [](const Setting& setting) { return std::string(setting.description); });
}

std::expected<std::chrono::nanoseconds, std::string> parse_duration(std::string_view text) {
    std::int64_t count = 0;
    const auto* const text_end = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data(), text_end, count);
    const std::string_view unit(end, static_cast<std::size_t>(text_end - end));
    constexpr std::int64_t most = 1'000'000'000;
    if (error != std::errc{} || count < 0 || count > most) {
        return std::unexpected("is not a duration such as 250ms, 5s, 2m or 1h");
    }
    if (unit == "ms") {
        return std::chrono::milliseconds{count};
    }
    if (unit == "s") {
        return std::chrono::seconds{count};
    }
    if (unit == "m" && count <= most / 60) {
        return std::chrono::minutes{count};
    }
    if (unit == "h" && count <= most / 3600) {
        return std::chrono::hours{count};
    }
    return std::unexpected("is not a duration such as 250ms, 5s, 2m or 1h");
}

std::expected<std::size_t, std::string> parse_size(std::string_view text) {
    std::size_t count = 0;
    const auto* const text_end = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data(), text_end, count);
    const std::string_view unit(end, static_cast<std::size_t>(text_end - end));
    constexpr std::size_t most = 1UL << 44;
    const std::map<std::string_view, unsigned> shifts{
        {"", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}};
    const auto shift = shifts.find(unit);
    if (error != std::errc{} || shift == shifts.end() || count > (most >> shift->second)) {
        return std::unexpected("is not a size such as 512, 64KiB, 64MiB or 1GiB");
    }
    return count << shift->second;
}

std::expected<HostPort, std::string> parse_host_port(std::string_view text) {
    const auto colon = text.rfind(':');
    const std::string wrong = "is not host:port";
    if (colon == std::string_view::npos || colon == 0) {
        return std::unexpected(wrong);
    }
    std::string_view host = text.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != std::string_view::npos) {
        return std::unexpected(wrong + "; write an IPv6 address in brackets");
    }
    const auto port_text = text.substr(colon + 1);
    std::uint16_t port = 0;
    const auto [end, error] =
        std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
    if (error != std::errc{} || end != port_text.data() + port_text.size()) {
        return std::unexpected(wrong);
    }
    return HostPort{std::string(host), port};
}

std::expected<std::vector<MemberAddress>, std::string> parse_members(std::string_view text) {
    std::vector<MemberAddress> members;
    while (!text.empty()) {
        const auto semicolon = text.find(';');
        const auto item = text.substr(0, semicolon);
        text =
            semicolon == std::string_view::npos ? std::string_view{} : text.substr(semicolon + 1);
        const auto first = item.find(',');
        const auto second = first == std::string_view::npos ? first : item.find(',', first + 1);
        std::uint64_t id = 0;
        if (second == std::string_view::npos ||
            std::from_chars(item.data(), item.data() + first, id).ptr != item.data() + first ||
            id == 0 || !parse_host_port(item.substr(first + 1, second - first - 1)) ||
            !item.substr(second + 1).starts_with("http")) {
            return std::unexpected(
                fmt::format("'{}' is not \"id,peer host:port,api url\"", std::string(item)));
        }
        members.push_back({core::NodeId{id},
                           std::string(item.substr(first + 1, second - first - 1)),
                           std::string(item.substr(second + 1))});
    }
    return members;
}

} // namespace concordat::app
