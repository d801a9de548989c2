// Every command that goes to the log starts here.

#include "coordinator/core/assert.hpp"
#include "coordinator/core/coordinator_impl.hpp"
#include "coordinator/core/views.hpp"

namespace concordat::core {

/// A bound on what the command adds to an entry; only big parts count exactly.
std::size_t TransactionCoordinator::Impl::cost_of(const Command& command) {
    constexpr std::size_t fixed = 256;
    if (const auto* begin = std::get_if<Begin>(&command)) {
        std::size_t cost = fixed + begin->idempotency_key.size();
        for (const BranchSpec& branch : begin->branches) {
            cost += 96 + branch.payload->size();
        }
        for (const auto& [key, value] : begin->metadata) {
            cost += 8 + key.size() + value.size();
        }
        return cost;
    }
    if (const auto* enlist = std::get_if<Enlist>(&command)) {
        return fixed + enlist->branch.payload->size();
    }
    if (const auto* decide = std::get_if<Decide>(&command)) {
        return fixed + decide->detail.size() + 4 * decide->without_effect.size();
    }
    if (const auto* action = std::get_if<OperatorAction>(&command)) {
        return fixed + action->who.size() + action->object.size() + action->why.size();
    }
    return fixed;
}

void TransactionCoordinator::Impl::propose(Command&& command, Origin origin) {
    CONCORDAT_ASSERT(standing_ != Standing::follower);
    append_cost_bytes_ += cost_of(command);
    append_.push_back(std::move(command));
    append_origins_.push_back(std::move(origin));
}

void TransactionCoordinator::Impl::propose_rare(Command&& command) {
    auto copy = std::make_shared<const Command>(command);
    propose(std::move(command), {Origin::Kind::other, nullptr, {}, std::move(copy)});
}

void TransactionCoordinator::Impl::propose_begin(VolatileTransaction& transaction) {
    Begin begin;
    begin.xid = transaction.xid;
    begin.protocol = transaction.protocol;
    begin.mode = transaction.mode;
    // Branches enlisted later have commands of their own.
    begin.branches.reserve(transaction.begun_branches);
    for (std::size_t i = 0; i < transaction.begun_branches; ++i) {
        begin.branches.push_back(transaction.branches[i].spec);
    }
    begin.timeout = transaction.timeout;
    begin.digest = transaction.digest;
    begin.idempotency_key = transaction.idempotency_key;
    begin.traceparent = transaction.traceparent;
    begin.metadata = transaction.metadata;
    begin.created_at = transaction.created_at;
    begin.capability = transaction.capability;
    propose(std::move(begin), {Origin::Kind::begin, &transaction, {}, nullptr});
}

void TransactionCoordinator::Impl::propose_enlist(VolatileTransaction& transaction,
                                                  BranchNumber branch) {
    propose(Enlist{transaction.xid, transaction.branches[branch.value()].spec, wall_},
            {Origin::Kind::enlist, &transaction, branch, nullptr});
}

void TransactionCoordinator::Impl::propose_precommit(VolatileTransaction& transaction) {
    transaction.precommit_proposed = true;
    propose(Precommit{transaction.xid, wall_},
            {Origin::Kind::precommit, &transaction, {}, nullptr});
}

void TransactionCoordinator::Impl::propose_decision(VolatileTransaction& transaction,
                                                    Outcome outcome, DecisionReason reason,
                                                    std::string detail) {
    CONCORDAT_ASSERT(!transaction.decision_proposed);
    transaction.decision_proposed = true;
    transaction.proposed_outcome = outcome;
    transaction.proposed_reason = reason;
    transaction.proposed_detail = std::move(detail);
    // No PREPARE may leave from now on: who was never asked needs no abort.
    for (VolatileBranch& branch : transaction.branches) {
        stop_calling(branch);
    }
    if (!append_decision(transaction)) {
        transaction.end_proposed = true;
        propose_end_now(transaction);
    }
}

bool TransactionCoordinator::Impl::append_decision(VolatileTransaction& transaction) {
    Decide decide;
    decide.xid = transaction.xid;
    decide.outcome = transaction.proposed_outcome;
    decide.reason = transaction.proposed_reason;
    decide.detail = transaction.proposed_detail;
    decide.at = wall_;
    for (const VolatileBranch& branch : transaction.branches) {
        if (needs_no_delivery(branch, decide.outcome)) {
            decide.without_effect.push_back(branch.branch);
        }
    }
    const bool somebody_to_tell = decide.without_effect.size() < transaction.branches.size();
    propose(std::move(decide), {Origin::Kind::decide, &transaction, {}, nullptr});
    return somebody_to_tell;
}

void TransactionCoordinator::Impl::propose_end(VolatileTransaction& transaction) {
    if (transaction.end_proposed) {
        return;
    }
    transaction.end_proposed = true;
    for (const Waiter& waiter : transaction.waiters) {
        if (waiter.until == WaitFor::completion) {
            propose_end_now(transaction);
            return;
        }
    }
    if (lazy_ends_.empty()) {
        lazy_ends_since_ = now_;
    }
    lazy_ends_.push_back(&transaction);
}

void TransactionCoordinator::Impl::propose_end_now(VolatileTransaction& transaction) {
    propose(End{transaction.xid, wall_}, {Origin::Kind::end, &transaction, {}, nullptr});
}

void TransactionCoordinator::Impl::propose_audit(std::string who, std::string action,
                                                 std::string object, std::string why) {
    propose_rare(OperatorAction{std::move(who), std::move(action), std::move(object),
                                std::move(why), wall_});
}

/// The log refused this command; nothing of it happened.
void TransactionCoordinator::Impl::append_again(const Origin& origin) {
    switch (origin.kind) {
    case Origin::Kind::other:
        propose_rare(Command{*origin.copy});
        return;
    case Origin::Kind::barrier:
        barrier_needed_ = true;
        return;
    case Origin::Kind::epoch:
        propose(LeaderEpoch{options_.node, epoch_nonce_}, {Origin::Kind::epoch, nullptr, {}, {}});
        return;
    case Origin::Kind::begin:
        origin.transaction->begin_taken = false;
        propose_begin(*origin.transaction);
        return;
    case Origin::Kind::enlist:
        propose_enlist(*origin.transaction, origin.branch);
        return;
    case Origin::Kind::precommit:
        propose_precommit(*origin.transaction);
        return;
    case Origin::Kind::decide:
        origin.transaction->decision_taken = false;
        // An END that stood right behind it has an origin of its own.
        static_cast<void>(append_decision(*origin.transaction));
        return;
    case Origin::Kind::end:
        propose_end_now(*origin.transaction);
        return;
    }
}

} // namespace concordat::core
