#include "participant-sdk/src/wire/json_text.hpp"
#include "participant-sdk/src/wire/names.hpp"
#include "participant-sdk/src/wire/participant_contract.hpp"

#include <limits>
#include <utility>

namespace concordat::wire {

namespace {

constexpr std::size_t max_name_bytes = 64;
constexpr std::uint64_t max_retry_after_ms = 24UL * 3600 * 1000;

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
            if (!reader.failed() && (request.ballot.round == 0 || request.ballot.proposer == 0)) {
                reader.fail("round and proposer must be at least 1");
            }
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
