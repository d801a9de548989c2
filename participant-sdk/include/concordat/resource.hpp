#pragma once

// The seam between the commit protocols and the store that holds a participant's data.
//
// What: a Resource makes branches prepared, committed or aborted, durably. The SDK brings two for
// PostgreSQL (<concordat/postgres.hpp>); a service with another store implements this interface.
// Why: the participant side of the protocols (deliveries, votes, acceptors, termination) is the
// same for every store and is tested without one.
//
// Contract of every operation:
//   - idempotent, also when it is delivered late, twice, or at the same time to several replicas of
//     the service: the truth is in the store, never in the memory of a process;
//   - what it reports is durable before it returns;
//   - it throws nothing.
// Threading: called from several threads at once, also for the same branch.

#include <concordat/identifiers.hpp>

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace concordat {

/// Another participant of the same transaction.
struct Peer {
    std::uint16_t branch = 0;
    std::string participant;
    std::string base_url;
    bool operator==(const Peer&) const = default;
};

/// What a branch must remember beside its data, to be finished without its coordinator.
struct BranchContext {
    std::string participant; ///< the name under which the coordinator knows this one
    Protocol protocol = Protocol::two_phase;
    std::vector<Peer> peers; ///< all participants, this one included
    std::uint16_t quorum = 0;
    bool coordinator_is_acceptor = false;
    std::string capability;                ///< secret shared by the peers of this transaction
    std::vector<std::string> coordinators; ///< base URLs to inquire at
    bool operator==(const BranchContext&) const = default;
};

struct PrepareOrder {
    BranchKey key;
    std::uint64_t epoch = 0; ///< of the sender; lower than one seen before: refused
    std::string payload;     ///< raw JSON text; "" = absent
    BranchContext context;
};

/// Why an operation did not do its work.
struct NotDone {
    enum class Kind : std::uint8_t {
        refused, ///< for good: repeating it changes nothing
        later,   ///< nothing was done; the same operation may succeed after `retry_after`
        unknown, ///< it may have been done; repeat it to find out
    };
    Kind kind = Kind::unknown;
    std::string reason;             ///< for people
    std::optional<Outcome> outcome; ///< of this branch, when known
    std::chrono::milliseconds retry_after{0};
};

struct VoteCast {
    Vote vote = Vote::no;
    std::string reason; ///< of a no
};

/// Result of commit_one_phase: the branch is finished either way.
struct OnePhaseResult {
    Outcome outcome = Outcome::aborted;
    std::string reason;
};

enum class BranchState : std::uint8_t {
    unknown, ///< never prepared here, and free to be
    prepared,
    committed,
    aborted, ///< or refused for ever
};

/// Number of a proposal in quorum 3PC. Ballot (0, 0) belongs to the coordinator group; a
/// participant proposes as (round, its branch + 1).
struct Ballot {
    std::uint32_t round = 0;
    std::uint16_t proposer = 0;
    auto operator<=>(const Ballot&) const = default;
};

/// A branch as an acceptor of the decision (Gray & Lamport 2006; Keidar & Dolev 1998).
struct AcceptorState {
    BranchState state = BranchState::unknown;
    std::string capability; ///< empty while no PREPARE arrived
    Ballot promised;
    std::optional<Ballot> accepted;
    Outcome accepted_value = Outcome::aborted; ///< meaningful with `accepted`
    bool operator==(const AcceptorState&) const = default;
};

/// A prepared branch that waits for its outcome.
struct InDoubtBranch {
    BranchKey key;
    std::chrono::milliseconds age{0}; ///< on the clock of the store
    std::optional<BranchContext> context;
};

class Resource {
public:
    virtual ~Resource() = default;

    /// Runs the service's work and makes it durable but undecided. A no writes a tombstone before
    /// it is returned: the branch can never be prepared afterwards. A repeated prepare of a
    /// prepared or committed branch votes yes again without running the work.
    virtual std::expected<VoteCast, NotDone> prepare(const PrepareOrder& order) = 0;
    /// refused: with an outcome, the branch is aborted; without one, the prepared branch is gone,
    /// which is an alarm.
    virtual std::expected<void, NotDone> commit(const BranchKey& key) = 0;
    /// Also before the prepare: then the tombstone refuses it. refused: the branch is committed.
    virtual std::expected<void, NotDone> abort(const BranchKey& key) = 0;
    /// The only branch of its transaction: work and decision in one local transaction.
    /// later: neither this nor any other delivery of it is at work; otherwise unknown, because the
    /// coordinator may abort by itself what it believes was never begun.
    virtual std::expected<OnePhaseResult, NotDone> commit_one_phase(const PrepareOrder& order) = 0;

    /// Reads the state of a branch and passes it to `rule`, which returns what it shall be; changes
    /// are durable before the call returns the new state. The only change of `state` that a rule
    /// may ask for is unknown → aborted (a tombstone). Atomic against other calls for this branch.
    using AcceptorRule = std::function<AcceptorState(const AcceptorState&)>;
    virtual std::expected<AcceptorState, NotDone> change_acceptor(const BranchKey& key,
                                                                  const AcceptorRule& rule) = 0;

    /// Prepared branches at least this old, oldest first, at most `limit`.
    virtual std::expected<std::vector<InDoubtBranch>, NotDone>
    in_doubt(std::chrono::milliseconds min_age, std::size_t limit) = 0;
    /// Removes records that nobody can need any more. Called now and then; returns how many.
    virtual std::expected<std::size_t, NotDone> forget_finished() { return 0; }
    /// Empty when the store can take work; otherwise what is wrong with it, for readiness.
    virtual std::string problem() { return {}; }
};

} // namespace concordat
