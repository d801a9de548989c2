#include "coordinator/cli/documents.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace concordat::cli {
namespace {

using Json = nlohmann::json;

std::optional<Json> parse(const std::string& text) {
    Json document = Json::parse(text, nullptr, false);
    if (document.is_discarded() || !document.is_object()) {
        return std::nullopt;
    }
    return document;
}

/// A member as a cell of a table; empty when absent.
std::string cell(const Json& object, const char* name) {
    const auto found = object.find(name);
    if (found == object.end()) {
        return {};
    }
    return found->is_string() ? found->get<std::string>() : found->dump();
}

bool flag(const Json& object, const char* name) {
    const auto found = object.find(name);
    return found != object.end() && found->is_boolean() && found->get<bool>();
}

/// The elements of an array member; none when it is absent.
std::vector<Json> items(const Json& object, const char* name) {
    const auto found = object.find(name);
    if (found == object.end() || !found->is_array()) {
        return {};
    }
    return found->get<std::vector<Json>>();
}

/// Prints the document as it is when JSON is wanted or there is nothing better.
bool printed_raw(const std::string& body, bool json, const std::optional<Json>& document) {
    if (json || !document) {
        fmt::print("{}\n", body);
        return true;
    }
    return false;
}

void print_fact(std::string_view name, const std::string& value) {
    if (!value.empty()) {
        fmt::print("{:<12} {}\n", name, value);
    }
}

} // namespace

std::string format_table(const std::vector<Row>& rows) {
    std::vector<std::size_t> widths;
    for (const Row& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i) {
            widths[i] = std::max(widths[i], row[i].size());
        }
    }
    std::string out;
    for (const Row& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            line += fmt::format("{:<{}}  ", row[i], widths[i]);
        }
        line.erase(line.find_last_not_of(' ') + 1);
        out += line + '\n';
    }
    return out;
}

std::string describe_problem(const ApiAnswer& answer) {
    const auto document = parse(answer.body);
    if (!document || cell(*document, "title").empty()) {
        return fmt::format("HTTP {}", answer.status);
    }
    if (cell(*document, "code").empty()) { // a relay's problems have none
        return cell(*document, "title") + ": " + cell(*document, "detail");
    }
    std::string text = cell(*document, "code") + ": " + cell(*document, "title");
    if (const std::string detail = cell(*document, "detail"); !detail.empty()) {
        text += ": " + detail;
    }
    text += fmt::format(" (effect {}{})", cell(*document, "effect"),
                        flag(*document, "retryable") ? ", may be tried again" : "");
    for (const Json& error : items(*document, "errors")) {
        const std::string where =
            cell(error, "pointer") + cell(error, "parameter") + cell(error, "header");
        text += fmt::format("\n  {} {}", where, cell(error, "detail"));
    }
    return text;
}

std::string submission_body(const SubmissionArguments& arguments) {
    // The payload is pasted as it is: whether it is JSON is for the coordinator to say.
    std::string out = "{";
    if (!arguments.protocol.empty()) {
        out += "\"protocol\":" + Json(arguments.protocol).dump() + ",";
    }
    if (!arguments.timeout.empty()) {
        out += "\"timeout\":" + Json(arguments.timeout).dump() + ",";
    }
    if (!arguments.metadata.empty()) {
        out += "\"metadata\":" + Json(arguments.metadata).dump() + ",";
    }
    if (arguments.to_completion) {
        out += "\"wait_for\":\"completion\",";
    }
    out += "\"branches\":[";
    for (const BranchArgument& branch : arguments.branches) {
        out += &branch == arguments.branches.data() ? "" : ",";
        out += "{\"participant\":" + Json(branch.participant).dump() +
               ",\"payload\":" + branch.payload + "}";
    }
    return out + "]}";
}

std::string participant_body(const ParticipantArguments& arguments) {
    Json body{{"base_url", arguments.base_url}};
    if (!arguments.tls_name.empty()) {
        body["tls_name"] = arguments.tls_name;
    }
    if (!arguments.call_timeout.empty()) {
        body["call_timeout"] = arguments.call_timeout;
    }
    if (arguments.max_concurrent_calls) {
        body["max_concurrent_calls"] = *arguments.max_concurrent_calls;
    }
    return body.dump();
}

