#pragma once

// What every node knows after applying the log up to an index: a deterministic function of the
// log's commands, identical on all nodes. The leader's volatile knowledge (votes, retries, timers)
// lives in TransactionCoordinator. Single-threaded, no I/O.

#include "coordinator/core/commands.hpp"

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace concordat::core {

/// Replicated life of a transaction.
///
///   active ──▶ precommitted (3PC) ──▶ committing ──▶ committed
///      │                │                              (END applied, kept for readers until
///      ├────────────────┼───────────▶ committing       `finished_retained` newer ones exist)
///      └────────────────┴───────────▶ aborting ─────▶ aborted
enum class TransactionState : std::uint8_t {
    active,
    precommitted,
    committing,
    aborting,
    committed,
    aborted
};

[[nodiscard]] constexpr bool may_follow(TransactionState from, TransactionState to) noexcept {
    switch (from) {
    case TransactionState::active:
        return to == TransactionState::precommitted || to == TransactionState::committing ||
               to == TransactionState::aborting;
    case TransactionState::precommitted:
        return to == TransactionState::committing || to == TransactionState::aborting;
    case TransactionState::committing:
        return to == TransactionState::committed;
    case TransactionState::aborting:
        return to == TransactionState::aborted;
    case TransactionState::committed:
    case TransactionState::aborted:
        return false;
    }
    return false;
}
static_assert(!may_follow(TransactionState::committed, TransactionState::aborted));
static_assert(!may_follow(TransactionState::committing, TransactionState::aborting));
static_assert(!may_follow(TransactionState::aborting, TransactionState::committing));

[[nodiscard]] constexpr bool is_decided(TransactionState state) noexcept {
    return state != TransactionState::active && state != TransactionState::precommitted;
}
[[nodiscard]] constexpr bool is_finished(TransactionState state) noexcept {
    return state == TransactionState::committed || state == TransactionState::aborted;
}

/// What the coordinator group promised and accepted as an acceptor of quorum 3PC.
struct AcceptorRecord {
    Ballot promised;
    Ballot accepted; ///< (0, 0) by PRECOMMIT itself
    Outcome accepted_value = Outcome::committed;
    bool operator==(const AcceptorRecord&) const = default;
};

/// One transaction as the log knows it.
struct TransactionRecord {
    Begin begin; ///< payloads are dropped (null-equivalent empty) once finished
    TransactionState state = TransactionState::active;
    std::optional<Decide> decision;
    LogIndex begun_index;
    LogIndex changed_index; ///< of the last command about it; the API's ETag
    std::optional<WallTime> precommitted_at;
    std::optional<WallTime> finished_at;
    /// From PRECOMMIT on, where the coordinator group is an acceptor.
    std::optional<AcceptorRecord> acceptor;
};

struct IdempotencyRecord {
    std::string key;
    Digest digest;
    Xid xid;
};

/// Limits of what is kept; equal on all nodes of a group because they decide what is forgotten.
struct RetentionLimits {
    std::size_t finished_transactions = 50'000; ///< finished records kept for readers
    std::size_t audit_entries = 10'000;
};

/// Content of a snapshot, encoded by coordinator/log. Value type.
struct SnapshotContent {
    LogIndex applied_index;
    Epoch epoch;
    NodeId leader;
    /// Server-made xids of the current epoch with a sequence below this were given out (C15).
    LogIndex closed_below;
    std::vector<TransactionRecord> transactions; ///< ordered by begun_index, then xid
    std::vector<Xid> finished_order;             ///< oldest first
    std::vector<std::pair<ParticipantName, ParticipantDefinition>> participants;
    std::vector<IdempotencyRecord> idempotency;
    std::vector<std::pair<LogIndex, OperatorAction>> audit;
};

/// The coordinator group is one more acceptor iff the participants are even in number, so that the
/// number of acceptors is odd.
[[nodiscard]] constexpr bool coordinator_accepts(std::size_t participants) noexcept {
    return participants % 2 == 0;
}

/// What applying one command did; the coordinator and the app react to it.
struct Applied {
    enum class Effect : std::uint8_t { changed, no_effect };
    Effect effect = Effect::changed;
    /// Set for commands about one transaction that exists; valid until the next apply.
    TransactionRecord* transaction = nullptr;
};

class ReplicatedState {
public:
    explicit ReplicatedState(RetentionLimits limits);

    /// Applies one command of the entry at `index`. A Decide for a decided transaction, a Begin for
    /// a known xid, an End for an undecided one have no effect. Bugs (illegal transitions) abort.
    /// A Decide(aborted) for an unknown xid creates a finished, aborted record: a tombstone that
    /// refuses a late Begin. In `precommitted` only a decision that participants reached can be
    /// an abort (Q4).
    Applied apply(LogIndex index, const Command& command);
    /// The same, taking the command's content over instead of copying it.
    Applied apply(LogIndex index, Command&& command);
    /// Marks an entry as applied after its last command.
    void applied_through(LogIndex index);

    [[nodiscard]] SnapshotContent capture() const;
    void restore(const SnapshotContent& content);
    /// Order-independent hash of the whole state; equal on nodes that applied the same log.
    [[nodiscard]] std::uint64_t fingerprint() const;

    [[nodiscard]] const TransactionRecord* find(const Xid& xid) const;
    [[nodiscard]] TransactionRecord* find(const Xid& xid);
    [[nodiscard]] const IdempotencyRecord* find_idempotency(const std::string& key) const;
    [[nodiscard]] const ParticipantDefinition* find_participant(const ParticipantName& name) const;

    /// A server-made xid (`g<group>-<epoch>-<sequence>`, see make_server_xid) of an epoch below the
    /// current one, or one whose sequence was already given out, that is not in the table was
    /// forgotten: it is closed, never new (C15).
    [[nodiscard]] bool is_closed(const Xid& xid) const;

    /// Xids of unfinished (finished) transactions in order; for listing.
    [[nodiscard]] const std::set<std::string_view>& unfinished() const noexcept {
        return unfinished_;
    }
    [[nodiscard]] const std::set<std::string_view>& finished() const noexcept { return finished_; }
    /// Leader of the current epoch as the log knows it.
    [[nodiscard]] NodeId leader() const noexcept { return leader_; }

    [[nodiscard]] LogIndex applied_index() const noexcept { return applied_index_; }
    [[nodiscard]] Epoch epoch() const noexcept { return epoch_; }
    [[nodiscard]] const std::map<ParticipantName, ParticipantDefinition>&
    participants() const noexcept {
        return participants_;
    }
    [[nodiscard]] const std::unordered_map<Xid, TransactionRecord>& transactions() const noexcept {
        return transactions_;
    }
    [[nodiscard]] const std::deque<std::pair<LogIndex, OperatorAction>>& audit() const noexcept {
        return audit_;
    }

private:
    Applied apply_begin(LogIndex index, Begin&& begin);
    Applied apply_enlist(LogIndex index, Enlist&& enlist);
    Applied apply_precommit(LogIndex index, const Precommit& precommit);
    Applied apply_promise(LogIndex index, const Promise& promise);
    Applied apply_accept(LogIndex index, const Accept& accept);
    Applied apply_decide(LogIndex index, Decide&& decide);
    Applied apply_end(LogIndex index, const End& end);
    Applied apply_tombstone(LogIndex index, Decide&& decide);
    void note_server_xid(const Xid& xid);
    void move_to(TransactionRecord& record, TransactionState state);
    void finish(TransactionRecord& record, WallTime at);
    void forget_oldest();

    RetentionLimits limits_;
    LogIndex applied_index_;
    Epoch epoch_;
    NodeId leader_;
    LogIndex closed_below_{1};
    std::unordered_map<Xid, TransactionRecord> transactions_;
    // Both hold views of the keys of transactions_, whose addresses are stable.
    std::set<std::string_view> unfinished_;
    std::set<std::string_view> finished_;
    std::deque<Xid> finished_order_;
    std::map<ParticipantName, ParticipantDefinition> participants_;
    std::unordered_map<std::string, IdempotencyRecord> idempotency_;
    std::deque<std::pair<LogIndex, OperatorAction>> audit_;
};

} // namespace concordat::core
