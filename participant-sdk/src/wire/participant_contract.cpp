#include "participant-sdk/src/wire/participant_contract.hpp"

#include "participant-sdk/src/wire/json_text.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace concordat::wire {

namespace {

constexpr std::array<std::string_view, 6> operation_names{"prepare", "pre-commit",       "commit",
                                                          "abort",   "commit-one-phase", "learn"};
constexpr std::array<std::string_view, 3> vote_names{"yes", "no", "read_only"};
constexpr std::array<std::string_view, 2> outcome_names{"committed", "aborted"};
constexpr std::array<std::string_view, 4> state_names{"unknown", "prepared", "committed",
                                                      "aborted"};
constexpr std::size_t max_name_bytes = 64;
constexpr std::uint64_t max_retry_after_ms = 24UL * 3600 * 1000;

template <class Enum, std::size_t N>
std::optional<Enum> value_named(const std::array<std::string_view, N>& names,
                                std::string_view name) noexcept {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
        return std::nullopt;
    }
    return static_cast<Enum>(found - names.begin());
}

template <class Enum, std::size_t N>
Enum read_enum(JsonReader& reader, const std::array<std::string_view, N>& names) {
    const std::string name = reader.read_string(max_name_bytes);
    const auto value = value_named<Enum>(names, name);
    if (!value && !reader.failed()) {
        reader.fail("is not a known name");
    }
    return value.value_or(Enum{});
}

// Which members an object had: finds duplicates and missing ones.
class Members {
public:
    void seen(JsonReader& reader, unsigned member) {
        const std::uint32_t bit = 1U << member;
        if ((bits_ & bit) != 0) {
            reader.fail("occurs twice");
        }
        bits_ |= bit;
    }
    [[nodiscard]] bool has(unsigned member) const noexcept { return (bits_ & (1U << member)) != 0; }

private:
    std::uint32_t bits_ = 0;
};

template <std::size_t N>
std::optional<unsigned> index_of(const std::array<std::string_view, N>& names,
                                 std::string_view name) noexcept {
    return value_named<unsigned>(names, name);
}

// Reads an object: `read(index)` for each member, which must be one of `names`.
template <std::size_t N, class Read>
Members read_object(JsonReader& reader, const std::array<std::string_view, N>& names, Read read) {
    Members members;
    std::string name;
    reader.begin_object();
    while (reader.next_member(name)) {
        const auto member = index_of(names, name);
        if (!member) {
            reader.fail("is not a known member");
            break;
        }
        members.seen(reader, *member);
        read(*member);
    }
    return members;
}

WireError error_of(const JsonReader& reader) {
    return {.pointer = reader.error_pointer(), .detail = reader.error_detail()};
}

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

// ---------------------------------------------------------------- BranchRequest

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

std::string read_participant_name(JsonReader& reader) {
    std::string name = reader.read_string(max_name_bytes);
    if (!reader.failed() && !is_participant_name(name)) {
        reader.fail("is not a participant name");
    }
    return name;
}

std::uint16_t read_small(JsonReader& reader) {
    return static_cast<std::uint16_t>(
        reader.read_unsigned(std::numeric_limits<std::uint16_t>::max()));
}

std::vector<Peer> read_peers(JsonReader& reader) {
    static constexpr std::array<std::string_view, 3> names{"branch", "participant", "base_url"};
    std::vector<Peer> peers;
    reader.begin_array();
    while (reader.next_element()) {
        if (peers.size() == max_peers) {
            reader.fail("exceeds the limit of participants");
            break;
        }
        Peer& peer = peers.emplace_back();
        const Members members = read_object(reader, names, [&](unsigned member) {
            switch (member) {
            case 0:
                peer.branch = read_small(reader);
                break;
            case 1:
                peer.participant = read_participant_name(reader);
                break;
            default:
                peer.base_url = reader.read_string(max_url_bytes);
                break;
            }
        });
        if (!members.has(0) || !members.has(1) || !members.has(2)) {
            reader.fail("needs branch, participant and base_url");
        }
    }
    return peers;
}

std::vector<std::string> read_coordinators(JsonReader& reader) {
    std::vector<std::string> urls;
    reader.begin_array();
    while (reader.next_element()) {
        if (urls.size() == max_coordinators) {
            reader.fail("exceeds the limit of coordinators");
            break;
        }
        urls.push_back(reader.read_string(max_url_bytes));
    }
    return urls;
}

enum RequestMember : unsigned {
    m_operation,
    m_epoch,
    m_attempt,
    m_protocol,
    m_participant,
    m_payload,
    m_participants,
    m_quorum,
    m_coordinator_is_acceptor,
    m_capability,
    m_coordinators,
    m_xid,
    m_branch
};
constexpr std::array<std::string_view, 13> request_members{
    "operation",    "epoch",        "attempt",
    "protocol",     "participant",  "payload",
    "participants", "quorum",       "coordinator_is_acceptor",
    "capability",   "coordinators", "xid",
    "branch"};

