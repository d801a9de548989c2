// Quorum three-phase commit after the votes: ballot 0 belongs to the coordinator group.

#include "coordinator/core/assert.hpp"
#include "coordinator/core/coordinator_impl.hpp"
#include "coordinator/core/views.hpp"

namespace concordat::core {

/// All voted yes and the log says so: from here on the participants are asked to accept the commit
/// at ballot 0, and whoever terminates among them may have decided otherwise (Q5, Q9).
void TransactionCoordinator::Impl::on_precommitted(VolatileTransaction& transaction) {
    note(transaction, EventKind::precommitted);
    transaction.stage = Stage::precommitting;
    for (VolatileBranch& branch : transaction.branches) {
        branch.phase = BranchPhase::precommitting;
        start_operation(transaction, branch, Operation::pre_commit);
    }
    settle_waiters(transaction);
    decide_if_quorum_accepted(transaction);
}

void TransactionCoordinator::Impl::pre_commit_answered(VolatileTransaction& transaction,
                                                       VolatileBranch& branch, CallResult& result) {
    if (transaction.decision_proposed) {
        return;
    }
    if (const auto* decided = std::get_if<CallResult::Decided>(&result.answer)) {
        participants_decided(transaction, branch, decided->outcome);
    } else if (std::holds_alternative<CallResult::Done>(result.answer)) {
        branch.accepted = true;
        branch.phase = BranchPhase::precommitted;
        branch.last_error.clear();
        note(transaction, EventKind::accepted, &branch);
        decide_if_quorum_accepted(transaction);
    } else if (const auto* refused = std::get_if<CallResult::Refused>(&result.answer)) {
        // Something higher than ballot 0 was promised: the participants are deciding by themselves.
        note(transaction, EventKind::superseded, &branch, refused->reason);
        transaction.superseded = true;
        branch.operation = Operation::learn;
        branch.tries = 0;
        call_again_later(transaction, branch, result);
    } else {
        call_again_later(transaction, branch, result);
    }
}

void TransactionCoordinator::Impl::learn_answered(VolatileTransaction& transaction,
                                                  VolatileBranch& branch, CallResult& result) {
    if (transaction.decision_proposed) {
        return;
    }
    if (const auto* decided = std::get_if<CallResult::Decided>(&result.answer)) {
        participants_decided(transaction, branch, decided->outcome);
    } else {
        call_again_later(transaction, branch, result);
    }
}

/// Participants terminated without us: what they decided is what is logged and reported (Q9).
void TransactionCoordinator::Impl::participants_decided(VolatileTransaction& transaction,
                                                        VolatileBranch& branch, Outcome outcome) {
    branch.last_error.clear();
    propose_decision(transaction, outcome, DecisionReason::participants_terminated,
                     branch.spec.participant.value());
}

/// Q6: a majority of the acceptors is enough, one slow participant delays nobody. The coordinator
/// group is an acceptor when the participants are even in number, and accepted by PRECOMMIT.
void TransactionCoordinator::Impl::decide_if_quorum_accepted(VolatileTransaction& transaction) {
    std::size_t accepts = quorum_of(transaction).coordinator_is_acceptor ? 1 : 0;
    for (const VolatileBranch& branch : transaction.branches) {
        accepts += branch.accepted ? 1 : 0;
    }
    if (!transaction.decision_proposed && accepts >= quorum_of(transaction).accepts_needed) {
        propose_decision(transaction, Outcome::committed, DecisionReason::all_voted_yes, {});
    }
}

} // namespace concordat::core