std::string reason_body(const std::string& reason, const std::map<std::string, std::string>& more) {
    std::string out = "{";
    for (const auto& [name, value] : more) {
        out += Json(name).dump() + ":" + value + ",";
    }
    return out + "\"reason\":" + Json(reason).dump() + "}";
}

std::optional<TransactionFacts> transaction_facts(const std::string& body) {
    const auto document = parse(body);
    if (!document || cell(*document, "xid").empty()) {
        return std::nullopt;
    }
    return TransactionFacts{cell(*document, "xid"), cell(*document, "state"),
                            cell(*document, "outcome"), cell(*document, "detail")};
}

std::optional<ClusterFacts> cluster_facts(const std::string& body) {
    const auto document = parse(body);
    if (!document || cell(*document, "role").empty()) {
        return std::nullopt;
    }
    return ClusterFacts{cell(*document, "role"), !cell(*document, "leader_id").empty(),
                        flag(*document, "replayed"), flag(*document, "draining")};
}

void print_transaction(const std::string& body, bool json) {
    const auto document = parse(body);
    if (printed_raw(body, json, document)) {
        return;
    }
    for (const char* name : {"xid", "protocol", "mode", "state", "outcome", "reason", "detail",
                             "created_at", "decided_at", "finished_at"}) {
        print_fact(name, cell(*document, name));
    }
    std::vector<Row> rows{{"BRANCH", "PARTICIPANT", "PHASE", "ATTEMPTS", "LAST ERROR"}};
    for (const Json& branch : items(*document, "branches")) {
        rows.push_back({cell(branch, "branch"), cell(branch, "participant"), cell(branch, "phase"),
                        cell(branch, "attempts"), cell(branch, "last_error")});
    }
    fmt::print("\n{}", format_table(rows));
    const auto timeline = items(*document, "timeline");
    if (timeline.empty()) {
        return;
    }
    rows = {{"AT", "EVENT", "BRANCH", "DETAIL"}};
    for (const Json& event : timeline) {
        rows.push_back({cell(event, "at"), cell(event, "event"), cell(event, "branch"),
                        cell(event, "detail")});
    }
    fmt::print("\n{}", format_table(rows));
}

void print_transactions(const std::string& body, bool json) {
    const auto document = parse(body);
    if (printed_raw(body, json, document)) {
        return;
    }
    std::vector<Row> rows{{"XID", "PROTOCOL", "STATE", "OUTCOME", "REASON", "BRANCHES", "CREATED"}};
    for (const Json& item : items(*document, "transactions")) {
        rows.push_back({cell(item, "xid"), cell(item, "protocol"), cell(item, "state"),
                        cell(item, "outcome"), cell(item, "reason"),
                        std::to_string(items(item, "branches").size()), cell(item, "created_at")});
    }
    fmt::print("{}", format_table(rows));
    if (const std::string cursor = cell(*document, "next_cursor"); !cursor.empty()) {
        fmt::print(stderr, "more: --cursor {}\n", cursor);
    }
}

void print_participants(const std::string& body, bool json) {
    const auto document = parse(body);
    if (printed_raw(body, json, document)) {
        return;
    }
    std::vector<Json> participants = items(*document, "participants");
    if (document->contains("name")) {
        participants.push_back(*document);
    }
    std::vector<Row> rows{{"NAME", "BASE URL", "CALL TIMEOUT", "CALLS"}};
    for (const Json& item : participants) {
        rows.push_back({cell(item, "name"), cell(item, "base_url"), cell(item, "call_timeout"),
                        cell(item, "max_concurrent_calls")});
    }
    fmt::print("{}", format_table(rows));
}

void print_cluster(const std::string& body, bool json) {
    const auto document = parse(body);
    if (printed_raw(body, json, document)) {
        return;
    }
    for (const char* name : {"cluster", "node_id", "role", "leader_id", "serving", "term", "epoch",
                             "commit_index", "applied_index", "draining", "version"}) {
        print_fact(name, cell(*document, name));
    }
    std::vector<Row> rows{{"NODE", "LEADER", "API", "PEER ADDRESS", "MATCH INDEX"}};
    for (const Json& node : items(*document, "nodes")) {
        rows.push_back({cell(node, "id"), flag(node, "is_leader") ? "yes" : "",
                        cell(node, "api_url"), cell(node, "peer_address"),
                        cell(node, "match_index")});
    }
    fmt::print("\n{}", format_table(rows));
}

} // namespace concordat::cli