void read_request_member(JsonReader& reader, unsigned member, BranchRequest& request) {
    static constexpr std::array<std::string_view, 2> protocols{"2pc", "3pc"};
    switch (static_cast<RequestMember>(member)) {
    case m_operation:
        request.operation = read_enum<Operation>(reader, operation_names);
        break;
    case m_epoch:
        request.epoch = reader.read_unsigned();
        break;
    case m_attempt:
        request.attempt = static_cast<std::uint32_t>(
            reader.read_unsigned(std::numeric_limits<std::uint32_t>::max()));
        break;
    case m_protocol:
        request.three_phase = read_enum<unsigned>(reader, protocols) == 1;
        break;
    case m_participant:
        request.participant = read_participant_name(reader);
        break;
    case m_payload:
        request.payload = reader.read_raw();
        if (request.payload.size() > max_payload_bytes) {
            reader.fail("is too long");
        }
        break;
    case m_participants:
        request.participants = read_peers(reader);
        break;
    case m_quorum:
        request.quorum = read_small(reader);
        break;
    case m_coordinator_is_acceptor:
        request.coordinator_is_acceptor = reader.read_bool();
        break;
    case m_capability:
        request.capability = reader.read_string(max_capability_bytes);
        break;
    case m_coordinators:
        request.coordinators = read_coordinators(reader);
        break;
    case m_xid:
        request.xid = reader.read_string(max_name_bytes);
        if (!reader.failed() && !is_xid(request.xid)) {
            reader.fail("is not a transaction id");
        }
        break;
    case m_branch:
        request.branch = read_small(reader);
        break;
    }
}

// `with_key`: xid and branch stand in the body (a batch); otherwise they stand in the path only.
void read_request(JsonReader& reader, BranchRequest& request, bool with_key) {
    const Members members = read_object(reader, request_members, [&](unsigned member) {
        if (!with_key && (member == m_xid || member == m_branch)) {
            reader.fail("belongs into the path");
            return;
        }
        read_request_member(reader, member, request);
    });
    if (!members.has(m_operation) || !members.has(m_epoch) || !members.has(m_attempt)) {
        reader.fail("needs operation, epoch and attempt");
    }
    if (with_key && (!members.has(m_xid) || !members.has(m_branch))) {
        reader.fail("needs xid and branch");
    }
}

// ---------------------------------------------------------------- BranchAnswer

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

std::uint16_t read_status(JsonReader& reader) {
    const std::uint64_t status = reader.read_unsigned(599);
    if (!reader.failed() && status < 100) {
        reader.fail("is not an HTTP status");
    }
    return static_cast<std::uint16_t>(status);
}

void read_answer(JsonReader& reader, BranchAnswer& answer) {
    static constexpr std::array<std::string_view, 5> names{"status", "vote", "outcome", "reason",
                                                           "retry_after_ms"};
    const Members members = read_object(reader, names, [&](unsigned member) {
        switch (member) {
        case 0:
            answer.status = read_status(reader);
            break;
        case 1:
            answer.vote = read_enum<Vote>(reader, vote_names);
            break;
        case 2:
            answer.outcome = read_enum<Outcome>(reader, outcome_names);
            break;
        case 3:
            answer.reason = reader.read_string(max_reason_bytes);
            break;
        default:
            answer.retry_after =
                std::chrono::milliseconds(reader.read_unsigned(max_retry_after_ms));
            break;
        }
    });
    if (!members.has(0)) {
        reader.fail("needs status");
    }
}

// ---------------------------------------------------------------- ballots

void append_ballot(std::string& out, const Ballot& ballot) {
    ObjectWriter object(out);
    object.number("round", ballot.round);
    object.number("proposer", ballot.proposer);
    object.end();
}

Ballot read_ballot(JsonReader& reader) {
    static constexpr std::array<std::string_view, 2> names{"round", "proposer"};
    Ballot ballot;
    const Members members = read_object(reader, names, [&](unsigned member) {
        if (member == 0) {
            ballot.round = static_cast<std::uint32_t>(
                reader.read_unsigned(std::numeric_limits<std::uint32_t>::max()));
        } else {
            ballot.proposer = read_small(reader);
        }
    });
    if (!members.has(0) || !members.has(1)) {
        reader.fail("needs round and proposer");
    }
    return ballot;
}

// Reads a list `member: [...]` that is the only member of a body.
template <class Element, class ReadElement>
std::expected<std::vector<Element>, WireError>
decode_list(std::string_view body, std::string_view member, ReadElement read_element) {
    JsonReader reader(body);
    std::vector<Element> elements;
    bool present = false;
    std::string name;
    reader.begin_object();
    while (reader.next_member(name)) {
        if (name != member || present) {
            reader.fail(present ? "occurs twice" : "is not a known member");
            break;
        }
        present = true;
        reader.begin_array();
        while (reader.next_element()) {
            if (elements.size() == max_batch) {
                reader.fail("exceeds the limit of a batch");
                break;
            }
            read_element(reader, elements.emplace_back());
        }
    }
    if (!reader.failed() && !present) {
        return std::unexpected(WireError{"", "needs " + std::string(member)});
    }
    if (!reader.finish()) {
        return std::unexpected(error_of(reader));
    }
    return elements;
}

} // namespace

