#pragma once

// The facts that are replicated: what a new leader must know and nothing else. Votes, retries and
// timers are volatile. One log entry carries the commands of one core turn, in order.
//
// The binary encoding lives in coordinator/log/command_codec.hpp; a node that meets a command it
// does not know stops before applying it.

#include "coordinator/core/ids.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace concordat::core {

enum class Protocol : std::uint8_t { two_phase = 0, three_phase = 1 };
/// submit: all branches arrive in one request. interactive: opened, enlisted, then committed.
enum class Mode : std::uint8_t { submit = 0, interactive = 1 };
enum class Outcome : std::uint8_t { committed = 0, aborted = 1 };

/// Why a decision was what it was; shown to users, counted in metrics.
enum class DecisionReason : std::uint8_t {
    all_voted_yes = 0,
    participant_refused = 1,
    deadline_passed = 2,
    client_aborted = 3,
    operator_aborted = 4,
    inquiry_before_decision = 5,
    participants_terminated = 6, ///< quorum 3PC: participants decided without the coordinator
};

struct BranchSpec {
    ParticipantName participant;
    SharedBytes payload;                  ///< raw JSON text, passed through untouched
    std::optional<Duration> call_timeout; ///< per call; the participant's default when absent
};

/// A transaction becomes known. For interactive mode `branches` is empty or a first part.
struct Begin {
    Xid xid;
    Protocol protocol = Protocol::two_phase;
    Mode mode = Mode::submit;
    std::vector<BranchSpec> branches;
    Duration timeout{};          ///< from acceptance by a leader until it must be decided
    Digest digest;               ///< of the request; same xid with another digest is refused
    std::string idempotency_key; ///< empty when the client sent none
    std::string traceparent;     ///< W3C trace context, empty when absent
    std::map<std::string, std::string> metadata;
    WallTime created_at;
    std::string capability; ///< quorum 3PC and cooperative termination: secret for peers
};

struct Enlist {
    Xid xid;
    BranchSpec branch;
    WallTime at;
};

/// Quorum 3PC: all voted yes. After it the coordinator can no longer abort by itself (Q4).
struct Precommit {
    Xid xid;
    WallTime at;
};

/// The decision. The first one applied wins; any later one gets the first one's outcome.
struct Decide {
    Xid xid;
    Outcome outcome = Outcome::aborted;
    DecisionReason reason = DecisionReason::all_voted_yes;
    std::string detail;                       ///< e.g. which participant refused and why
    std::vector<BranchNumber> without_effect; ///< read-only or refused: need no delivery
    WallTime at;
};

/// All acknowledgements that are needed have arrived; the record may be forgotten.
struct End {
    Xid xid;
    WallTime at;
};

/// First entry of every leadership; its log index is the epoch.
struct LeaderEpoch {
    NodeId leader;
    /// Tells this leadership's entry from one that the same node appended in an earlier leadership
    /// and that was committed late; never 0.
    std::uint64_t nonce = 0;
};

/// An entry without content, appended so that reads queued before it are linearizable.
struct ReadBarrier {};

struct ParticipantDefinition {
    std::string base_url; ///< http(s)://host:port[/path]
    std::string tls_name; ///< expected certificate name, empty = host of base_url
    Duration call_timeout{std::chrono::seconds{10}};
    std::uint32_t max_concurrent_calls = 64;
    bool operator==(const ParticipantDefinition&) const = default;
};

struct PutParticipant {
    ParticipantName name;
    ParticipantDefinition definition;
};

struct RemoveParticipant {
    ParticipantName name;
};

/// Audited operator action: who did what to which object and why.
struct OperatorAction {
    std::string who;
    std::string action;
    std::string object;
    std::string why;
    WallTime at;
    bool operator==(const OperatorAction&) const = default;
};

/// Number of a proposal in quorum 3PC. (0, 0) belongs to the coordinator group, higher ones to
/// whoever terminates the transaction.
struct Ballot {
    std::uint64_t round = 0;
    std::uint64_t proposer = 0;
    auto operator<=>(const Ballot&) const = default;
};

/// Quorum 3PC, the coordinator group as an acceptor: it will accept nothing below this ballot.
struct Promise {
    Xid xid;
    Ballot ballot;
    WallTime at;
};

/// Quorum 3PC, the coordinator group as an acceptor: it accepted this value at this ballot.
struct Accept {
    Xid xid;
    Ballot ballot;
    Outcome value = Outcome::aborted;
    WallTime at;
};

using Command = std::variant<Begin, Enlist, Precommit, Decide, End, LeaderEpoch, ReadBarrier,
                             PutParticipant, RemoveParticipant, OperatorAction, Promise, Accept>;

} // namespace concordat::core
