#include "participant-sdk/src/wire/json_text.hpp"
#include "participant-sdk/src/wire/names.hpp"
#include "participant-sdk/src/wire/participant_contract.hpp"

namespace concordat::wire {

namespace {

std::string_view shortened(std::string_view text, std::size_t max_bytes) noexcept {
    if (text.size() <= max_bytes) {
        return text;
    }
    std::size_t end = max_bytes;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) {
        --end; // not through the middle of a character
    }
    return text.substr(0, end);
}

// One object under construction; knows whether a comma is due.
class ObjectWriter {
public:
    explicit ObjectWriter(std::string& out) : out_(out) { out_ += '{'; }
    void key(std::string_view name) {
        if (!first_) {
            out_ += ',';
        }
        first_ = false;
        out_ += '"';
        out_ += name;
        out_ += "\":";
    }
    void text(std::string_view name, std::string_view value) {
        key(name);
        append_json_string(out_, value);
    }
    void number(std::string_view name, std::uint64_t value) {
        key(name);
        append_json_number(out_, value);
    }
    void boolean(std::string_view name, bool value) {
        key(name);
        out_ += value ? "true" : "false";
    }
    void end() { out_ += '}'; }

private:
    std::string& out_;
    bool first_ = true;
};

void append_peers(std::string& out, const std::vector<Peer>& peers) {
    out += '[';
    for (const Peer& peer : peers) {
        if (out.back() != '[') {
            out += ',';
        }
        ObjectWriter object(out);
        object.number("branch", peer.branch);
        object.text("participant", peer.participant);
        object.text("base_url", peer.base_url);
        object.end();
    }
    out += ']';
}

void append_request(std::string& out, const BranchRequest& request, bool with_key) {
    ObjectWriter object(out);
    if (with_key) {
        object.text("xid", request.xid);
        object.number("branch", request.branch);
    }
    object.text("operation", name_of(request.operation));
    object.number("epoch", request.epoch);
    object.number("attempt", request.attempt);
    object.text("protocol", request.three_phase ? "3pc" : "2pc");
    if (!request.participant.empty()) {
        object.text("participant", request.participant);
    }
    if (!request.payload.empty()) {
        object.key("payload");
        out += request.payload;
    }
    if (!request.participants.empty()) {
        object.key("participants");
        append_peers(out, request.participants);
    }
    if (request.quorum != 0) {
        object.number("quorum", request.quorum);
    }
    if (request.coordinator_is_acceptor) {
        object.boolean("coordinator_is_acceptor", true);
    }
    if (!request.capability.empty()) {
        object.text("capability", request.capability);
    }
    if (!request.coordinators.empty()) {
        object.key("coordinators");
        out += '[';
        for (const std::string& url : request.coordinators) {
            if (out.back() != '[') {
                out += ',';
            }
            append_json_string(out, url);
        }
        out += ']';
    }
    object.end();
}

void append_answer(std::string& out, const BranchAnswer& answer) {
    ObjectWriter object(out);
    object.number("status", answer.status);
    if (answer.vote) {
        object.text("vote", name_of(*answer.vote));
    }
    if (answer.outcome) {
        object.text("outcome", name_of(*answer.outcome));
    }
    if (!answer.reason.empty()) {
        object.text("reason", shortened(answer.reason, max_reason_bytes));
    }
    if (answer.retry_after && answer.retry_after->count() >= 0) {
        object.number("retry_after_ms", static_cast<std::uint64_t>(answer.retry_after->count()));
    }
    object.end();
}

void append_ballot(std::string& out, const Ballot& ballot) {
    ObjectWriter object(out);
    object.number("round", ballot.round);
    object.number("proposer", ballot.proposer);
    object.end();
}

} // namespace

std::string_view name_of(Operation operation) noexcept {
    return operation_names[static_cast<std::size_t>(operation)];
}

std::optional<Operation> operation_from(std::string_view name) noexcept {
    return value_named<Operation>(operation_names, name);
}

std::string_view name_of(Vote vote) noexcept {
    return vote_names[static_cast<std::size_t>(vote)];
}

std::string_view name_of(Outcome outcome) noexcept {
    return outcome_names[static_cast<std::size_t>(outcome)];
}

bool is_xid(std::string_view text) noexcept {
    return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '_' || c == '-';
    });
}

bool is_participant_name(std::string_view text) noexcept {
    return !text.empty() && text.size() <= 63 && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
    });
}

std::string target_of(const BranchRequest& request) {
    std::string target = "/v1/branches/";
    target += request.xid;
    target += '/';
    append_json_number(target, request.branch);
    target += '/';
    target += name_of(request.operation);
    return target;
}

std::string encode(const BranchRequest& request) {
    std::string out;
    out.reserve(request.payload.size() + 160 + 128 * request.participants.size());
    append_request(out, request, false);
    return out;
}

std::string encode_batch(const std::vector<BranchRequest>& requests) {
    std::string out = "{\"operations\":[";
    for (const BranchRequest& request : requests) {
        if (out.back() != '[') {
            out += ',';
        }
        append_request(out, request, true);
    }
    out += "]}";
    return out;
}

std::string encode(const BranchAnswer& answer) {
    std::string out;
    append_answer(out, answer);
    return out;
}

std::string encode_batch(const std::vector<BranchAnswer>& answers) {
    std::string out = "{\"answers\":[";
    for (const BranchAnswer& answer : answers) {
        if (out.back() != '[') {
            out += ',';
        }
        append_answer(out, answer);
    }
    out += "]}";
    return out;
}

std::string encode(const BallotRequest& request) {
    std::string out;
    ObjectWriter object(out);
    object.key("ballot");
    append_ballot(out, request.ballot);
    if (request.value) {
        object.text("value", name_of(*request.value));
    }
    object.text("capability", request.capability);
    object.end();
    return out;
}

std::string encode(const BallotAnswer& answer) {
    std::string out;
    ObjectWriter object(out);
    object.number("status", answer.status);
    object.boolean("granted", answer.granted);
    object.key("promised");
    append_ballot(out, answer.promised);
    if (answer.accepted_ballot) {
        object.key("accepted_ballot");
        append_ballot(out, *answer.accepted_ballot);
    }
    if (answer.accepted_value) {
        object.text("accepted_value", name_of(*answer.accepted_value));
    }
    if (answer.outcome) {
        object.text("outcome", name_of(*answer.outcome));
    }
    if (!answer.reason.empty()) {
        object.text("reason", shortened(answer.reason, max_reason_bytes));
    }
    object.end();
    return out;
}

std::string encode(const BranchStatus& status) {
    std::string out;
    ObjectWriter object(out);
    object.text("state", state_names[static_cast<std::size_t>(status.state)]);
    object.end();
    return out;
}

} // namespace concordat::wire
