#include "coordinator/http/request_headers.hpp"

#include "coordinator/http/time_text.hpp"
#include "participant-sdk/src/transport/uri.hpp"
#include "participant-sdk/src/wire/hex.hpp"
#include "participant-sdk/src/wire/json_text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <random>
#include <system_error>

namespace concordat::http {
namespace {

constexpr std::array<core::TransactionState, 6> all_states{
    core::TransactionState::active,     core::TransactionState::precommitted,
    core::TransactionState::committing, core::TransactionState::aborting,
    core::TransactionState::committed,  core::TransactionState::aborted};

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) {
        text.remove_prefix(1);
    }
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) {
        text.remove_suffix(1);
    }
    return text;
}

template <class Number>
std::optional<Number> parse_number(std::string_view text) {
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) {
        return std::nullopt;
    }
    return value;
}

void complain(std::vector<Complaint>& complaints, Complaint::Place place, std::string_view where,
              std::string detail) {
    complaints.push_back({place, std::string(where), std::move(detail)});
}

/// Runs `on_parameter(name, value)` over the decoded parameters, each name at most once; it
/// returns what is wrong, or an empty text.
template <class OnParameter>
void for_each_parameter(std::string_view query, std::vector<Complaint>& complaints,
                        OnParameter&& on_parameter) {
    if (query.empty()) {
        return;
    }
    const auto parameters = transport::parse_query(query);
    if (!parameters) {
        complain(complaints, Complaint::Place::query, "", parameters.error());
        return;
    }
    for (auto at = parameters->begin(); at != parameters->end(); ++at) {
        const auto same = [&at](const auto& other) { return other.first == at->first; };
        std::string wrong = std::any_of(parameters->begin(), at, same)
                                ? std::string("appears more than once")
                                : on_parameter(at->first, at->second);
        if (!wrong.empty()) {
            complain(complaints, Complaint::Place::query, at->first, std::move(wrong));
        }
    }
}

constexpr const char* unknown_parameter = "is not a known parameter";
constexpr const char* not_a_duration = "must be a duration such as 250ms, 10s, 5m or 1h";
constexpr const char* not_a_truth_value = "must be true or false";

std::optional<bool> parse_bool(std::string_view text) {
    if (text == "true") {
        return true;
    }
    if (text == "false") {
        return false;
    }
    return std::nullopt;
}

