#include "participant-sdk/src/participant/acceptor.hpp"

#include <gtest/gtest.h>

namespace concordat::participant {
namespace {

AcceptorState prepared() {
    AcceptorState state;
    state.state = BranchState::prepared;
    return state;
}

// Purpose: a promise binds the acceptor to nothing lower, and the same ballot is promised once
// only.
TEST(Acceptor, promises_only_rising_ballots) {
    AcceptorStep step = promise(prepared(), {2, 1});
    EXPECT_TRUE(step.answer.granted);
    EXPECT_EQ(step.state.promised, (Ballot{2, 1}));
    EXPECT_FALSE(promise(step.state, {2, 1}).answer.granted);
    EXPECT_FALSE(promise(step.state, {1, 9}).answer.granted);
    EXPECT_TRUE(promise(step.state, {2, 2}).answer.granted);
    EXPECT_EQ(promise(step.state, {1, 9}).answer.promised, (wire::Ballot{2, 1}));
}

// Purpose: Q2 and Q8: a branch that never voted refuses for ever, which settles the transaction.
TEST(Acceptor, turns_an_unprepared_branch_into_a_tombstone_when_asked_for_a_promise) {
    const AcceptorStep step = promise(AcceptorState{}, {1, 1});
    EXPECT_EQ(step.state.state, BranchState::aborted);
    EXPECT_EQ(step.answer.outcome, wire::Outcome::aborted);
    EXPECT_FALSE(step.answer.granted);
}

// Purpose: Q5: ballot 0 is accepted only by a prepared branch that promised nothing higher.
TEST(Acceptor, accepts_pre_commit_only_when_prepared_and_unpromised) {
    const PreCommitStep step = pre_commit(prepared());
    EXPECT_EQ(step.answer.status, 200);
    EXPECT_EQ(step.state.accepted, Ballot{});
    EXPECT_EQ(step.state.accepted_value, Outcome::committed);
    EXPECT_EQ(pre_commit(AcceptorState{}).answer.status, 409);
    const PreCommitStep late = pre_commit(promise(prepared(), {1, 1}).state);
    EXPECT_EQ(late.answer.status, 409);
    EXPECT_EQ(late.answer.reason, "ballot");
    EXPECT_FALSE(late.state.accepted);
}

// Purpose: a repeated PRE-COMMIT after a promise repeats the old answer and adds nothing.
TEST(Acceptor, confirms_a_pre_commit_it_accepted_before_the_promise) {
    const AcceptorState promised = promise(pre_commit(prepared()).state, {1, 1}).state;
    const PreCommitStep again = pre_commit(promised);
    EXPECT_EQ(again.answer.status, 200);
    EXPECT_EQ(again.state, promised);
}

// Purpose: what was accepted before must reach the proposer with the promise (Q7).
TEST(Acceptor, reports_its_highest_accepted_value_with_a_promise) {
    AcceptorState state = pre_commit(prepared()).state;
    state = accept(state, {3, 2}, Outcome::aborted).state;
    const AcceptorStep step = promise(state, {4, 1});
    EXPECT_EQ(step.answer.accepted_ballot, (wire::Ballot{3, 2}));
    EXPECT_EQ(step.answer.accepted_value, wire::Outcome::aborted);
}

// Purpose: an accept below the promise must be refused, one at the promise taken.
TEST(Acceptor, accepts_values_at_or_above_its_promise) {
    const AcceptorState promised = promise(prepared(), {2, 1}).state;
    EXPECT_FALSE(accept(promised, {1, 5}, Outcome::committed).answer.granted);
    EXPECT_EQ(accept(promised, {1, 5}, Outcome::committed).state, promised);
    EXPECT_TRUE(accept(promised, {2, 1}, Outcome::committed).answer.granted);
    EXPECT_EQ(accept(promised, {5, 1}, Outcome::aborted).state.promised, (Ballot{5, 1}));
}

// Purpose: Q2 and Q8: to accept an abort is as good as a refusal, so an unprepared branch must not
// stay free to vote yes; and it adds nothing to a quorum for a commit that it cannot carry out.
TEST(Acceptor, does_not_count_an_unprepared_branch_as_accepting) {
    const AcceptorStep abort = accept(AcceptorState{}, {1, 1}, Outcome::aborted);
    EXPECT_EQ(abort.state.state, BranchState::aborted);
    EXPECT_EQ(abort.answer.outcome, wire::Outcome::aborted);
    EXPECT_FALSE(abort.answer.granted);
    const AcceptorStep commit = accept(AcceptorState{}, {1, 1}, Outcome::committed);
    EXPECT_EQ(commit.state, AcceptorState{});
    EXPECT_FALSE(commit.answer.granted);
    EXPECT_FALSE(commit.answer.outcome);
}

// A branch that accepted the abort and was rolled back by a process that died before its tombstone
// still knows the outcome: it may be the only one that does.
TEST(Acceptor, knows_the_abort_that_it_accepted_before_its_branch_was_rolled_back) {
    AcceptorState state;
    state.promised = {1, 1};
    state.accepted = Ballot{1, 1};
    state.accepted_value = Outcome::aborted;

    const PreCommitStep asked = pre_commit(state);

    EXPECT_EQ(asked.state.state, BranchState::aborted);
    EXPECT_EQ(asked.answer.outcome, wire::Outcome::aborted);
    EXPECT_EQ(settled(state).state, BranchState::aborted);
    state.accepted_value = Outcome::committed; // lost, or committed: not for it to say
    EXPECT_EQ(settled(state), state);
    state.accepted.reset();
    EXPECT_EQ(settled(state), state);
}

// Purpose: a finished branch answers everything with its outcome and changes nothing (Q8).
TEST(Acceptor, answers_with_the_outcome_once_it_is_known) {
    AcceptorState state = prepared();
    state.state = BranchState::committed;
    EXPECT_EQ(promise(state, {9, 9}).answer.outcome, wire::Outcome::committed);
    EXPECT_EQ(accept(state, {9, 9}, Outcome::aborted).answer.outcome, wire::Outcome::committed);
    EXPECT_EQ(accept(state, {9, 9}, Outcome::aborted).state, state);
    EXPECT_EQ(pre_commit(state).answer.outcome, wire::Outcome::committed);
}

} // namespace
} // namespace concordat::participant
