#include "participant-sdk/src/client/documents.hpp"

#include "participant-sdk/src/wire/json_text.hpp"

namespace concordat::client {

namespace {

using wire::append_json_string;
using wire::JsonReader;

constexpr std::size_t max_text_bytes = 64UL << 10;

void append_member(std::string& out, std::string_view name) {
    if (out.back() != '{') {
        out += ',';
    }
    out += '"';
    out += name;
    out += "\":";
}

void append_text(std::string& out, std::string_view name, std::string_view value) {
    append_member(out, name);
    append_json_string(out, value);
}

void append_branch(std::string& out, const BranchOrder& branch) {
    out += '{';
    append_text(out, "participant", branch.participant);
    append_member(out, "payload");
    out += branch.payload.empty() ? "null" : branch.payload;
    if (branch.timeout) {
        append_text(out, "timeout", write_duration(*branch.timeout));
    }
    out += '}';
}

std::string read_text(JsonReader& reader) {
    return reader.try_null() ? std::string{} : reader.read_string(max_text_bytes);
}

BranchStatus read_branch(JsonReader& reader) {
    BranchStatus branch;
    std::string name;
    reader.begin_object();
    while (reader.next_member(name)) {
        if (name == "participant") {
            branch.participant = read_text(reader);
        } else if (name == "phase") {
            branch.state = read_text(reader);
        } else if (name == "last_error") {
            branch.last_error = read_text(reader);
        } else {
            (void)reader.read_raw();
        }
    }
    return branch;
}

void read_outcome(JsonReader& reader, std::optional<Outcome>& outcome) {
    const std::string text = read_text(reader);
    if (text == "committed") {
        outcome = Outcome::committed;
    } else if (text == "aborted") {
        outcome = Outcome::aborted;
    } else if (!text.empty()) {
        reader.fail("is not an outcome");
    }
}

} // namespace

std::string write_duration(std::chrono::milliseconds duration) {
    return std::to_string(duration.count()) + "ms";
}

std::string check_payload(std::string_view payload) {
    if (payload.empty()) {
        return {};
    }
    JsonReader reader(payload);
    (void)reader.read_raw();
    return reader.finish() ? std::string{} : "a payload is not JSON: it " + reader.error_detail();
}

std::string write_submission(const Submission& submission, Mode mode) {
    std::string out = "{";
    append_text(out, "protocol", name_of(submission.protocol));
    append_text(out, "mode", mode == Mode::interactive ? "interactive" : "submit");
    append_member(out, "branches");
    out += '[';
    for (const BranchOrder& branch : submission.branches) {
        if (out.back() != '[') {
            out += ',';
        }
        append_branch(out, branch);
    }
    out += ']';
    if (submission.timeout) {
        append_text(out, "timeout", write_duration(*submission.timeout));
    }
    if (!submission.metadata.empty()) {
        append_member(out, "metadata");
        out += '{';
        for (const auto& [key, value] : submission.metadata) {
            if (out.back() != '{') {
                out += ',';
            }
            append_json_string(out, key);
            out += ':';
            append_json_string(out, value);
        }
        out += '}';
    }
    if (submission.wait_for == WaitFor::completion) {
        append_text(out, "wait_for", "completion");
    }
    out += '}';
    return out;
}

std::string write_branch(const BranchOrder& branch) {
    std::string out;
    append_branch(out, branch);
    return out;
}

std::string write_wait_for(WaitFor wait_for) {
    return wait_for == WaitFor::completion ? R"({"wait_for":"completion"})" : "{}";
}

std::string write_registration(const ParticipantRegistration& where) {
    std::string out = "{";
    append_text(out, "base_url", where.base_url);
    if (where.call_timeout) {
        append_text(out, "call_timeout", write_duration(*where.call_timeout));
    }
    if (where.max_concurrent_calls) {
        append_member(out, "max_concurrent_calls");
        wire::append_json_number(out, *where.max_concurrent_calls);
    }
    out += '}';
    return out;
}

ClientResult<TransactionStatus> read_transaction(std::string_view body) {
    TransactionStatus status;
    JsonReader reader(body);
    std::string name;
    reader.begin_object();
    while (reader.next_member(name)) {
        if (name == "xid") {
            status.xid = read_text(reader);
        } else if (name == "state") {
            status.state = read_text(reader);
        } else if (name == "outcome") {
            read_outcome(reader, status.outcome);
        } else if (name == "reason") {
            status.reason = read_text(reader);
        } else if (name == "detail") {
            status.detail = read_text(reader);
        } else if (name == "log_index") {
            status.changed_index = reader.read_unsigned();
        } else if (name == "branches") {
            reader.begin_array();
            while (reader.next_element()) {
                status.branches.push_back(read_branch(reader));
            }
        } else {
            (void)reader.read_raw();
        }
    }
    if (!reader.finish() || status.xid.empty() || status.state.empty()) {
        return std::unexpected(
            ClientError{"bad-answer", "the answer is not a transaction: " + reader.error_detail(),
                        Effect::unknown, false, 0, status.xid});
    }
    return status;
}

ClientError read_problem(int status, std::string_view body) {
    // Without a problem document nobody knows what a server, or a proxy before it, has done.
    ClientError error{.code = "bad-answer",
                      .detail = "HTTP status " + std::to_string(status),
                      .effect = Effect::unknown,
                      .retryable = status == 429 || status >= 500,
                      .http_status = status,
                      .xid = {}};
    JsonReader reader(body);
    ClientError told = error;
    std::string effect;
    std::string name;
    reader.begin_object();
    while (reader.next_member(name)) {
        if (name == "code") {
            told.code = read_text(reader);
        } else if (name == "detail") {
            told.detail = read_text(reader);
        } else if (name == "effect") {
            effect = read_text(reader);
        } else if (name == "retryable") {
            told.retryable = reader.read_bool();
        } else if (name == "xid") {
            told.xid = read_text(reader);
        } else {
            (void)reader.read_raw();
        }
    }
    if (!reader.finish() || effect.empty()) {
        return error;
    }
    told.effect = effect == "none"      ? Effect::none
                  : effect == "applied" ? Effect::applied
                                        : Effect::unknown;
    return told;
}

} // namespace concordat::client
