"""Seeded bugs of the transaction core."""

from __future__ import annotations

from mutant import Mutant, expression, statement

_CORE = "coordinator/core/"
DELIVERY = _CORE + "delivery.cpp"
LEADERSHIP = _CORE + "leadership.cpp"
PROPOSALS = _CORE + "proposals.cpp"
QUORUM = _CORE + "quorum_commit.cpp"
READS = _CORE + "reads.cpp"
REQUESTS = _CORE + "requests.cpp"
SNAPSHOT = _CORE + "state_snapshot.cpp"
STATE = _CORE + "replicated_state.cpp"
TURN = _CORE + "transaction_coordinator.cpp"
VOTING = _CORE + "voting.cpp"

_PROPOSED_DECISION = """
    if (!append_decision(transaction)) {
        transaction.end_proposed = true;
        propose_end_now(transaction);
    }"""
_LOST = "!transaction.decision_proposed && !transaction.precommit_proposed"

SENDING = [
    Mutant(
        "decision_sent_before_it_is_committed", "C5", "COMMIT leaves as soon as the decision is proposed",
        "world", ("I3", "I4"),
        (statement(PROPOSALS, _PROPOSED_DECISION, """
            if (!append_decision(transaction)) {
                transaction.end_proposed = true;
                propose_end_now(transaction);
            } else if (outcome == Outcome::committed) {
                for (VolatileBranch& branch : transaction.branches) {
                    if (!needs_no_delivery(branch, outcome)) {
                        ++transaction.missing;
                        start_operation(transaction, branch, Operation::commit);
                    }
                }
            }"""),)),
    Mutant(
        "client_answered_before_commit", "I3", "clients are told the decision when it is proposed",
        "world", ("I3",),
        (statement(PROPOSALS, "transaction.decision_proposed = true;", """
            transaction.decision_proposed = true;
            if (transaction.begun) {
                TransactionRecord early = *state_.find(transaction.xid);
                early.decision.emplace();
                early.decision->outcome = outcome;
                early.state = outcome == Outcome::committed ? TransactionState::committing
                                                            : TransactionState::aborting;
                std::erase_if(transaction.waiters, [&](Waiter& waiter) {
                    if (!is_satisfied(waiter, early)) {
                        return false;
                    }
                    timers_.cancel(waiter.timer);
                    waiting_tokens_.erase(waiter.token);
                    answer(waiter, early, false);
                    return true;
                });
            }"""),)),
    Mutant(
        "inquiry_answered_before_commit", "I3", "participants are told a decision that is only proposed",
        "world", ("I3",),
        (expression(READS, "!transaction->is_live()",
                    "!transaction->is_live() || transaction->decision_proposed"),)),
    Mutant(
        "leadership_lost_taken_for_failure", "C5", "who waits when leadership is lost is told 'aborted'",
        "world", ("I3",),
        (statement(LEADERSHIP,
                   'reject(waiter.token, RejectCode::outcome_unknown, "leadership was lost", transaction.xid);', """
            TransactionRecord failed;
            failed.begin.xid = transaction.xid;
            failed.state = TransactionState::aborted;
            failed.decision.emplace();
            failed.decision->xid = transaction.xid;
            reply_transaction(waiter.token, failed, false, waiter.created, false);"""),)),
    Mutant(
        "one_phase_sent_before_begin", "C1", "one-phase commit leaves before BEGIN is in the log",
        "world", ("C1",),
        (statement(REQUESTS, "transaction.branches.front().phase = BranchPhase::preparing;", """
            transaction.branches.front().phase = BranchPhase::preparing;
            start_operation(transaction, transaction.branches.front(), Operation::commit_one_phase);"""),)),
    Mutant(
        "pre_commit_sent_before_precommit", "Q5", "PRE-COMMIT leaves before PRECOMMIT is in the log",
        "world", ("Q5", "I1", "I4"),
        (statement(PROPOSALS, """
            propose(Precommit{transaction.xid, wall_},
                {Origin::Kind::precommit, &transaction, {}, nullptr});""", """
            propose(Precommit{transaction.xid, wall_},
                {Origin::Kind::precommit, &transaction, {}, nullptr});
            on_precommitted(transaction);"""),)),
]

