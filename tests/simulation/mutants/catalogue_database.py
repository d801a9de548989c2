"""Seeded bugs that only the whole system shows: what participants store, answer, and do when they are left alone."""

from __future__ import annotations

from mutant import Mutant, expression, statement

_SDK = "participant-sdk/src/"
BRANCHES = _SDK + "postgres/branch_store.cpp"
QUORUM = "coordinator/core/quorum_commit.cpp"
RECOVERY = _SDK + "participant/recovery.cpp"
RESOURCE = _SDK + "postgres/postgres_resource.cpp"

_SPLIT = ("I1", "I4")
_ONLY_READ = """
    if (wanted == state) {
        return state; // the lease rolls back what was only read
    }"""

ACCEPTORS = [
    Mutant(
        "volatile_promise", "Q1", "an acceptor's promise is answered and not stored",
        "world", _SPLIT,
        (statement(BRANCHES, _ONLY_READ, """
            if (wanted == state || (wanted.state == state.state && wanted.accepted == state.accepted)) {
                return wanted;
            }"""),)),
    Mutant(
        "volatile_accept", "Q1", "what an acceptor accepted is answered and not stored",
        "world", _SPLIT,
        (statement(BRANCHES, _ONLY_READ, """
            if (wanted == state || (wanted.state == state.state && wanted.accepted != state.accepted)) {
                return wanted;
            }"""),)),
    Mutant(
        "refusal_of_a_ballot_not_stored", "Q2", "who refuses when peers ask may vote yes later",
        "world", _SPLIT,
        (expression(BRANCHES, "before.state == BranchState::unknown && after.state == BranchState::aborted",
                    "false"),)),
    Mutant(
        "answers_before_the_flush", "Q1", "what a participant stores may be lost when its database crashes",
        "world", ("I",),
        (expression(BRANCHES, '"BEGIN; SET LOCAL synchronous_commit = off; "',
                    '"BEGIN; SET synchronous_commit = off; "'),)),
    Mutant(
        "group_promise_not_logged", "Q1", "the coordinator group's promise is not in the log",
        "world", ("I1", "I4", "nodes that applied the same entries"),
        (statement(QUORUM, "propose_rare(Promise{xid, promise->ballot, wall_});", """
            if (TransactionRecord* record = state_.find(xid); record != nullptr && record->acceptor) {
                record->acceptor->promised = promise->ballot;
            }"""),)),
]

RECOVERING = [
    Mutant(
        "time_out_decides", "Q11", "a branch that was left alone for long rolls back",
        "world", _SPLIT,
        (statement(RECOVERY, "run_ballots(cases);", """
            for (Case& one : cases) {
                if (!one.ended && !one.answered) {
                    finish(one, Outcome::aborted, counters_.recovered_by_ballot);
                }
            }"""),)),
    Mutant(
        "uncertain_peer_taken_for_aborted", "Q8", "a peer that is in doubt itself counts as one that aborted",
        "world", _SPLIT,
        (expression(RECOVERY, "status && status->state == wire::BranchState::aborted", "status.has_value()"),)),
    Mutant(
        "undecided_taken_for_aborted", "C11", "the coordinator's 'not decided yet' counts as 'aborted'",
        "world", _SPLIT,
        (expression(RECOVERY, 'outcome == "aborted"', "true"),)),
]

ANSWERING = [
    Mutant(
        "no_without_tombstone", "Q2", "a refusal leaves, and its tombstone is not written",
        "world", ("I",),
        (statement(RESOURCE, """
            if (!connection.reset()) {
                return std::unexpected(later("the connection to the database broke: " + reason));
            }""", """
            if (!connection.reset()) {
                return std::unexpected(later("the connection to the database broke: " + reason));
            }
            return vote_no(reason);"""),)),
    Mutant(
        "prepare_tag_unchecked", "I2", "a PREPARE TRANSACTION that rolled back counts as prepared",
        "world", ("I",),
        (expression(RESOURCE, 'prepared->front().tag() != "PREPARE TRANSACTION"', "false"),)),
    Mutant(
        "abort_keeps_prepared", "I5", "an abort does not roll the prepared transaction back",
        "world", ("I5", "I9"),
        (expression(RESOURCE, "fmt::format(\"ROLLBACK PREPARED '{}'\", store_.gid(key))",
                    'std::string("ROLLBACK")'),)),
    Mutant(
        "epoch_not_checked", "C10", "a PREPARE of an earlier leader is obeyed",
        "world", ("C10",),
        (expression(RESOURCE, "(*entered)[2].number(0, 0) > order.epoch", "false"),)),
]

DATABASE: list[Mutant] = [*ACCEPTORS, *RECOVERING, *ANSWERING]
