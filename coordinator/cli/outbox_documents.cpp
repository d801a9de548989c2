#include "coordinator/cli/outbox_documents.hpp"

#include "coordinator/cli/documents.hpp"
#include "participant-sdk/src/wire/hex.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace concordat::cli {
namespace {

using Json = nlohmann::json;

/// The document; nothing when it is not an object.
std::optional<Json> parse(const std::string& text) {
    Json document = Json::parse(text, nullptr, false);
    if (!document.is_object()) {
        return std::nullopt;
    }
    return document;
}

/// A member as text; empty when it is absent or null.
std::string cell(const Json& object, const char* name) {
    const auto found = object.find(name);
    if (found == object.end() || found->is_null()) {
        return {};
    }
    return found->is_string() ? found->get<std::string>() : found->dump();
}

std::int64_t number(const Json& object, const char* name) {
    const auto found = object.find(name);
    return found != object.end() && found->is_number()
               ? static_cast<std::int64_t>(found->get<double>())
               : -1;
}

/// The relay stops counting at its limit.
std::string count(const Json& object, const char* name) {
    constexpr std::int64_t counting_limit = 100'000;
    const std::int64_t value = number(object, name);
    if (value < 0) {
        return "unknown";
    }
    return std::to_string(value) + (value >= counting_limit ? " or more" : "");
}

std::vector<Json> items(const Json& object, const char* name) {
    const auto found = object.find(name);
    return found != object.end() && found->is_array() ? found->get<std::vector<Json>>()
                                                      : std::vector<Json>{};
}

void print_fact(std::string_view name, const std::string& value) {
    fmt::print("{:<16} {}\n", name, value);
}

/// Prints the document as it is when JSON is wanted or there is nothing better.
bool printed_raw(const std::string& body, bool json, const std::optional<Json>& document) {
    if (json || !document) {
        fmt::print("{}\n", body);
        return true;
    }
    return false;
}

void tell_of_more(const std::vector<Json>& page, const char* id, int limit) {
    if (!page.empty() && page.size() >= static_cast<std::size_t>(limit)) {
        fmt::print(stderr, "more: --after {}\n", cell(page.back(), id));
    }
}

bool is_printable(const std::string& text) {
    const bool control = std::ranges::any_of(
        text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
    if (control) {
        return false;
    }
    // The library refuses to write what is not UTF-8, unless told to replace it.
    const std::string replaced = Json(text).dump(-1, ' ', false, Json::error_handler_t::ignore);
    return Json::parse(replaced).get<std::string>() == text;
}

} // namespace

std::string readable_bytes(std::string_view hex) {
    const auto bytes = wire::from_hex(hex);
    if (bytes && is_printable(*bytes)) {
        return *bytes;
    }
    return "\\x" + std::string(hex);
}

std::string readable_duration(std::int64_t milliseconds) {
    const double seconds = static_cast<double>(milliseconds) / 1000;
    if (milliseconds < 0) {
        return "unknown";
    }
    if (seconds < 120) {
        return fmt::format("{:.1f} s", seconds);
    }
    if (seconds < 7200) {
        return fmt::format("{:.0f} min", seconds / 60);
    }
    return seconds < 172'800 ? fmt::format("{:.1f} h", seconds / 3600)
                             : fmt::format("{:.1f} d", seconds / 86'400);
}

std::string change_body(const OutboxEntry& entry, const std::string& by,
                        const std::string& reason) {
    Json body{{"by", by}, {"reason", reason}};
    if (entry.id) {
        body["id"] = *entry.id;
    } else {
        body["topic"] = entry.topic;
        body["key_hex"] = wire::to_hex(entry.key);
    }
    return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void print_outbox(const std::string& status, const std::string& leases, bool json) {
    const auto document = parse(status);
    const auto shares = parse(leases);
    if (json && document && shares) {
        Json both = *document;
        both["leases"] = *shares;
        fmt::print("{}\n", both.dump(-1, ' ', false, Json::error_handler_t::replace));
        return;
    }
    if (printed_raw(status, json, document)) {
        return;
    }
    print_fact("pending rows", count(*document, "pending_rows"));
    print_fact("lag", readable_duration(number(*document, "oldest_pending_ms")));
    print_fact("parked keys", count(*document, "parked_keys"));
    print_fact("dead rows", count(*document, "dead_rows"));
    const std::int64_t rate = number(*document, "published_per_second");
    print_fact("rate", rate < 0 ? "unknown" : fmt::format("{} rows/s by this instance", rate));
    print_fact("published", cell(*document, "rows_published") + " by this instance");
    print_fact("at Kafka", cell(*document, "rows_at_kafka") + " sent, not acknowledged yet");
    if (shares) {
        std::vector<Row> rows{{"INSTANCE", "BUCKETS", "LEASE LEFT"}};
        for (const Json& item : items(*shares, "instances")) {
            const std::int64_t left = number(item, "expires_in_ms");
            rows.push_back({cell(item, "instance"), cell(item, "buckets"),
                            left < 0 ? "" : readable_duration(left)});
        }
        fmt::print("\n{}", format_table(rows));
        if (number(*shares, "free_buckets") > 0) {
            fmt::print("{} buckets are free\n", number(*shares, "free_buckets"));
        }
    }
    const auto troubles = document->find("troubles");
    if (troubles != document->end() && troubles->is_object() && !troubles->empty()) {
        std::vector<Row> rows{{"TROUBLE", ""}};
        for (const auto& [subject, text] : troubles->items()) {
            rows.push_back({subject, text.is_string() ? text.get<std::string>() : text.dump()});
        }
        fmt::print("\n{}", format_table(rows));
    }
}

void print_parked(const std::string& body, int limit, bool json) {
    const auto document = parse(body);
    if (printed_raw(body, json, document)) {
        return;
    }
    const auto page = items(*document, "parked");
    std::vector<Row> rows{{"TOPIC", "KEY", "ROWS WAITING", "ROW", "PARKED AT", "REASON"}};
    for (const Json& item : page) {
        rows.push_back({cell(item, "topic"), readable_bytes(cell(item, "key_hex")),
                        cell(item, "rows_waiting"), cell(item, "row_id"), cell(item, "parked_at"),
                        cell(item, "reason")});
    }
    fmt::print("{}", format_table(rows));
    tell_of_more(page, "row_id", limit);
}

void print_dead(const std::string& body, int limit, bool json) {
    const auto document = parse(body);
    if (printed_raw(body, json, document)) {
        return;
    }
    const auto page = items(*document, "dead");
    std::vector<Row> rows{{"ID", "TOPIC", "KEY", "TYPE", "BYTES", "DEAD SINCE", "REASON"}};
    for (const Json& item : page) {
        rows.push_back({cell(item, "id"), cell(item, "topic"),
                        readable_bytes(cell(item, "key_hex")), cell(item, "type"),
                        cell(item, "payload_bytes"), cell(item, "dead_at"), cell(item, "reason")});
    }
    fmt::print("{}", format_table(rows));
    tell_of_more(page, "id", limit);
}

void print_dead_row(const std::string& body, bool json) {
    const auto document = parse(body);
    if (printed_raw(body, json, document)) {
        return;
    }
    for (const char* name : {"id", "row_id", "event_id", "topic", "type", "headers", "reason",
                             "detail", "created_at", "dead_at", "payload_bytes"}) {
        print_fact(name, cell(*document, name));
    }
    print_fact("key", readable_bytes(cell(*document, "key_hex")));
    const std::string hex = cell(*document, "payload_hex");
    fmt::print("\n{}\n", readable_bytes(hex));
    const auto bytes = document->find("payload_bytes"); // null: no payload
    if (bytes != document->end() && bytes->is_number() &&
        bytes->get<std::size_t>() > hex.size() / 2) {
        fmt::print(stderr,
                   "{} of {} bytes; the whole payload: "
                   "SELECT payload FROM concordat_outbox_dead WHERE id = {}\n",
                   hex.size() / 2, cell(*document, "payload_bytes"), cell(*document, "id"));
    }
}

} // namespace concordat::cli
