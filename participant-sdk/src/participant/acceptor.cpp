#include "participant-sdk/src/participant/acceptor.hpp"

namespace concordat::participant {

namespace {

wire::Outcome to_wire(Outcome outcome) noexcept {
    return static_cast<wire::Outcome>(outcome);
}

wire::Ballot to_wire(const Ballot& ballot) noexcept {
    return {ballot.round, ballot.proposer};
}

wire::BallotAnswer answer_of(const AcceptorState& state, bool granted) {
    wire::BallotAnswer answer;
    answer.granted = granted;
    answer.promised = to_wire(state.promised);
    if (state.accepted) {
        answer.accepted_ballot = to_wire(*state.accepted);
        answer.accepted_value = to_wire(state.accepted_value);
    }
    if (const auto outcome = outcome_of(state)) {
        answer.outcome = to_wire(*outcome);
    }
    if (!granted && !answer.outcome) {
        answer.reason = "ballot";
    }
    return answer;
}

} // namespace

std::optional<Outcome> outcome_of(const AcceptorState& state) noexcept {
    switch (state.state) {
    case BranchState::committed:
        return Outcome::committed;
    case BranchState::aborted:
        return Outcome::aborted;
    case BranchState::unknown:
    case BranchState::prepared:
        return std::nullopt;
    }
    return std::nullopt;
}

AcceptorStep promise(const AcceptorState& state, const Ballot& ballot) {
    AcceptorState next = state;
    if (state.state == BranchState::unknown) {
        next.state = BranchState::aborted;
    }
    if (outcome_of(next)) {
        return {next, answer_of(next, false)};
    }
    if (ballot <= state.promised) {
        return {next, answer_of(next, false)};
    }
    next.promised = ballot;
    // What was accepted before is in the answer: the proposer must take the highest of it.
    return {next, answer_of(next, true)};
}

AcceptorStep accept(const AcceptorState& state, const Ballot& ballot, Outcome value) {
    AcceptorState next = state;
    if (state.state == BranchState::unknown) {
        if (value == Outcome::committed) {
            // A commit means that this branch voted yes once: it must not count towards a quorum,
            // and must not refuse for ever either.
            AcceptorStep step{next, answer_of(next, false)};
            step.answer.reason = "the branch is not prepared";
            return step;
        }
        next.state = BranchState::aborted;
    }
    if (outcome_of(next) || ballot < state.promised) {
        return {next, answer_of(next, false)};
    }
    const wire::BallotAnswer before = answer_of(state, true);
    next.promised = ballot;
    next.accepted = ballot;
    next.accepted_value = value;
    wire::BallotAnswer answer = before;
    answer.promised = to_wire(ballot);
    return {next, answer};
}

AcceptorState settled(const AcceptorState& state) {
    AcceptorState next = state;
    if (state.state == BranchState::unknown && state.accepted &&
        state.accepted_value == Outcome::aborted) {
        next.state = BranchState::aborted;
    }
    return next;
}

PreCommitStep pre_commit(const AcceptorState& before) {
    const AcceptorState state = settled(before);
    wire::BranchAnswer answer;
    if (const auto outcome = outcome_of(state)) {
        answer.outcome = to_wire(*outcome);
        return {state, answer};
    }
    if (state.state == BranchState::unknown) {
        answer.status = 409;
        answer.reason = "the branch is not prepared";
        return {state, answer};
    }
    if (state.promised > Ballot{}) {
        // Accepted before the promise was given, it stays accepted: say so again to a repetition.
        if (state.accepted == Ballot{}) {
            return {state, answer};
        }
        answer.status = 409;
        answer.reason = "ballot";
        return {state, answer};
    }
    AcceptorState next = state;
    next.accepted = Ballot{};
    next.accepted_value = Outcome::committed;
    return {next, answer};
}

} // namespace concordat::participant
