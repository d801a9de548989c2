// Winning and losing leadership, and appends that the log refuses.

#include "coordinator/core/assert.hpp"
#include "coordinator/core/coordinator_impl.hpp"
#include "coordinator/core/views.hpp"

#include <algorithm>

namespace concordat::core {

void TransactionCoordinator::Impl::became_leader() {
    if (standing_ != Standing::follower) {
        lost_leadership(std::nullopt);
    }
    standing_ = Standing::elected;
    known_leader_ = options_.node;
    epoch_nonce_ = capabilities_.next_number();
    ++generation_;
    sequence_ = 0;
    propose(LeaderEpoch{options_.node, epoch_nonce_}, {Origin::Kind::epoch, nullptr, {}, nullptr});
}

/// The epoch entry is applied: everything before it in the log is known, so everything that is
/// unfinished now is this leader's to finish.
void TransactionCoordinator::Impl::start_serving() {
    standing_ = Standing::serving;
    for (const auto& [name, definition] : state_.participants()) {
        calls_.set_limit(name, definition.max_concurrent_calls);
    }
    std::vector<TransactionRecord*> unfinished;
    unfinished.reserve(state_.unfinished().size());
    for (const std::string_view xid : state_.unfinished()) {
        unfinished.push_back(state_.find(Xid{std::string{xid}}));
    }
    std::sort(unfinished.begin(), unfinished.end(),
              [](const TransactionRecord* left, const TransactionRecord* right) {
                  return left->begun_index != right->begun_index
                             ? left->begun_index < right->begun_index
                             : left->begin.xid < right->begin.xid;
              });
    for (TransactionRecord* record : unfinished) {
        resume(*record);
    }
}

void TransactionCoordinator::Impl::resume(TransactionRecord& record) {
    const Begin& begin = record.begin;
    VolatileTransaction& transaction = insert(begin.xid);
    transaction.protocol = begin.protocol;
    transaction.mode = begin.mode;
    transaction.begin_taken = true;
    transaction.begun = true;
    transaction.digest = begin.digest;
    transaction.traceparent = begin.traceparent;
    transaction.capability = begin.capability;
    transaction.created_at = begin.created_at;
    transaction.timeout = begin.timeout;
    transaction.begun_branches = begin.branches.size();
    transaction.branches.reserve(begin.branches.size());
    for (const BranchSpec& spec : begin.branches) {
        add_branch(transaction, spec);
        // An earlier leader may have asked it already.
        transaction.branches.back().may_be_prepared = true;
    }
    CompactEvent& begun = transaction.events.emplace_back();
    begun.at = begin.created_at;
    begun.kind = EventKind::begun;
    note(transaction, EventKind::resumed);

    if (is_decided(record.state)) {
        on_decided(transaction, record);
        return;
    }
    transaction.deadline = now_ + begin.timeout;
    transaction.deadline_timer =
        timers_.add(transaction.deadline,
                    {TimerEvent::Kind::deadline, BranchNumber{}, &transaction, RequestToken{}});
    if (record.state == TransactionState::precommitted) {
        transaction.precommit_proposed = true;
        // What an earlier leader promised binds this one: ballot 0 is contested already.
        transaction.superseded = record.acceptor && record.acceptor->promised > Ballot{};
        on_precommitted(transaction);
    } else if (begin.mode == Mode::interactive) {
        transaction.stage = Stage::open;
    } else if (is_one_phase(begin.mode, begin.branches.size())) {
        transaction.stage = Stage::one_phase;
        transaction.one_phase_sent = true;
        transaction.branches.front().only_refusals = false;
        start_operation(transaction, transaction.branches.front(), Operation::commit_one_phase);
    } else {
        start_voting(transaction);
    }
}

void TransactionCoordinator::Impl::lost_leadership(std::optional<NodeId> leader) {
    known_leader_ = leader;
    if (standing_ == Standing::follower) {
        return;
    }
    standing_ = Standing::follower;
    answer_waiters_on_loss();
    drop_leadership_state();
}

void TransactionCoordinator::Impl::answer_waiters_on_loss() {
    for (VolatileTransaction* each = oldest_; each != nullptr; each = each->younger) {
        for (const Waiter& waiter : each->waiters) {
            answer_on_loss(*each, waiter);
        }
    }
    const auto answer_turn = [this](const TurnWaiters& waiters, bool appended) {
        for (const TurnWaiter& waiter : waiters) {
            if (appended && waiter.kind != TurnWaiter::Kind::read) {
                reject(waiter.token, RejectCode::outcome_unknown, "leadership was lost",
                       waiter.xid);
            } else {
                reply(waiter.token, no_leader());
            }
        }
    };
    for (const Turn& turn : turns_) {
        answer_turn(turn.waiters, true);
    }
    answer_turn(turn_waiters_, false);
}

void TransactionCoordinator::Impl::answer_on_loss(const VolatileTransaction& transaction,
                                                  const Waiter& waiter) {
    bool effect_unknown = false;
    switch (waiter.purpose) {
    case Waiter::Purpose::watch:
        break;
    case Waiter::Purpose::begin:
        if (transaction.begun) {
            // It exists and goes on under the next leader, only its decision is not known here.
            reply_transaction(waiter.token, *state_.find(transaction.xid), true, waiter.created,
                              false);
            return;
        }
        effect_unknown = transaction.begin_taken;
        break;
    case Waiter::Purpose::commit:
        effect_unknown = true;
        break;
    case Waiter::Purpose::abort:
        effect_unknown = transaction.decision_taken;
        break;
    }
    if (effect_unknown) {
        reject(waiter.token, RejectCode::outcome_unknown, "leadership was lost", transaction.xid);
    } else {
        reply(waiter.token, no_leader());
    }
}

void TransactionCoordinator::Impl::drop_leadership_state() {
    timers_.clear();
    calls_.clear();
    append_.clear();
    append_origins_.clear();
    taken_origins_.clear();
    append_cost_bytes_ = 0;
    append_held_until_.reset();
    lazy_ends_.clear();
    barrier_needed_ = false;
    turn_waiters_.clear();
    turns_.clear();
    turn_waiters_total_ = 0;
    waiting_tokens_.clear();
    keys_in_flight_.clear();
    being_removed_.clear();
    recent_.clear();
    oldest_ = nullptr;
    youngest_ = nullptr;
    oldest_unmarked_ = nullptr;
    transactions_.clear();
    live_ = 0;
    undecided_ = 0;
    attention_ = 0;
}

void TransactionCoordinator::Impl::append_failed(bool leadership_lost) {
    if (standing_ == Standing::follower || taken_origins_.empty()) {
        return;
    }
    // Nothing of the turn happened: its commands go in front of what has come since.
    std::vector<Command> later;
    std::vector<Origin> later_origins;
    later.swap(append_);
    later_origins.swap(append_origins_);
    append_cost_bytes_ = 0;
    const std::vector<Origin> refused = std::move(taken_origins_);
    taken_origins_.clear();
    for (const Origin& origin : refused) {
        append_again(origin);
    }
    for (std::size_t i = 0; i < later.size(); ++i) {
        propose(std::move(later[i]), std::move(later_origins[i]));
    }
    CONCORDAT_ASSERT(!turns_.empty());
    TurnWaiters waiters = std::move(turns_.back().waiters);
    turns_.pop_back();
    std::move(turn_waiters_.begin(), turn_waiters_.end(), std::back_inserter(waiters));
    turn_waiters_ = std::move(waiters);
    if (leadership_lost) {
        lost_leadership(std::nullopt);
    } else {
        append_held_until_ = now_ + std::chrono::milliseconds{2};
    }
}

} // namespace concordat::core