bool is_lower_hex(std::string_view text) {
    return std::all_of(text.begin(), text.end(),
                       [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_all_zero(std::string_view text) {
    return text.find_first_not_of('0') == std::string_view::npos;
}

bool is_traceparent(std::string_view text) {
    if (text.size() != 55 || text[2] != '-' || text[35] != '-' || text[52] != '-') {
        return false;
    }
    const std::string_view version = text.substr(0, 2);
    const std::string_view trace = text.substr(3, 32);
    const std::string_view parent = text.substr(36, 16);
    return version == "00" && is_lower_hex(trace) && is_lower_hex(parent) &&
           is_lower_hex(text.substr(53)) && !is_all_zero(trace) && !is_all_zero(parent);
}

std::string list_parameter(core::ListRequest& request, std::string_view name,
                           const std::string& value) {
    if (name == "state") {
        const auto* found = std::find_if(all_states.begin(), all_states.end(),
                                         [&value](auto state) { return name_of(state) == value; });
        if (found == all_states.end()) {
            return "must be active, precommitted, committing, aborting, committed or aborted";
        }
        request.state = *found;
    } else if (name == "decided") {
        request.decided = parse_bool(value);
        return request.decided ? "" : not_a_truth_value;
    } else if (name == "in_doubt") {
        const auto wanted = parse_bool(value);
        request.in_doubt = wanted.value_or(false);
        return wanted ? "" : not_a_truth_value;
    } else if (name == "participant") {
        request.participant = core::parse_participant_name(value);
        return request.participant ? "" : "is not a participant name";
    } else if (name == "older_than") {
        request.older_than = parse_duration(value);
        return request.older_than ? "" : not_a_duration;
    } else if (name == "xid_prefix") {
        if (!core::parse_xid(value)) {
            return "is not the beginning of an xid";
        }
        request.xid_prefix = value;
    } else if (name == "cursor") {
        auto after = read_cursor(value);
        if (!after) {
            return "is not a cursor of this API";
        }
        request.after_xid = std::move(*after);
    } else if (name == "limit") {
        const auto limit = parse_number<std::size_t>(value);
        if (!limit || *limit < 1 || *limit > 200) {
            return "must be a number from 1 to 200";
        }
        request.limit = *limit;
    } else {
        return unknown_parameter;
    }
    return {};
}

std::string get_parameter(core::GetRequest& request, std::string_view name,
                          const std::string& value) {
    if (name == "consistency") {
        if (value != "stale" && value != "linearizable") {
            return "must be linearizable or stale";
        }
        request.stale_allowed = value == "stale";
    } else if (name == "wait_index") {
        const auto index = parse_number<std::uint64_t>(value);
        if (!index) {
            return "must be a log index";
        }
        request.wait_index = core::LogIndex{*index};
    } else if (name == "wait") {
        request.wait_limit = parse_duration(value);
        return request.wait_limit ? "" : not_a_duration;
    } else {
        return unknown_parameter;
    }
    return {};
}

} // namespace

std::string_view name_of(core::TransactionState state) noexcept {
    switch (state) {
    case core::TransactionState::active:
        return "active";
    case core::TransactionState::precommitted:
        return "precommitted";
    case core::TransactionState::committing:
        return "committing";
    case core::TransactionState::aborting:
        return "aborting";
    case core::TransactionState::committed:
        return "committed";
    case core::TransactionState::aborted:
        return "aborted";
    }
    return "active";
}

Preferences parse_prefer(const transport::Headers& headers, std::vector<Complaint>& complaints) {
    Preferences preferences;
    for (const transport::Header header : headers) {
        if (!transport::equals_ignoring_case(header.name, "Prefer")) {
            continue;
        }
        std::string_view rest = header.value;
        while (!rest.empty()) {
            const std::size_t comma = std::min(rest.find(','), rest.size());
            std::string_view preference = trimmed(rest.substr(0, comma));
            rest.remove_prefix(std::min(comma + 1, rest.size()));
            preference = trimmed(preference.substr(0, preference.find(';')));
            const std::size_t equals = std::min(preference.find('='), preference.size());
            const std::string_view name = trimmed(preference.substr(0, equals));
            if (transport::equals_ignoring_case(name, "respond-async")) {
                preferences.respond_async = true;
            } else if (transport::equals_ignoring_case(name, "wait") && !preferences.wait) {
                const auto seconds = parse_number<std::uint32_t>(
                    trimmed(preference.substr(std::min(equals + 1, preference.size()))));
                if (seconds) {
                    preferences.wait = std::chrono::seconds{*seconds};
                } else {
                    complain(complaints, Complaint::Place::header, "Prefer",
                             "wait must be a number of seconds");
                }
            }
        }
    }
    return preferences;
}

std::string idempotency_key(const transport::Headers& headers, std::vector<Complaint>& complaints) {
    const auto found = headers.find("Idempotency-Key");
    if (!found) {
        return {};
    }
    std::string_view key = trimmed(*found);
    if (key.size() >= 2 && key.front() == '"' && key.back() == '"') {
        key = key.substr(1, key.size() - 2);
    }
    const bool visible =
        std::all_of(key.begin(), key.end(), [](char c) { return c > 0x20 && c < 0x7F; });
    if (key.empty() || key.size() > max_idempotency_key_bytes || !visible ||
        headers.count("Idempotency-Key") != 1) {
        complain(complaints, Complaint::Place::header, "Idempotency-Key",
                 "must be one value of 1 to 255 visible ASCII characters");
        return {};
    }
    return std::string(key);
}

std::string next_traceparent(const transport::Headers& headers) {
    const auto found = headers.find("traceparent");
    if (!found || !is_traceparent(*found)) {
        return {};
    }
    // A span id has to be distinct, not unpredictable.
    thread_local std::mt19937_64 generator{std::random_device{}()};
    static constexpr std::string_view hex = "0123456789abcdef";
    std::uint64_t span = generator() | 1U;
    std::string out(*found);
    for (std::size_t i = 0; i < 16; ++i) {
        out[36 + i] = hex[span & 0xFU];
        span >>= 4U;
    }
    return out;
}

std::string entity_tag(core::LogIndex index) {
    std::string tag = "\"";
    wire::append_json_number(tag, index.value());
    tag += '"';
    return tag;
}

bool matches_entity_tag(const transport::Headers& headers, core::LogIndex index) {
    const auto found = headers.find("If-None-Match");
    if (!found) {
        return false;
    }
    const std::string tag = entity_tag(index);
    std::string_view rest = *found;
    while (!rest.empty()) {
        const std::size_t comma = std::min(rest.find(','), rest.size());
        std::string_view candidate = trimmed(rest.substr(0, comma));
        rest.remove_prefix(std::min(comma + 1, rest.size()));
        if (candidate.starts_with("W/")) {
            candidate.remove_prefix(2);
        }
        if (candidate == tag || candidate == "*") {
            return true;
        }
    }
    return false;
}

void parse_get_query(std::string_view query, core::GetRequest& request,
                     std::vector<Complaint>& complaints) {
    for_each_parameter(query, complaints, [&](const std::string& name, const std::string& value) {
        return get_parameter(request, name, value);
    });
}

void parse_list_query(std::string_view query, core::ListRequest& request,
                      std::vector<Complaint>& complaints) {
    for_each_parameter(query, complaints, [&](const std::string& name, const std::string& value) {
        return list_parameter(request, name, value);
    });
}

std::string parse_reason_query(std::string_view query, std::vector<Complaint>& complaints) {
    std::string reason;
    for_each_parameter(query, complaints, [&](const std::string& name, const std::string& value) {
        if (name != "reason") {
            return std::string(unknown_parameter);
        }
        reason = value;
        return std::string(value.size() > 1024 ? "must be at most 1024 bytes" : "");
    });
    return reason;
}

void refuse_query(std::string_view query, std::vector<Complaint>& complaints) {
    for_each_parameter(query, complaints, [](const std::string&, const std::string&) {
        return std::string(unknown_parameter);
    });
}

std::string make_cursor(std::string_view last_xid) {
    return "c1" + wire::to_hex(last_xid);
}

std::optional<std::string> read_cursor(std::string_view cursor) {
    if (!cursor.starts_with("c1")) {
        return std::nullopt;
    }
    auto xid = wire::from_hex(cursor.substr(2));
    if (!xid || !core::parse_xid(*xid)) {
        return std::nullopt;
    }
    return xid;
}

} // namespace concordat::http
