#pragma once

// The transaction core of one node: events in, actions out, no I/O, no clock, no thread, no
// randomness of its own (a seed comes in). The same object runs in concordatd and in the simulator.
//
// One turn: the owner feeds everything that has arrived (handle), then takes the actions. All
// appends of a turn form ONE log entry. A decision is sent or answered only from apply(), that is
// only after the log committed it (I3).
//
// Sources: Gray & Reuter, Transaction Processing, ch. 10 (two-phase commit, presumed abort);
// Mohan, Lindsay & Obermarck 1986 (presumed abort, read-only optimisation); Gray & Lamport 2006
// (a decision that is replicated). Rules and crash points: docs/concepts/guarantees.md.

#include "coordinator/core/commands.hpp"
#include "coordinator/core/ids.hpp"
#include "coordinator/core/replicated_state.hpp"

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace concordat::core {

// ---------------------------------------------------------------- participant calls

enum class Operation : std::uint8_t {
    prepare,
    pre_commit, ///< quorum 3PC, ballot 0
    commit,
    abort,
    commit_one_phase, ///< single branch: prepare and commit in one local transaction
    learn             ///< quorum 3PC: ask what participants decided by themselves
};
enum class Vote : std::uint8_t { yes, no, read_only };

/// Names one attempt; an answer to an attempt that is no longer current is dropped.
struct CallKey {
    Xid xid;
    BranchNumber branch;
    Operation operation = Operation::prepare;
    std::uint32_t attempt = 0;
    bool operator==(const CallKey&) const = default;
};

/// Another participant of the same transaction, for termination among participants.
struct Peer {
    BranchNumber branch;
    ParticipantName participant;
    std::string base_url;
};

/// One request to one participant. Sent as it is; never retried by the shell: the core retries.
struct ParticipantCall {
    CallKey key;
    ParticipantName participant;
    ParticipantDefinition target;
    Epoch epoch;
    Protocol protocol = Protocol::two_phase;
    SharedBytes payload;                  ///< prepare and one-phase only; else null
    std::vector<Peer> peers;              ///< prepare only
    std::string capability;               ///< prepare only: secret shared by the peers of this xid
    std::uint16_t quorum = 0;             ///< prepare of 3PC only: acceptors needed
    bool coordinator_is_acceptor = false; ///< 3PC
    std::string traceparent;
    Duration timeout{};
};

/// What came back, as the shell understood it.
struct CallResult {
    struct Voted {
        Vote vote = Vote::no;
        std::string reason;
    };
    struct Done {};
    /// 409: for good. For prepare: a "no" (a tombstone); for commit: an alarm.
    struct Refused {
        std::string reason;
    };
    /// 425, 429, 503 with Retry-After: the participant did nothing.
    struct Later {
        std::optional<Duration> retry_after;
    };
    /// Time-out, reset, nonsense, 5xx: the effect is unknown; ask again.
    struct Unknown {
        std::string detail;
    };
    /// learn, or pre_commit that met an outcome: participants already decided.
    struct Decided {
        Outcome outcome = Outcome::aborted;
    };
    CallKey key;
    std::variant<Voted, Done, Refused, Later, Unknown, Decided> answer;
};

// ---------------------------------------------------------------- client requests

enum class WaitFor : std::uint8_t {
    begun,     ///< answer as soon as BEGIN is durable (Prefer: respond-async)
    decision,  ///< default
    completion ///< all acknowledgements
};

struct BeginRequest {
    std::optional<Xid> xid; ///< server-made when absent
    Protocol protocol = Protocol::two_phase;
    Mode mode = Mode::submit;
    std::vector<BranchSpec> branches;
    std::optional<Duration> timeout;
    Digest digest;
    std::string idempotency_key;
    std::string traceparent;
    std::map<std::string, std::string> metadata;
    WaitFor wait_for = WaitFor::decision;
    std::optional<Duration> wait_limit; ///< Prefer: wait=N; afterwards the answer is Pending
};
struct EnlistRequest {
    Xid xid;
    BranchSpec branch;
};
struct DecideRequest { ///< interactive commit or abort; abort also for an undecided submitted one
    Xid xid;
    Outcome wanted = Outcome::committed;
    bool by_operator = false;
    std::string who;
    std::string why;
    WaitFor wait_for = WaitFor::decision;
    std::optional<Duration> wait_limit;
};
struct GetRequest {
    Xid xid;
    bool stale_allowed = false;         ///< answered by any replica from its own state
    std::optional<LogIndex> wait_index; ///< long poll: answer when changed_index is greater
    std::optional<Duration> wait_limit;
};
struct ListRequest {
    std::optional<bool> decided;
    std::optional<TransactionState> state;
    std::optional<ParticipantName> participant;
    std::optional<Duration> older_than;
    bool in_doubt = false;
    std::string xid_prefix;
    std::string after_xid;  ///< cursor: last xid of the previous page
    std::size_t limit = 50; ///< at most 200
};
struct RetryRequest { ///< operator: every waiting retry of this transaction becomes due now
    Xid xid;
    std::string who;
    std::string why;
};
/// A participant asks what became of a transaction. Unknown or orphaned: ABORT is logged first.
struct InquiryRequest {
    Xid xid;
};
/// Quorum 3PC, where the coordinator group is an acceptor (PREPARE says so): a participant that
/// terminates the transaction asks for a promise, then to accept its value. The answer is a
/// BallotReply, given only after what it says is committed in the log (Q1). An unknown transaction
/// is answered like an inquiry, with an InquiryReply.
struct PromiseRequest {
    Xid xid;
    Ballot ballot;          ///< above (0, 0), which is refused
    std::string capability; ///< from PREPARE
};
struct AcceptRequest {
    Xid xid;
    Ballot ballot;
    Outcome value = Outcome::aborted;
    std::string capability;
};
struct PutParticipantRequest {
    ParticipantName name;
    ParticipantDefinition definition;
    std::string who;
};
struct RemoveParticipantRequest { ///< refused while an unfinished transaction names it
    ParticipantName name;
    std::string who;
    std::string why;
};
struct ListParticipantsRequest {};

using ClientRequest =
    std::variant<BeginRequest, EnlistRequest, DecideRequest, GetRequest, ListRequest, RetryRequest,
                 InquiryRequest, PutParticipantRequest, RemoveParticipantRequest,
                 ListParticipantsRequest, PromiseRequest, AcceptRequest>;

// ---------------------------------------------------------------- replies

enum class BranchPhase : std::uint8_t {
    enlisted,
    preparing,
    prepared,
    read_only,
    refused,
    precommitting,
    precommitted,
    committing,
    committed,
    aborting,
    aborted
};

struct TimelineEvent {
    WallTime at;
    std::string event; ///< stable name: begun, enlisted, voted_yes, decided_commit, acknowledged …
    std::optional<BranchNumber> branch;
    std::string detail;
};

struct BranchView {
    ParticipantName participant;
    BranchPhase phase = BranchPhase::enlisted;
    std::uint32_t attempts = 0; ///< of the current operation; 0 on a follower
    std::string last_error;     ///< empty when the last attempt succeeded
};

struct TransactionView {
    Xid xid;
    Protocol protocol = Protocol::two_phase;
    Mode mode = Mode::submit;
    TransactionState state = TransactionState::active;
    std::optional<Outcome> outcome;
    std::optional<DecisionReason> reason;
    std::string detail;
    std::vector<BranchView> branches;
    std::vector<TimelineEvent> timeline;
    std::map<std::string, std::string> metadata;
    WallTime created_at;
    std::optional<WallTime> decided_at;
    std::optional<WallTime> finished_at;
    LogIndex changed_index;
    bool needs_attention = false; ///< older than the attention age and not finished
};

enum class RejectCode : std::uint8_t {
    invalid_request,
    transaction_not_found,
    already_decided,
    registration_closed,
    idempotency_key_reused,
    xid_reused,
    xid_closed,
    unknown_participant,
    participant_in_use,
    participant_not_found,
    too_many_branches,
    overloaded,
    no_leader,
    outcome_unknown, ///< leadership was lost between append and apply; effect unknown
    unsupported_protocol
};

struct Rejected {
    RejectCode code = RejectCode::invalid_request;
    std::string detail;
    std::optional<Xid> xid;
    std::optional<Duration> retry_after;
    std::optional<NodeId> leader; ///< with no_leader when another leader is known
};
/// The transaction as it stands. `pending`: the wait limit passed before what was waited for.
struct TransactionReply {
    TransactionView view;
    bool pending = false;
    bool created = false; ///< false: the recorded outcome of an earlier identical request
};
struct TransactionPage {
    std::vector<TransactionView> items; ///< without timelines
    std::string next_after_xid;         ///< empty on the last page
};
struct InquiryReply {
    Xid xid;
    std::optional<Outcome> outcome; ///< nothing: still undecided, ask again later
};
struct ParticipantsReply {
    std::vector<std::pair<ParticipantName, ParticipantDefinition>> items;
};
struct Acknowledged {};
/// An outcome settles the matter and comes without a grant (Q8).
struct BallotReply {
    Xid xid;
    bool granted = false;
    Ballot promised; ///< the highest; a refused proposer must go above it
    std::optional<Ballot> accepted;
    Outcome accepted_value = Outcome::aborted; ///< with `accepted`
    std::optional<Outcome> outcome;
};

using Reply = std::variant<TransactionReply, TransactionPage, InquiryReply, ParticipantsReply,
                           Acknowledged, Rejected, BallotReply>;

// ---------------------------------------------------------------- actions

/// What the owner must do, in this order: append, calls, replies. When the log refuses the append,
/// tell append_failed() and carry out calls and replies all the same: the core depends on exactly
/// one result per call, and a PREPARE whose BEGIN is not logged (yet) is harmless: a participant
/// that asks about an unknown transaction learns that it is aborted.
struct Actions {
    std::vector<Command> append;        ///< one log entry; empty = none
    std::vector<ParticipantCall> calls; ///< may be batched per participant
    std::vector<std::pair<RequestToken, Reply>> replies;
};

struct CoordinatorOptions {
    NodeId node;
    std::uint16_t group = 0; ///< part of server-made xids; one group today
    std::uint64_t seed = 0;  ///< jitter and capabilities
    std::size_t max_branches = 64;
    std::size_t max_in_flight = 100'000; ///< unfinished transactions; beyond: overloaded
    std::size_t max_waiting_requests = 100'000;
    Duration default_timeout = std::chrono::seconds{30};
    Duration max_timeout = std::chrono::hours{24};
    Duration retry_initial = std::chrono::milliseconds{50};
    Duration retry_cap = std::chrono::seconds{5};
    Duration attention_after = std::chrono::minutes{5};
    /// An END that nothing else travels with is appended after this time.
    Duration end_delay = std::chrono::milliseconds{20};
    /// A turn's commands beyond this wait for the next entry; below the log's max_entry_bytes.
    std::size_t max_append_bytes = 4UL << 20;
    std::size_t max_timeline_events = 64; ///< per transaction; later ones are counted only
    RetentionLimits retention;
};

/// Figures for metrics, all since start except the gauges.
struct CoordinatorFigures {
    std::uint64_t started[2]{};           ///< by Protocol
    std::uint64_t decided[2][2]{};        ///< by Protocol, Outcome
    std::uint64_t decided_by_reason[7]{}; ///< by DecisionReason
    std::uint64_t calls[6]{};             ///< by Operation
    std::uint64_t retries[6]{};
    std::uint64_t late_answers_dropped = 0;
    std::uint64_t heuristic_alarms = 0; ///< commit refused, or prepared transaction lost
    std::size_t in_flight = 0;          ///< gauge: unfinished
    std::size_t undecided = 0;          ///< gauge
    std::size_t undelivered = 0;        ///< gauge: decided, acknowledgements missing
    std::size_t waiting_requests = 0;   ///< gauge
    std::size_t queued_calls = 0;       ///< gauge: waiting for a participant's slot
    std::size_t needing_attention = 0;  ///< gauge
};

/// Threading: one thread, the core thread. Immovable.
class TransactionCoordinator {
public:
    explicit TransactionCoordinator(CoordinatorOptions options);
    ~TransactionCoordinator();
    TransactionCoordinator(const TransactionCoordinator&) = delete;
    TransactionCoordinator& operator=(const TransactionCoordinator&) = delete;

    // Events. `now` never goes back; `wall` is for people.

    /// Time for this and the following events of the turn; fires due timers.
    void advance(Instant now, WallTime wall);
    /// A client request; exactly one reply with this token follows, now or in a later turn.
    void request(RequestToken token, ClientRequest request);
    /// The client went away: drop its waiting reply. The transaction goes on.
    void forget_request(RequestToken token);
    void call_result(CallResult result);
    /// The node won an election: append LeaderEpoch; resume everything unfinished once it is
    /// applied.
    void became_leader();
    /// Leadership is gone: all waiting requests whose effect is not yet applied get
    /// outcome_unknown (or no_leader if nothing was appended); volatile state is dropped.
    void lost_leadership(std::optional<NodeId> leader);
    /// The log refused this turn's append (overloaded or no longer leader); none of it happened.
    void append_failed(bool leadership_lost);
    /// A committed entry of the log, on leaders and followers alike.
    void apply(LogIndex index, std::vector<Command>&& commands);
    void restore(SnapshotContent&& content);

    /// Takes what this turn produced. Call once per turn; then append, call, reply.
    [[nodiscard]] Actions take_actions();
    /// When advance() must be called next at the latest; nothing = no timer.
    [[nodiscard]] std::optional<Instant> next_timer() const;

    [[nodiscard]] const ReplicatedState& state() const;
    [[nodiscard]] CoordinatorFigures figures() const;
    /// Leader whose LeaderEpoch is applied: ready for work.
    [[nodiscard]] bool is_serving() const;

private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace concordat::core
