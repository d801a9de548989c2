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

// ------------------------------------------------------------ the coordinator group as an acceptor

namespace {

const Xid& xid_of(const ClientRequest& request) {
    const auto* promise = std::get_if<PromiseRequest>(&request);
    return promise != nullptr ? promise->xid : std::get<AcceptRequest>(request).xid;
}

const Ballot& ballot_of(const ClientRequest& request) {
    const auto* promise = std::get_if<PromiseRequest>(&request);
    return promise != nullptr ? promise->ballot : std::get<AcceptRequest>(request).ballot;
}

const std::string& capability_of(const ClientRequest& request) {
    const auto* promise = std::get_if<PromiseRequest>(&request);
    return promise != nullptr ? promise->capability : std::get<AcceptRequest>(request).capability;
}

/// Takes the same time wherever the texts differ.
bool is_same_secret(const std::string& left, const std::string& right) {
    unsigned difference = left.size() == right.size() ? 0U : 1U;
    for (std::size_t i = 0; i < left.size() && i < right.size(); ++i) {
        difference |= static_cast<unsigned>(left[i] ^ right[i]);
    }
    return difference == 0;
}

} // namespace

/// Before PRECOMMIT the group can still abort by itself, and does: whoever terminates has waited
/// too long. After it, promise and accept are entries of the log before they are answers.
void TransactionCoordinator::Impl::promise_or_accept(RequestToken token, ClientRequest&& request) {
    const Xid xid = xid_of(request);
    if (ballot_of(request) <= Ballot{}) {
        // Ballot 0 is the group's own: whoever could accept at it could take PRECOMMIT back.
        reject(token, RejectCode::invalid_request, "the ballot must be above (0, 0)", xid);
        return;
    }
    VolatileTransaction* transaction = find_live(xid);
    if (transaction == nullptr) {
        const TransactionRecord* record = state_.find(xid);
        if (record != nullptr && record->decision) {
            answer_ballot(token, request);
        } else {
            inquire(token, InquiryRequest{xid});
        }
        return;
    }
    if (!is_same_secret(transaction->capability, capability_of(request))) {
        reject(token, RejectCode::transaction_not_found, "no such transaction for this capability",
               xid);
        return;
    }
    if (transaction->protocol != Protocol::three_phase ||
        !coordinator_accepts(transaction->branches.size())) {
        reject(token, RejectCode::invalid_request, "the coordinator group is not an acceptor", xid);
        return;
    }
    if (!has_room_for_waiter(token)) {
        return;
    }
    if (may_abort(*transaction)) {
        propose_decision(*transaction, Outcome::aborted, DecisionReason::inquiry_before_decision,
                         "a participant terminates the transaction");
    } else if (transaction->stage != Stage::delivering) {
        transaction->superseded = true;
        if (const auto* promise = std::get_if<PromiseRequest>(&request)) {
            propose_rare(Promise{xid, promise->ballot, wall_});
        } else {
            const auto& accept = std::get<AcceptRequest>(request);
            propose_rare(Accept{xid, accept.ballot, accept.value, wall_});
        }
    }
    barrier_needed_ = true;
    wait_for_turn(token, TurnWaiter::Kind::ballot, xid);
    turn_waiters_.back().request = std::make_unique<ClientRequest>(std::move(request));
}

void TransactionCoordinator::Impl::answer_ballot(RequestToken token, const ClientRequest& request) {
    BallotReply answer;
    answer.xid = xid_of(request);
    const TransactionRecord* record = state_.find(answer.xid);
    if (record != nullptr && record->decision) {
        answer.outcome = record->decision->outcome;
    }
    if (record != nullptr && record->acceptor) {
        answer.promised = record->acceptor->promised;
        answer.accepted = record->acceptor->accepted;
        answer.accepted_value = record->acceptor->accepted_value;
        if (!answer.outcome) {
            const auto* promise = std::get_if<PromiseRequest>(&request);
            answer.granted = promise != nullptr
                                 ? answer.promised == promise->ballot
                                 : *answer.accepted == std::get<AcceptRequest>(request).ballot;
        }
    }
    reply(token, std::move(answer));
}

} // namespace concordat::core
