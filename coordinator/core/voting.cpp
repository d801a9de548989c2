// PREPARE, votes, one-phase commit, deadlines of undecided transactions.

#include "coordinator/core/assert.hpp"
#include "coordinator/core/coordinator_impl.hpp"
#include "coordinator/core/views.hpp"

namespace concordat::core {

void TransactionCoordinator::Impl::add_branch(VolatileTransaction& transaction, BranchSpec spec) {
    const auto number = static_cast<std::uint16_t>(transaction.branches.size());
    VolatileBranch& branch = transaction.branches.emplace_back();
    branch.transaction = &transaction;
    branch.branch = BranchNumber{number};
    branch.lane = &calls_.lane(spec.participant);
    branch.spec = std::move(spec);
}

void TransactionCoordinator::Impl::start_voting(VolatileTransaction& transaction) {
    transaction.stage = Stage::preparing;
    transaction.missing = static_cast<std::uint32_t>(transaction.branches.size());
    for (VolatileBranch& branch : transaction.branches) {
        branch.phase = BranchPhase::preparing;
        start_operation(transaction, branch, Operation::prepare);
    }
}

void TransactionCoordinator::Impl::on_begun(VolatileTransaction& transaction,
                                            const TransactionRecord& record) {
    if (transaction.begun) {
        return;
    }
    transaction.begun = true;
    if (!transaction.idempotency_key.empty()) {
        keys_in_flight_.erase(transaction.idempotency_key);
    }
    transaction.metadata.clear();
    ++figures_.started[static_cast<std::size_t>(transaction.protocol)];
    if (is_decided(record.state)) {
        // An inquiry came first and its tombstone stands: this BEGIN had no effect.
        on_decided(transaction, record);
        return;
    }
    if (transaction.stage == Stage::one_phase && !transaction.decision_proposed) {
        // Only now: the participant commits by itself, so the log must know the transaction first.
        start_operation(transaction, transaction.branches.front(), Operation::commit_one_phase);
    }
    settle_waiters(transaction);
}

void TransactionCoordinator::Impl::prepare_answered(VolatileTransaction& transaction,
                                                    VolatileBranch& branch, CallResult& result) {
    if (auto* vote = std::get_if<CallResult::Voted>(&result.answer)) {
        voted(transaction, branch, vote->vote, std::move(vote->reason));
    } else if (auto* refused = std::get_if<CallResult::Refused>(&result.answer)) {
        voted(transaction, branch, Vote::no, std::move(refused->reason));
    } else if (const auto* decided = std::get_if<CallResult::Decided>(&result.answer)) {
        if (decided->outcome == Outcome::committed) {
            // Undecided here and committed there: the xid was used before, or somebody interfered.
            alarm(transaction, branch, "committed before it was asked to prepare");
        }
        voted(transaction, branch, Vote::no, "the branch has an outcome already");
    } else if (!transaction.decision_proposed) {
        call_again_later(transaction, branch, result);
    }
}

void TransactionCoordinator::Impl::voted(VolatileTransaction& transaction, VolatileBranch& branch,
                                         Vote vote, std::string reason) {
    branch.last_error.clear();
    if (vote == Vote::read_only && transaction.protocol == Protocol::three_phase &&
        transaction.stage == Stage::preparing) {
        // Who leaves the protocol cannot accept, and would refuse for ever when its peers ask (Q2):
        // with such a branch a commit could not be safe.
        vote = Vote::no;
        reason = "a read-only vote has no place in quorum three-phase commit";
    }
    switch (vote) {
    case Vote::yes:
        branch.phase = BranchPhase::prepared;
        note(transaction, EventKind::voted_yes, &branch);
        break;
    case Vote::read_only:
        branch.phase = BranchPhase::read_only;
        note(transaction, EventKind::voted_read_only, &branch);
        break;
    case Vote::no:
        branch.phase = BranchPhase::refused;
        branch.last_error = reason;
        note(transaction, EventKind::voted_no, &branch, reason);
        break;
    }
    if (transaction.decision_proposed) {
        return;
    }
    if (vote == Vote::no) {
        std::string detail = branch.spec.participant.value();
        if (!reason.empty()) {
            detail.append(": ").append(reason);
        }
        propose_decision(transaction, Outcome::aborted, DecisionReason::participant_refused,
                         std::move(detail));
        return;
    }
    CONCORDAT_ASSERT(transaction.missing > 0);
    if (--transaction.missing == 0) {
        all_votes_are_in(transaction);
    }
}

void TransactionCoordinator::Impl::all_votes_are_in(VolatileTransaction& transaction) {
    if (transaction.protocol == Protocol::three_phase) {
        propose_precommit(transaction);
        return;
    }
    propose_decision(transaction, Outcome::committed, DecisionReason::all_voted_yes, {});
}

/// One-phase commit: the participant is the decider. Once a call may have reached it, its outcome
/// is unknown until it answers, so it is asked again and neither deadline nor client can abort.
void TransactionCoordinator::Impl::one_phase_answered(VolatileTransaction& transaction,
                                                      VolatileBranch& branch, CallResult& result) {
    if (transaction.decision_proposed) {
        return;
    }
    const auto commit = [&](BranchPhase phase) {
        branch.phase = phase;
        branch.last_error.clear();
        propose_decision(transaction, Outcome::committed, DecisionReason::all_voted_yes, {});
    };
    if (std::holds_alternative<CallResult::Done>(result.answer)) {
        note(transaction, EventKind::acknowledged, &branch);
        commit(BranchPhase::committed);
    } else if (auto* vote = std::get_if<CallResult::Voted>(&result.answer)) {
        if (vote->vote == Vote::yes) {
            // It only prepared: then COMMIT is delivered like any other.
            note(transaction, EventKind::voted_yes, &branch);
            commit(BranchPhase::prepared);
        } else if (vote->vote == Vote::read_only) {
            note(transaction, EventKind::voted_read_only, &branch);
            commit(BranchPhase::read_only);
        } else {
            voted(transaction, branch, Vote::no, std::move(vote->reason));
        }
    } else if (auto* refused = std::get_if<CallResult::Refused>(&result.answer)) {
        voted(transaction, branch, Vote::no, std::move(refused->reason));
    } else if (const auto* decided = std::get_if<CallResult::Decided>(&result.answer)) {
        if (decided->outcome == Outcome::committed) {
            note(transaction, EventKind::acknowledged, &branch);
            commit(BranchPhase::committed);
        } else {
            voted(transaction, branch, Vote::no, "the branch is aborted already");
        }
    } else {
        if (std::holds_alternative<CallResult::Later>(result.answer) && branch.only_refusals) {
            // Every call so far was turned away without effect.
            transaction.one_phase_sent = false;
            branch.may_be_prepared = false;
        } else {
            branch.only_refusals = false;
        }
        call_again_later(transaction, branch, result);
        if (now_ >= transaction.deadline && may_abort(transaction)) {
            deadline_passed(transaction);
        }
    }
}

bool TransactionCoordinator::Impl::may_abort(const VolatileTransaction& transaction) const {
    return !transaction.decision_proposed && !transaction.precommit_proposed &&
           !transaction.one_phase_sent &&
           (transaction.stage == Stage::open || transaction.stage == Stage::preparing ||
            transaction.stage == Stage::one_phase);
}

void TransactionCoordinator::Impl::deadline_passed(VolatileTransaction& transaction) {
    note(transaction, EventKind::deadline_passed);
    if (!may_abort(transaction)) {
        return;
    }
    std::string detail;
    for (const VolatileBranch& branch : transaction.branches) {
        if (branch.phase == BranchPhase::preparing || branch.phase == BranchPhase::enlisted) {
            detail.append(detail.empty() ? "no answer from " : ", ")
                .append(branch.spec.participant.value());
        }
    }
    if (transaction.stage == Stage::open) {
        detail = "neither committed nor aborted in time";
    }
    propose_decision(transaction, Outcome::aborted, DecisionReason::deadline_passed,
                     std::move(detail));
}

} // namespace concordat::core