DECIDING = [
    Mutant(
        "one_vote_missing", "I2", "the last vote is not waited for",
        "world", ("I2",),
        (expression(VOTING, "--transaction.missing == 0", "--transaction.missing <= 1"),)),
    Mutant(
        "no_vote_ignored", "I2", "a refusal counts as a vote",
        "world", ("I1", "I2", "I4", "assertion: transaction.missing > 0"),
        (expression(VOTING, "vote == Vote::no", "false"),)),
    Mutant(
        "minority_of_accepts_commits", "Q6", "one accept fewer than a majority is enough",
        "world", ("I1", "I4"),
        (expression(QUORUM, "accepts >= quorum_of(transaction).accepts_needed",
                    "accepts + 1 >= quorum_of(transaction).accepts_needed"),)),
    Mutant(
        "refused_pre_commit_counts", "Q5", "a participant that promised a higher ballot counts as an accept",
        "world", ("I1", "I4"),
        (statement(QUORUM, """
            note(transaction, EventKind::superseded, &branch, refused->reason);
            transaction.superseded = true;
            branch.operation = Operation::learn;
            branch.tries = 0;
            call_again_later(transaction, branch, result);""", """
            static_cast<void>(refused);
            branch.accepted = true;
            decide_if_quorum_accepted(transaction);"""),)),
    Mutant(
        "learnt_abort_reported_as_commit", "Q9", "what participants decided by themselves is not what is logged",
        "world", ("I1", "I4"),
        (statement(QUORUM, """
            propose_decision(transaction, outcome, DecisionReason::participants_terminated,
                     branch.spec.participant.value());""", """
            static_cast<void>(outcome);
            propose_decision(transaction, Outcome::committed, DecisionReason::participants_terminated,
                     branch.spec.participant.value());"""),)),
    Mutant(
        "deadline_aborts_proposed_commit", "C2", "the deadline aborts what is proposed to be committed",
        "world", ("assertion: !transaction.decision_proposed",),
        (expression(VOTING, _LOST, "!transaction.precommit_proposed"),)),
    Mutant(
        "abort_after_precommit", "Q4", "the deadline aborts although PRECOMMIT is logged",
        "world", ("Q4", "I1", "I4"),
        (expression(VOTING, _LOST, "!transaction.decision_proposed"),
         expression(VOTING, """
            (transaction.stage == Stage::open || transaction.stage == Stage::preparing ||
            transaction.stage == Stage::one_phase)""",
                    "transaction.stage != Stage::delivering && transaction.stage != Stage::finished"),
         expression(STATE, """
            record->state == TransactionState::precommitted &&
            decide.outcome == Outcome::aborted &&
            decide.reason != DecisionReason::participants_terminated""", "false"))),
    Mutant(
        "one_phase_aborted_in_flight", "C4", "the deadline aborts what a participant may have committed by itself",
        "world", ("I1", "I4", "I6"),
        (expression(VOTING, "!transaction.one_phase_sent", "true"),)),
    Mutant(
        "forgotten_early", "C15", "a finished transaction is forgotten as soon as the next one is finished",
        "world", ("I", "assertion"),
        (expression(STATE, "std::max<std::size_t>(1, limits_.finished_transactions)", "1U"),)),
]

LEARNING = [
    Mutant(
        "inquiry_answered_by_follower", "C11", "a node that does not lead answers inquiries from what it has",
        "world", ("I3",),
        (statement(TURN, "reply(token, no_leader());", """
            if constexpr (std::is_same_v<Request, InquiryRequest>) {
                const TransactionRecord* record = state_.find(wanted.xid);
                reply(token, InquiryReply{wanted.xid, record != nullptr && record->decision
                                                          ? record->decision->outcome
                                                          : Outcome::aborted});
            } else {
                reply(token, no_leader());
            }"""),)),
    Mutant(
        "unknown_inquiry_answered_without_abort", "I3", "an unknown transaction is 'aborted' and the log does not say so",
        "world", ("I3",),
        (statement(READS, """
            propose_rare(std::move(tombstone));
            wait_for_turn(token, TurnWaiter::Kind::inquiry, request.xid);""", """
            reply(token, InquiryReply{request.xid, Outcome::aborted});"""),)),
    Mutant(
        "late_answer_counted", "M1", "the answer to an earlier operation counts for the current one",
        "world", ("C8", "assertion: transaction.missing > 0"),
        (expression(DELIVERY, """
            !branch.in_flight || attempt != branch.attempt ||
            result.key.operation != branch.operation || !transaction->is_live()""",
                    "!transaction->is_live()"),)),
]

