#pragma once

// What only the leader knows about a transaction and what a new leader finds out again: votes,
// attempts, retries, waiting clients, the story so far.

#include "coordinator/core/call_scheduler.hpp"
#include "coordinator/core/commands.hpp"
#include "coordinator/core/replicated_state.hpp"
#include "coordinator/core/timer_queue.hpp"
#include "coordinator/core/transaction_coordinator.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace concordat::core {

/// What the leader is doing for the transaction.
///
///   open ──▶ preparing ──▶ precommitting (3PC) ──▶ delivering ──▶ finished
///   one_phase ────────────────────────────────────────┘
enum class Stage : std::uint8_t {
    open,          ///< interactive: branches may still be enlisted
    preparing,     ///< votes are collected
    one_phase,     ///< the single participant decides by itself
    precommitting, ///< quorum 3PC: accepts are collected
    delivering,    ///< decided; acknowledgements are collected
    finished       ///< END is applied; kept a while for readers of its timeline
};

enum class EventKind : std::uint8_t {
    begun,
    resumed,
    enlisted,
    commit_requested,
    voted_yes,
    voted_no,
    voted_read_only,
    call_failed,
    precommitted,
    accepted,
    superseded,
    deadline_passed,
    decided_commit,
    decided_abort,
    acknowledged,
    alarm,
    retry_requested,
    ended
};

/// One line of the timeline, small because most are never looked at.
struct CompactEvent {
    static constexpr std::int32_t no_branch = -1;
    WallTime at;
    std::int32_t branch = no_branch;
    std::uint32_t detail = 0; ///< 1 + index into VolatileTransaction::details, 0 = none
    EventKind kind = EventKind::begun;
};

/// A client that waits for this transaction.
struct Waiter {
    enum class Purpose : std::uint8_t { begin, commit, abort, watch };
    RequestToken token;
    Purpose purpose = Purpose::begin;
    WaitFor until = WaitFor::decision;
    bool created = false;      ///< this request created the transaction
    bool limit_passed = false; ///< its wait limit passed before BEGIN was durable
    LogIndex newer_than;       ///< watch
    TimerQueue::Handle timer = 0;
};

/// One branch. Its base class is linked into the participant's lane while a call is queued, so a
/// branch must not move then: branches are enlisted only before the first call.
struct VolatileBranch : QueuedCall {
    BranchSpec spec;
    Operation operation = Operation::prepare;
    BranchPhase phase = BranchPhase::enlisted;
    bool in_flight = false;        ///< the current attempt has been sent and not been answered
    bool may_be_prepared = false;  ///< some leader may have sent PREPARE
    bool only_refusals = true;     ///< one-phase: every answer so far was "later"
    bool accepted = false;         ///< quorum 3PC: accepted ballot 0
    std::uint16_t outstanding = 0; ///< calls sent and not answered, late ones included
    std::uint32_t attempt = 0;     ///< of any operation, in this leadership; names the call
    std::uint32_t tries = 0;       ///< of the current operation
    TimerQueue::Handle retry = 0;
    std::string last_error;

    [[nodiscard]] bool is_active() const noexcept { return queued || in_flight || retry != 0; }
};

struct VolatileTransaction {
    Xid xid;
    Protocol protocol = Protocol::two_phase;
    Mode mode = Mode::submit;
    Stage stage = Stage::preparing;
    bool begin_taken = false;        ///< BEGIN has been handed to the log
    bool begun = false;              ///< BEGIN is applied
    bool one_phase_sent = false;     ///< the participant may have committed by itself
    bool precommit_proposed = false; ///< from now on no unilateral abort
    bool superseded = false;         ///< quorum 3PC: a participant promised more than ballot 0
    bool decision_proposed = false;
    bool decision_taken = false; ///< the decision has been handed to the log
    bool end_proposed = false;
    bool attention = false;
    Outcome proposed_outcome = Outcome::aborted; ///< with decision_proposed
    DecisionReason proposed_reason = DecisionReason::all_voted_yes;
    std::string proposed_detail;
    Digest digest;
    std::string idempotency_key; ///< kept until BEGIN is applied
    std::string traceparent;
    std::string capability;
    std::map<std::string, std::string> metadata; ///< kept until BEGIN is applied
    WallTime created_at;
    Duration timeout{};
    Instant deadline;
    Instant accepted_at;
    TimerQueue::Handle deadline_timer = 0;
    std::size_t begun_branches = 0; ///< that BEGIN named; later ones were enlisted
    std::uint32_t missing = 0;      ///< votes, or acknowledgements, that have not arrived
    std::vector<VolatileBranch> branches;
    std::vector<Waiter> waiters;
    std::vector<CompactEvent> events;
    std::vector<std::string> details;
    std::uint32_t events_dropped = 0;
    // By age, for the attention mark: intrusive list of unfinished transactions.
    VolatileTransaction* older = nullptr;
    VolatileTransaction* younger = nullptr;

    [[nodiscard]] bool is_live() const noexcept { return stage != Stage::finished; }
};

} // namespace concordat::core