// ---------------------------------------------------------------- names

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

// ---------------------------------------------------------------- encoders

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

// ---------------------------------------------------------------- decoders

std::expected<BranchRequest, WireError> decode_request(std::string_view xid, std::uint16_t branch,
                                                       std::string_view body) {
    if (!is_xid(xid)) {
        return std::unexpected(WireError{"", "the path does not name a transaction id"});
    }
    BranchRequest request;
    request.xid = xid;
    request.branch = branch;
    JsonReader reader(body);
    read_request(reader, request, false);
    if (!reader.finish()) {
        return std::unexpected(error_of(reader));
    }
    return request;
}

std::expected<std::vector<BranchRequest>, WireError> decode_request_batch(std::string_view body) {
    return decode_list<BranchRequest>(
        body, "operations",
        [](JsonReader& reader, BranchRequest& request) { read_request(reader, request, true); });
}

std::expected<BranchAnswer, WireError> decode_answer(std::uint16_t status, std::string_view body) {
    BranchAnswer answer;
    // A server that is too busy to run anything answers without a body.
    if (body.empty() && (status == 425 || status == 429 || status == 503)) {
        answer.status = status;
        return answer;
    }
    JsonReader reader(body);
    read_answer(reader, answer);
    if (!reader.finish()) {
        return std::unexpected(error_of(reader));
    }
    if (answer.status != status) {
        return std::unexpected(WireError{"/status", "differs from the HTTP status"});
    }
    return answer;
}

std::expected<std::vector<BranchAnswer>, WireError> decode_answer_batch(std::string_view body) {
    return decode_list<BranchAnswer>(body, "answers", [](JsonReader& reader, BranchAnswer& answer) {
        read_answer(reader, answer);
    });
}

std::expected<BallotRequest, WireError>
decode_ballot_request(std::string_view xid, std::uint16_t branch, std::string_view body) {
    static constexpr std::array<std::string_view, 3> names{"ballot", "value", "capability"};
    if (!is_xid(xid)) {
        return std::unexpected(WireError{"", "the path does not name a transaction id"});
    }
    BallotRequest request;
    request.xid = xid;
    request.branch = branch;
    JsonReader reader(body);
    const Members members = read_object(reader, names, [&](unsigned member) {
        switch (member) {
        case 0:
            request.ballot = read_ballot(reader);
            break;
        case 1:
            request.value = read_enum<Outcome>(reader, outcome_names);
            break;
        default:
            request.capability = reader.read_string(max_capability_bytes);
            break;
        }
    });
    if (!members.has(0) || !members.has(2)) {
        reader.fail("needs ballot and capability");
    }
    if (!reader.finish()) {
        return std::unexpected(error_of(reader));
    }
    return request;
}

std::expected<BallotAnswer, WireError> decode_ballot_answer(std::string_view body) {
    static constexpr std::array<std::string_view, 7> names{
        "status", "granted", "promised", "accepted_ballot", "accepted_value", "outcome", "reason"};
    BallotAnswer answer;
    JsonReader reader(body);
    const Members members = read_object(reader, names, [&](unsigned member) {
        switch (member) {
        case 0:
            answer.status = read_status(reader);
            break;
        case 1:
            answer.granted = reader.read_bool();
            break;
        case 2:
            answer.promised = read_ballot(reader);
            break;
        case 3:
            answer.accepted_ballot = read_ballot(reader);
            break;
        case 4:
            answer.accepted_value = read_enum<Outcome>(reader, outcome_names);
            break;
        case 5:
            answer.outcome = read_enum<Outcome>(reader, outcome_names);
            break;
        default:
            answer.reason = reader.read_string(max_reason_bytes);
            break;
        }
    });
    if (!members.has(0) || !members.has(1) || !members.has(2)) {
        reader.fail("needs status, granted and promised");
    }
    if (members.has(3) != members.has(4)) {
        reader.fail("needs accepted_ballot and accepted_value together");
    }
    if (!reader.finish()) {
        return std::unexpected(error_of(reader));
    }
    return answer;
}

std::expected<BranchStatus, WireError> decode_status(std::string_view body) {
    static constexpr std::array<std::string_view, 1> names{"state"};
    BranchStatus status;
    JsonReader reader(body);
    const Members members = read_object(reader, names, [&](unsigned) {
        status.state = read_enum<BranchState>(reader, state_names);
    });
    if (!members.has(0)) {
        reader.fail("needs state");
    }
    if (!reader.finish()) {
        return std::unexpected(error_of(reader));
    }
    return status;
}

} // namespace concordat::wire