ENDING = [
    Mutant(
        "end_after_first_acknowledgement", "C8", "a commit is finished when one participant has acknowledged it",
        "world", ("C8",),
        (statement(DELIVERY, """
            note(transaction, EventKind::acknowledged, &branch);
            CONCORDAT_ASSERT(transaction.missing > 0);
            if (--transaction.missing == 0) {
                propose_end(transaction);
            }""", """
            note(transaction, EventKind::acknowledged, &branch);
            --transaction.missing;
            propose_end(transaction);"""),)),
    Mutant(
        "unknown_answer_acknowledges", "C8", "a call without an answer counts as an acknowledgement",
        "world", ("C8",),
        (statement(DELIVERY, """
            if (!contradicted) {
                call_again_later(transaction, branch, result);
                return;
            }""", """
            if (!contradicted) {
                acknowledged(transaction, branch);
                return;
            }"""),)),
    Mutant(
        "decided_not_delivered_by_next_leader", "C6", "a new leader takes decided transactions for delivered ones",
        "world", ("C8",),
        (statement(LEADERSHIP, """
            if (is_decided(record.state)) {
                on_decided(transaction, record);
                return;
            }""", """
            if (is_decided(record.state)) {
                transaction.stage = Stage::delivering;
                transaction.decision_proposed = true;
                transaction.proposed_outcome = record.decision->outcome;
                --undecided_;
                propose_end(transaction);
                return;
            }"""),)),
]

LEADING = [
    Mutant(
        "serves_before_epoch", "C10", "a new leader serves before its own epoch entry is applied",
        "world", ("I", "assertion: !turns_.empty()"),
        (statement(LEADERSHIP,
                   "propose(LeaderEpoch{options_.node, epoch_nonce_}, {Origin::Kind::epoch, nullptr, {}, nullptr});",
                   """
            propose(LeaderEpoch{options_.node, epoch_nonce_}, {Origin::Kind::epoch, nullptr, {}, nullptr});
            start_serving();"""),)),
    Mutant(
        "new_leader_does_not_resume", "C2", "a new leader leaves unfinished transactions alone",
        "world", ("I3", "I5", "assertion: live != nullptr"),
        (statement(LEADERSHIP, "resume(*record);", "static_cast<void>(record);"),)),
    Mutant(
        "precommitted_resumed_as_active", "Q4", "a new leader forgets that PRECOMMIT is logged",
        "world", ("Q4", "I5"),
        (expression(LEADERSHIP, "record.state == TransactionState::precommitted", "false"),)),
    Mutant(
        "snapshot_forgets_what_is_unfinished", "C17", "a restored node does not see unfinished transactions",
        "world", ("I3", "I5", "assertion: live != nullptr", "assertion: !node.empty()"),
        (statement(SNAPSHOT,
                   "(is_finished(record.state) ? finished_ : unfinished_).insert(place->first.value());", """
            if (is_finished(record.state)) {
                finished_.insert(place->first.value());
            }"""),)),
]

REPEATING = [
    Mutant(
        "body_of_known_xid_not_compared", "I8", "a different request under a known xid gets the recorded outcome",
        "core", ("I8",),
        (expression(REQUESTS, "tombstone || digest == request.digest", "true"),)),
    Mutant(
        "body_of_known_key_not_compared", "I8", "a different request under a known key gets the recorded outcome",
        "core", ("I8",),
        (expression(REQUESTS, "*digest == request.digest && (!request.xid || *request.xid == *xid)", "true"),)),
    Mutant(
        "forgotten_xid_is_new", "C15", "a server-made xid that is forgotten can be begun again",
        "core", ("C15", "assertion: is_new"),
        (expression(REQUESTS, "state_.is_closed(xid) || find_known(xid) != nullptr", "false"),
         expression(REQUESTS, "parse_server_xid(xid)", "decltype(parse_server_xid(xid)){}"))),
    Mutant(
        "key_not_kept", "I8", "an idempotency key is forgotten as soon as BEGIN is applied",
        "core", ("I8",),
        (statement(STATE, """
            idempotency_.try_emplace(begin.idempotency_key,
                                 IdempotencyRecord{begin.idempotency_key, begin.digest, begin.xid});""", ""),)),
    Mutant(
        "keys_not_restored", "C17", "idempotency keys are missing after a snapshot is restored",
        "core", ("I8",),
        (statement(SNAPSHOT, "idempotency_.emplace(record.key, record);", "static_cast<void>(record);"),)),
]

CORE: list[Mutant] = [*SENDING, *DECIDING, *LEARNING, *ENDING, *LEADING, *REPEATING]
