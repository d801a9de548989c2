// Calls to participants: sending, retrying, and delivering decisions until all acknowledge.

#include "coordinator/core/assert.hpp"
#include "coordinator/core/coordinator_impl.hpp"
#include "coordinator/core/views.hpp"

#include <algorithm>

namespace concordat::core {
namespace {

/// Attempt numbers of different leaderships of one process differ, so that an answer from an
/// earlier one is never taken for a current one. A million attempts of one branch last 60 days.
constexpr std::uint32_t generation_shift = 20;
constexpr std::uint32_t attempt_mask = (1U << generation_shift) - 1;
/// A participant may ask for patience, but not for ever.
constexpr Duration max_retry_after = std::chrono::minutes{1};
constexpr std::size_t recent_transactions = 1024;

} // namespace

void TransactionCoordinator::Impl::start_operation(VolatileTransaction& transaction,
                                                   VolatileBranch& branch, Operation operation) {
    CONCORDAT_ASSERT(branch.transaction == &transaction);
    stop_calling(branch);
    // The answer to an earlier operation, if one is on its way, is late from now on.
    branch.in_flight = false;
    branch.operation = operation;
    branch.tries = 0;
    branch.last_error.clear();
    enqueue(branch);
}

/// Nothing more is sent; the answer to a call in flight still counts.
void TransactionCoordinator::Impl::stop_calling(VolatileBranch& branch) {
    calls_.cancel(branch);
    timers_.cancel(branch.retry);
}

void TransactionCoordinator::Impl::enqueue(VolatileBranch& branch) {
    if (branch.tries > 0) {
        ++figures_.retries[static_cast<std::size_t>(branch.operation)];
    }
    calls_.enqueue(branch, branch.operation != Operation::prepare);
}

bool TransactionCoordinator::Impl::fill_call(VolatileTransaction& transaction,
                                             VolatileBranch& branch, ParticipantCall& call) {
    const ParticipantDefinition* definition = state_.find_participant(branch.spec.participant);
    if (definition == nullptr) {
        return false;
    }
    branch.attempt = (branch.attempt + 1) & attempt_mask;
    ++branch.tries;
    ++branch.outstanding;
    branch.in_flight = true;
    ++figures_.calls[static_cast<std::size_t>(branch.operation)];

    call.key = {transaction.xid, branch.branch, branch.operation,
                ((generation_ - 1) << generation_shift) | branch.attempt};
    call.participant = branch.spec.participant;
    call.target = *definition;
    call.epoch = state_.epoch();
    call.protocol = transaction.protocol;
    call.traceparent = transaction.traceparent;
    call.timeout = branch.spec.call_timeout.value_or(definition->call_timeout);
    if (branch.operation == Operation::prepare) {
        branch.may_be_prepared = true;
        call.payload = branch.spec.payload;
        // An answer after the deadline is of no use and would only hold the participant's slot.
        call.timeout = std::clamp<Duration>(transaction.deadline - now_,
                                            std::chrono::milliseconds{1}, call.timeout);
        fill_termination(transaction, branch, call);
    } else if (branch.operation == Operation::commit_one_phase) {
        branch.may_be_prepared = true;
        transaction.one_phase_sent = true;
        call.payload = branch.spec.payload;
    }
    return true;
}

/// What participants need to find out the outcome among themselves.
void TransactionCoordinator::Impl::fill_termination(const VolatileTransaction& transaction,
                                                    const VolatileBranch& branch,
                                                    ParticipantCall& call) const {
    call.capability = transaction.capability;
    if (transaction.protocol == Protocol::three_phase) {
        const Quorum quorum = quorum_of(transaction);
        call.quorum = static_cast<std::uint16_t>(quorum.accepts_needed);
        call.coordinator_is_acceptor = quorum.coordinator_is_acceptor;
    }
    call.peers.reserve(transaction.branches.size() - 1);
    for (const VolatileBranch& other : transaction.branches) {
        if (&other == &branch) {
            continue;
        }
        const ParticipantDefinition* definition = state_.find_participant(other.spec.participant);
        call.peers.push_back({other.branch, other.spec.participant,
                              definition == nullptr ? std::string{} : definition->base_url});
    }
}

void TransactionCoordinator::Impl::call_result(CallResult&& result) {
    VolatileTransaction* transaction = find_known(result.key.xid);
    const std::uint32_t attempt = result.key.attempt & attempt_mask;
    if (transaction == nullptr || result.key.branch.value() >= transaction->branches.size() ||
        (result.key.attempt >> generation_shift) + 1 != generation_) {
        ++figures_.late_answers_dropped;
        return;
    }
    VolatileBranch& branch = transaction->branches[result.key.branch.value()];
    if (branch.outstanding > 0) {
        --branch.outstanding;
        calls_.finished(*branch.lane);
    }
    if (!branch.in_flight || attempt != branch.attempt ||
        result.key.operation != branch.operation || !transaction->is_live()) {
        ++figures_.late_answers_dropped;
        return;
    }
    branch.in_flight = false;
    switch (branch.operation) {
    case Operation::prepare:
        prepare_answered(*transaction, branch, result);
        return;
    case Operation::commit_one_phase:
        one_phase_answered(*transaction, branch, result);
        return;
    case Operation::pre_commit:
        pre_commit_answered(*transaction, branch, result);
        return;
    case Operation::learn:
        learn_answered(*transaction, branch, result);
        return;
    case Operation::commit:
    case Operation::abort:
        delivery_answered(*transaction, branch, result);
        return;
    }
}

void TransactionCoordinator::Impl::call_again_later(VolatileTransaction& transaction,
                                                    VolatileBranch& branch, CallResult& result) {
    if (auto* unknown = std::get_if<CallResult::Unknown>(&result.answer)) {
        call_again_later(transaction, branch, std::move(unknown->detail));
    } else if (const auto* later = std::get_if<CallResult::Later>(&result.answer)) {
        call_again_later(transaction, branch, "the participant asks to come back later",
                         later->retry_after);
    } else if (auto* refused = std::get_if<CallResult::Refused>(&result.answer)) {
        call_again_later(transaction, branch, std::move(refused->reason));
    } else {
        call_again_later(transaction, branch, "the answer does not fit the operation");
    }
}

void TransactionCoordinator::Impl::call_again_later(VolatileTransaction& transaction,
                                                    VolatileBranch& branch, std::string detail,
                                                    std::optional<Duration> retry_after) {
    const std::uint32_t earlier_tries = branch.tries == 0 ? 0 : branch.tries - 1;
    Duration delay =
        full_jitter(jitter_, options_.retry_initial, options_.retry_cap, earlier_tries);
    if (retry_after) {
        // Not before the participant wants it, and not all callers at that same moment.
        delay = std::clamp(*retry_after, Duration::zero(), max_retry_after) +
                jitter_.up_to(options_.retry_initial);
    }
    note(transaction, EventKind::call_failed, &branch, detail);
    branch.last_error = std::move(detail);
    branch.retry = timers_.add(
        now_ + delay, {TimerEvent::Kind::retry, branch.branch, &transaction, RequestToken{}});
}

// -------------------------------------------------------------------------- after the decision

bool TransactionCoordinator::Impl::needs_no_delivery(const VolatileBranch& branch,
                                                     Outcome outcome) {
    return branch.phase == BranchPhase::refused || branch.phase == BranchPhase::read_only ||
           branch.phase == BranchPhase::committed ||
           (outcome == Outcome::aborted && !branch.may_be_prepared);
}

void TransactionCoordinator::Impl::on_decided(VolatileTransaction& transaction,
                                              const TransactionRecord& record) {
    const Decide& decision = *record.decision;
    const bool commit = decision.outcome == Outcome::committed;
    // END stands right behind the decision: clients see the finished transaction.
    const bool ends_at_once = transaction.end_proposed;
    timers_.cancel(transaction.deadline_timer);
    transaction.stage = Stage::delivering;
    transaction.decision_proposed = true;
    transaction.proposed_outcome = decision.outcome;
    --undecided_;
    note(transaction, commit ? EventKind::decided_commit : EventKind::decided_abort, nullptr,
         decision.detail);
    ++figures_.decided[static_cast<std::size_t>(transaction.protocol)]
                      [static_cast<std::size_t>(decision.outcome)];
    ++figures_.decided_by_reason[static_cast<std::size_t>(decision.reason)];

    const bool one_phase = is_one_phase(transaction.mode, transaction.branches.size());
    for (const BranchNumber spared : decision.without_effect) {
        VolatileBranch& branch = transaction.branches[spared.value()];
        if (branch.phase != BranchPhase::refused && branch.phase != BranchPhase::read_only) {
            branch.phase = !commit     ? BranchPhase::aborted
                           : one_phase ? BranchPhase::committed
                                       : BranchPhase::read_only;
        }
        branch.may_be_prepared = false;
        stop_calling(branch);
    }
    transaction.missing = 0;
    for (VolatileBranch& branch : transaction.branches) {
        if (needs_no_delivery(branch, decision.outcome)) {
            stop_calling(branch);
            if (!commit && branch.phase != BranchPhase::refused &&
                branch.phase != BranchPhase::read_only) {
                branch.phase = BranchPhase::aborted;
            }
            continue;
        }
        ++transaction.missing;
        branch.phase = commit ? BranchPhase::committing : BranchPhase::aborting;
        start_operation(transaction, branch, commit ? Operation::commit : Operation::abort);
    }
    if (transaction.missing == 0) {
        propose_end(transaction);
    } else if (!commit) {
        transaction.deadline_timer =
            timers_.add(now_ + options_.attention_after,
                        {TimerEvent::Kind::deadline, BranchNumber{}, &transaction, RequestToken{}});
    }
    if (!ends_at_once) {
        settle_waiters(transaction);
    }
}

void TransactionCoordinator::Impl::delivery_answered(VolatileTransaction& transaction,
                                                     VolatileBranch& branch, CallResult& result) {
    const bool commit = branch.operation == Operation::commit;
    if (std::holds_alternative<CallResult::Done>(result.answer)) {
        acknowledged(transaction, branch);
        return;
    }
    if (const auto* decided = std::get_if<CallResult::Decided>(&result.answer)) {
        if (decided->outcome == transaction.proposed_outcome) {
            acknowledged(transaction, branch);
            return;
        }
    }
    const bool contradicted = std::holds_alternative<CallResult::Refused>(result.answer) ||
                              std::holds_alternative<CallResult::Decided>(result.answer);
    if (!contradicted) {
        call_again_later(transaction, branch, result);
        return;
    }
    std::string detail = "the participant has another outcome";
    if (auto* refused = std::get_if<CallResult::Refused>(&result.answer)) {
        detail = std::move(refused->reason);
    }
    if (commit) {
        // The decision stands: somebody must repair the participant, until then we keep asking.
        if (branch.tries == 1) {
            alarm(transaction, branch, detail);
        }
        call_again_later(transaction, branch, std::move(detail));
        return;
    }
    alarm(transaction, branch, detail);
    branch.last_error = std::move(detail);
    branch.phase = BranchPhase::refused;
    CONCORDAT_ASSERT(transaction.missing > 0);
    if (--transaction.missing == 0) {
        propose_end(transaction);
    }
}

void TransactionCoordinator::Impl::acknowledged(VolatileTransaction& transaction,
                                                VolatileBranch& branch) {
    branch.phase =
        branch.operation == Operation::commit ? BranchPhase::committed : BranchPhase::aborted;
    branch.last_error.clear();
    note(transaction, EventKind::acknowledged, &branch);
    CONCORDAT_ASSERT(transaction.missing > 0);
    if (--transaction.missing == 0) {
        propose_end(transaction);
    }
}

/// Something outside the protocol happened to a branch: never repaired silently, always shown.
void TransactionCoordinator::Impl::alarm(VolatileTransaction& transaction, VolatileBranch& branch,
                                         std::string detail) {
    ++figures_.heuristic_alarms;
    note(transaction, EventKind::alarm, &branch, std::move(detail));
}

/// Presumed abort: who cannot be reached for this long asks by itself when it comes back.
void TransactionCoordinator::Impl::give_up_abort_delivery(VolatileTransaction& transaction) {
    CONCORDAT_ASSERT(transaction.proposed_outcome == Outcome::aborted);
    if (transaction.end_proposed) {
        return;
    }
    for (VolatileBranch& branch : transaction.branches) {
        stop_calling(branch);
        branch.in_flight = false;
    }
    propose_end(transaction);
}

void TransactionCoordinator::Impl::on_ended(VolatileTransaction& transaction) {
    note(transaction, EventKind::ended);
    settle_waiters(transaction);
    CONCORDAT_ASSERT(transaction.waiters.empty());
    for (VolatileBranch& branch : transaction.branches) {
        stop_calling(branch);
        branch.spec.payload.reset();
    }
    timers_.cancel(transaction.deadline_timer);
    transaction.stage = Stage::finished;
    --live_;
    unlink_by_age(transaction);
    keep_as_recent(transaction);
}

/// Keeps the story of the last few thousand for readers, and every one with a call outstanding:
/// its answer gives the participant's slot back.
void TransactionCoordinator::Impl::keep_as_recent(VolatileTransaction& transaction) {
    recent_.push_back(&transaction);
    if (recent_.size() <= recent_transactions) {
        return;
    }
    VolatileTransaction* oldest = recent_.front();
    recent_.pop_front();
    const bool outstanding =
        std::any_of(oldest->branches.begin(), oldest->branches.end(),
                    [](const VolatileBranch& branch) { return branch.outstanding > 0; });
    if (outstanding) {
        recent_.push_back(oldest);
    } else {
        transactions_.erase(oldest->xid.value());
    }
}

} // namespace concordat::core
