#pragma once

// The rules of one acceptor of quorum 3PC: pure functions from its durable state and a message to
// its next state and an answer. Whoever calls them makes the new state durable before the answer
// leaves (Q1).
//
// Sources: Gray & Lamport, Consensus on Transaction Commit (2006), §4; Keidar & Dolev, Increasing
// the Resilience of Distributed and Replicated Database Systems (1998). Model: tests/models.

#include "participant-sdk/src/wire/participant_contract.hpp"

#include <concordat/resource.hpp>

#include <optional>

namespace concordat::participant {

struct AcceptorStep {
    AcceptorState state;
    wire::BallotAnswer answer;
};

struct PreCommitStep {
    AcceptorState state;
    wire::BranchAnswer answer;
};

/// A proposer asks that nothing below `ballot` be accepted any more. A branch that was never
/// prepared may still refuse for ever (Q2), and does: that settles the transaction at once (Q8).
[[nodiscard]] AcceptorStep promise(const AcceptorState& state, const Ballot& ballot);

/// A proposer that holds promises of a quorum asks to accept its value. A branch that was never
/// prepared refuses for ever when the value is abort, and is no acceptor of a commit.
[[nodiscard]] AcceptorStep accept(const AcceptorState& state, const Ballot& ballot, Outcome value);

/// PRE-COMMIT is ballot (0, 0) with the value committed; it is accepted only by a prepared branch
/// that promised nothing higher (Q5).
[[nodiscard]] PreCommitStep pre_commit(const AcceptorState& before);

/// A branch that accepted an abort and is not prepared any more was rolled back because the abort
/// was decided, by a process that died before it wrote the tombstone. Nobody else may know the
/// outcome: whoever asks for it gets the tombstone written, and then the answer.
[[nodiscard]] AcceptorState settled(const AcceptorState& state);

[[nodiscard]] std::optional<Outcome> outcome_of(const AcceptorState& state) noexcept;

} // namespace concordat::participant
