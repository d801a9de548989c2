"""Seeded bugs of the participant SDK: acceptors and proposers of quorum three-phase commit."""

from __future__ import annotations

from mutant import Mutant, expression, statement

_SDK = "participant-sdk/src/"
ACCEPTOR = _SDK + "participant/acceptor.cpp"
TERMINATOR = _SDK + "participant/terminator.cpp"

_SPLIT = ("I1",)
_HIGHEST = "!highest_accepted_ || accepted > *highest_accepted_"

ACCEPTORS = [
    Mutant(
        "accepts_below_its_promise", "Q7", "an acceptor accepts a lower ballot than it promised",
        "quorum", _SPLIT,
        (expression(ACCEPTOR, "outcome_of(next) || ballot < state.promised", "outcome_of(next).has_value()"),)),
    Mutant(
        "promises_below_its_promise", "Q7", "an acceptor promises a lower ballot after a higher one",
        "quorum", _SPLIT,
        (expression(ACCEPTOR, "ballot <= state.promised", "false"),)),
    Mutant(
        "promise_hides_what_was_accepted", "Q7", "a promise does not tell what was accepted before",
        "quorum", _SPLIT,
        (statement(ACCEPTOR, "return {next, answer_of(next, true)};", """
            AcceptorState silent = next;
            silent.accepted.reset();
            return {next, answer_of(silent, true)};"""),)),
    Mutant(
        "pre_commit_accepted_after_promise", "Q5", "ballot 0 is accepted although a higher one was promised",
        "quorum", _SPLIT,
        (expression(ACCEPTOR, "state.promised > Ballot{}", "false"),)),
]

PROPOSERS = [
    Mutant(
        "minority_of_promises", "Q7", "one promise fewer than a majority begins the second phase",
        "quorum", _SPLIT,
        (expression(TERMINATOR, "phase_ == Phase::promising && granted_.size() >= quorum_",
                    "phase_ == Phase::promising && granted_.size() + 1 >= quorum_"),)),
    Mutant(
        "minority_of_accepts_terminates", "Q7", "one accept fewer than a majority decides a ballot",
        "quorum", _SPLIT,
        (statement(TERMINATOR, """
            if (granted_.size() >= quorum_) {
                decide(proposed);
            }""", """
            if (granted_.size() + 1 >= quorum_) {
                decide(proposed);
            }"""),)),
    Mutant(
        "ballot_ignores_what_was_accepted", "Q7", "a ballot aborts whatever was accepted before",
        "quorum", _SPLIT,
        (expression(TERMINATOR, _HIGHEST, "false"),)),
    Mutant(
        "lowest_accepted_wins", "Q7", "a ballot takes the value of the lowest accepted ballot",
        "quorum", _SPLIT,
        (expression(TERMINATOR, _HIGHEST, "!highest_accepted_ || accepted < *highest_accepted_"),)),
    Mutant(
        "commits_when_nothing_was_accepted", "Q7", "a ballot commits although nobody had accepted anything",
        "quorum", ("I1", "I2"),
        (statement(TERMINATOR, "phase_ = Phase::accepting;", """
            phase_ = Phase::accepting;
            if (!highest_accepted_) {
                value_ = Outcome::committed;
            }"""),)),
]

SDK: list[Mutant] = [*ACCEPTORS, *PROPOSERS]
