#include "coordinator/core/transaction_coordinator.hpp"

#include "coordinator/core/assert.hpp"
#include "coordinator/core/coordinator_impl.hpp"

#include <algorithm>

namespace concordat::core {

namespace {

/// Position of a command type in the variant.
template <class Fact, std::size_t index = 0>
constexpr std::size_t find_alternative() {
    if constexpr (std::is_same_v<std::variant_alternative_t<index, Command>, Fact>) {
        return index;
    } else {
        return find_alternative<Fact, index + 1>();
    }
}
template <class Fact>
constexpr std::size_t alternative_of = find_alternative<Fact>();

} // namespace

// ------------------------------------------------------------------------------------- the door

TransactionCoordinator::TransactionCoordinator(CoordinatorOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}

TransactionCoordinator::~TransactionCoordinator() = default;

void TransactionCoordinator::advance(Instant now, WallTime wall) {
    impl_->advance(now, wall);
}
void TransactionCoordinator::request(RequestToken token, ClientRequest request) {
    impl_->request(token, std::move(request));
}
void TransactionCoordinator::forget_request(RequestToken token) {
    impl_->forget_request(token);
}
void TransactionCoordinator::call_result(CallResult result) {
    impl_->call_result(std::move(result));
}
void TransactionCoordinator::became_leader() {
    impl_->became_leader();
}
void TransactionCoordinator::lost_leadership(std::optional<NodeId> leader) {
    impl_->lost_leadership(leader);
}
void TransactionCoordinator::append_failed(bool leadership_lost) {
    impl_->append_failed(leadership_lost);
}
void TransactionCoordinator::apply(LogIndex index, std::vector<Command>&& commands) {
    impl_->apply(index, std::move(commands));
}
void TransactionCoordinator::restore(SnapshotContent&& content) {
    impl_->restore(std::move(content));
}
Actions TransactionCoordinator::take_actions() {
    return impl_->take_actions();
}
std::optional<Instant> TransactionCoordinator::next_timer() const {
    return impl_->next_timer();
}
const ReplicatedState& TransactionCoordinator::state() const {
    return impl_->state();
}
CoordinatorFigures TransactionCoordinator::figures() const {
    return impl_->figures();
}
bool TransactionCoordinator::is_serving() const {
    return impl_->is_serving();
}

// ------------------------------------------------------------------------------------- the turn

TransactionCoordinator::Impl::Impl(CoordinatorOptions options)
    : options_(std::move(options)),
      state_(options_.retention),
      jitter_(options_.seed),
      capabilities_(options_.seed) {}

void TransactionCoordinator::Impl::advance(Instant now, WallTime wall) {
    now_ = std::max(now_, now);
    wall_ = wall;
    if (append_held_until_ && *append_held_until_ <= now_) {
        append_held_until_.reset();
    }
    while (const auto event = timers_.pop_due(now_)) {
        fire(*event);
    }
    mark_old_transactions();
}

void TransactionCoordinator::Impl::fire(const TimerEvent& event) {
    VolatileTransaction& transaction = *event.transaction;
    switch (event.kind) {
    case TimerEvent::Kind::deadline:
        transaction.deadline_timer = 0;
        if (transaction.stage == Stage::delivering) {
            give_up_abort_delivery(transaction);
        } else {
            deadline_passed(transaction);
        }
        return;
    case TimerEvent::Kind::retry: {
        VolatileBranch& branch = transaction.branches[event.branch.value()];
        branch.retry = 0;
        enqueue(branch);
        return;
    }
    case TimerEvent::Kind::wait_limit:
        wait_limit_passed(transaction, event.token);
        return;
    }
}

void TransactionCoordinator::Impl::request(RequestToken token, ClientRequest&& request) {
    std::visit(
        [&](auto&& wanted) {
            using Request = std::remove_cvref_t<decltype(wanted)>;
            if constexpr (std::is_same_v<Request, GetRequest>) {
                get(token, std::move(wanted), false);
            } else if constexpr (std::is_same_v<Request, ListRequest>) {
                list(token, wanted);
            } else if constexpr (std::is_same_v<Request, ListParticipantsRequest>) {
                reply(token, ParticipantsReply{
                                 {state_.participants().begin(), state_.participants().end()}});
            } else if (!is_serving()) {
                reply(token, no_leader());
            } else if constexpr (std::is_same_v<Request, BeginRequest>) {
                begin(token, std::move(wanted));
            } else if constexpr (std::is_same_v<Request, EnlistRequest>) {
                enlist(token, std::move(wanted), false);
            } else if constexpr (std::is_same_v<Request, DecideRequest>) {
                decide(token, std::move(wanted), false);
            } else if constexpr (std::is_same_v<Request, RetryRequest>) {
                retry(token, std::move(wanted), false);
            } else if constexpr (std::is_same_v<Request, InquiryRequest>) {
                inquire(token, wanted);
            } else if constexpr (std::is_same_v<Request, PromiseRequest> ||
                                 std::is_same_v<Request, AcceptRequest>) {
                promise_or_accept(token, std::move(wanted));
            } else if constexpr (std::is_same_v<Request, PutParticipantRequest>) {
                put_participant(token, std::move(wanted));
            } else {
                static_assert(std::is_same_v<Request, RemoveParticipantRequest>);
                remove_participant(token, std::move(wanted));
            }
        },
        std::move(request));
}

void TransactionCoordinator::Impl::apply(LogIndex index, std::vector<Command>&& commands) {
    append_held_until_.reset();
    const bool own = !commands.empty() && !is_from_shell(commands);
    for (Command& command : commands) {
        apply_one(index, std::move(command));
    }
    state_.applied_through(index);
    if (is_serving() && own) {
        settle_turn();
    }
}

/// The shell appends audit entries of its own (a leadership transfer), always alone in an entry.
/// Every other entry of this leadership was appended here, in the order of turns_.
bool TransactionCoordinator::Impl::is_from_shell(const std::vector<Command>& commands) const {
    if (commands.size() != 1) {
        return false;
    }
    const auto* action = std::get_if<OperatorAction>(&commands.front());
    if (action == nullptr) {
        return false;
    }
    if (turns_.empty() || turns_.front().first_if_rare == nullptr) {
        return true;
    }
    const auto* expected = std::get_if<OperatorAction>(turns_.front().first_if_rare.get());
    return expected == nullptr || *expected != *action;
}

void TransactionCoordinator::Impl::apply_one(LogIndex index, Command&& command) {
    const std::size_t alternative = command.index();
    bool own_epoch = false;
    if (const auto* put = std::get_if<PutParticipant>(&command)) {
        calls_.set_limit(put->name, put->definition.max_concurrent_calls);
    } else if (const auto* removed = std::get_if<RemoveParticipant>(&command)) {
        being_removed_.erase(removed->name);
    } else if (const auto* epoch = std::get_if<LeaderEpoch>(&command)) {
        own_epoch = standing_ == Standing::elected && epoch->nonce == epoch_nonce_;
        known_leader_ = epoch->leader;
    }
    const Applied effect = state_.apply(index, std::move(command));
    if (is_serving()) {
        react(alternative, effect);
    }
    if (own_epoch) {
        start_serving();
    }
}

void TransactionCoordinator::Impl::react(std::size_t alternative, const Applied& effect) {
    if (effect.transaction == nullptr) {
        return;
    }
    const TransactionRecord& record = *effect.transaction;
    VolatileTransaction* transaction = find_live(record.begin.xid);
    if (transaction == nullptr) {
        return;
    }
    const bool changed = effect.effect == Applied::Effect::changed;
    if (alternative == alternative_of<Begin>) {
        on_begun(*transaction, record);
    } else if (alternative == alternative_of<Enlist>) {
        settle_waiters(*transaction);
    } else if (alternative == alternative_of<Precommit> && changed) {
        on_precommitted(*transaction);
    } else if (alternative == alternative_of<Decide> && changed && transaction->begun) {
        on_decided(*transaction, record);
    } else if (alternative == alternative_of<End> && is_finished(record.state)) {
        on_ended(*transaction);
    }
}

/// The oldest entry of this leadership that was in flight is applied now.
void TransactionCoordinator::Impl::settle_turn() {
    CONCORDAT_ASSERT(!turns_.empty());
    TurnWaiters waiters = std::move(turns_.front().waiters);
    turns_.pop_front();
    turn_waiters_total_ -= waiters.size();
    for (TurnWaiter& waiter : waiters) {
        switch (waiter.kind) {
        case TurnWaiter::Kind::read:
            run_read(waiter.token, std::move(*waiter.request));
            break;
        case TurnWaiter::Kind::ballot:
            answer_ballot(waiter.token, *waiter.request);
            break;
        case TurnWaiter::Kind::acknowledge:
            reply(waiter.token, Acknowledged{});
            break;
        case TurnWaiter::Kind::transaction:
            if (const TransactionRecord* record = state_.find(waiter.xid)) {
                reply_transaction(waiter.token, *record, false, false, false);
            } else {
                reject(waiter.token, RejectCode::transaction_not_found, "forgotten", waiter.xid);
            }
            break;
        case TurnWaiter::Kind::inquiry: {
            const TransactionRecord* record = state_.find(waiter.xid);
            std::optional<Outcome> outcome;
            if (record != nullptr && record->decision) {
                outcome = record->decision->outcome;
            }
            reply(waiter.token, InquiryReply{waiter.xid, outcome});
            break;
        }
        }
    }
}

void TransactionCoordinator::Impl::restore(SnapshotContent&& content) {
    CONCORDAT_ASSERT(standing_ != Standing::serving);
    state_.restore(content);
}

Actions TransactionCoordinator::Impl::take_actions() {
    Actions actions;
    taken_origins_.clear();
    if (standing_ != Standing::follower && !append_held_until_) {
        flush_lazy_ends();
        take_append(actions);
    }
    take_calls(actions);
    actions.replies = std::move(replies_);
    replies_.clear();
    return actions;
}

/// END travels with whatever else is appended; alone only when it has waited long enough.
void TransactionCoordinator::Impl::flush_lazy_ends() {
    const bool something_else = !append_.empty() || barrier_needed_;
    if (lazy_ends_.empty() || (!something_else && now_ < lazy_ends_since_ + options_.end_delay)) {
        return;
    }
    for (VolatileTransaction* transaction : lazy_ends_) {
        propose_end_now(*transaction);
    }
    lazy_ends_.clear();
}

void TransactionCoordinator::Impl::take_append(Actions& actions) {
    if (append_.empty() && barrier_needed_) {
        propose(ReadBarrier{}, {Origin::Kind::barrier, nullptr, {}, nullptr});
    }
    barrier_needed_ = false;
    if (append_.empty()) {
        return;
    }
    std::size_t count = append_.size();
    if (append_cost_bytes_ > options_.max_append_bytes) {
        std::size_t cost = 0;
        for (count = 0; count < append_.size(); ++count) {
            const std::size_t more = cost_of(append_[count]);
            if (count > 0 && cost + more > options_.max_append_bytes) {
                break;
            }
            cost += more;
        }
    }
    const auto split = static_cast<std::ptrdiff_t>(count);
    if (count == append_.size()) {
        actions.append = std::move(append_);
        append_.clear();
        taken_origins_.swap(append_origins_);
        append_cost_bytes_ = 0;
        turns_.push_back({std::move(turn_waiters_), taken_origins_.front().copy});
        turn_waiters_.clear();
    } else {
        // Waiters stay: whatever they wait for is not later than the last part of the turn.
        actions.append.assign(std::make_move_iterator(append_.begin()),
                              std::make_move_iterator(append_.begin() + split));
        append_.erase(append_.begin(), append_.begin() + split);
        taken_origins_.assign(append_origins_.begin(), append_origins_.begin() + split);
        append_origins_.erase(append_origins_.begin(), append_origins_.begin() + split);
        append_cost_bytes_ = 0;
        for (const Command& command : append_) {
            append_cost_bytes_ += cost_of(command);
        }
        turns_.push_back({{}, taken_origins_.front().copy});
    }
    for (const Origin& origin : taken_origins_) {
        if (origin.kind == Origin::Kind::begin) {
            origin.transaction->begin_taken = true;
        } else if (origin.kind == Origin::Kind::decide) {
            origin.transaction->decision_taken = true;
        }
    }
}

void TransactionCoordinator::Impl::take_calls(Actions& actions) {
    while (QueuedCall* next = calls_.take()) {
        VolatileTransaction& transaction = *next->transaction;
        VolatileBranch& branch = transaction.branches[next->branch.value()];
        ParticipantCall& call = actions.calls.emplace_back();
        if (!fill_call(transaction, branch, call)) {
            actions.calls.pop_back();
            calls_.finished(*branch.lane);
            call_again_later(transaction, branch, "participant is not registered");
        }
    }
}

std::optional<Instant> TransactionCoordinator::Impl::next_timer() const {
    std::optional<Instant> earliest = timers_.next();
    const auto consider = [&earliest](Instant at) {
        earliest = earliest ? std::min(*earliest, at) : at;
    };
    if (append_held_until_) {
        consider(*append_held_until_);
    } else if (!append_.empty()) {
        consider(now_);
    }
    if (!lazy_ends_.empty()) {
        consider(lazy_ends_since_ + options_.end_delay);
    }
    if (oldest_unmarked_ != nullptr) {
        consider(oldest_unmarked_->accepted_at + options_.attention_after);
    }
    return earliest;
}

CoordinatorFigures TransactionCoordinator::Impl::figures() const {
    CoordinatorFigures figures = figures_;
    const bool leads = standing_ != Standing::follower;
    figures.in_flight = leads ? live_ : state_.unfinished().size();
    figures.undecided = undecided_;
    figures.undelivered = live_ - undecided_;
    figures.waiting_requests = waiting_tokens_.size() + turn_waiters_total_;
    figures.queued_calls = calls_.queued();
    figures.needing_attention = attention_;
    return figures;
}

// ------------------------------------------------------------------- what the leader remembers

VolatileTransaction& TransactionCoordinator::Impl::insert(Xid xid) {
    auto created = std::make_unique<VolatileTransaction>();
    created->xid = std::move(xid);
    VolatileTransaction& transaction = *created;
    const auto [place, is_new] =
        transactions_.try_emplace(transaction.xid.value(), std::move(created));
    CONCORDAT_ASSERT(is_new);
    transaction.events.reserve(8);
    link_by_age(transaction);
    ++live_;
    ++undecided_;
    return transaction;
}

VolatileTransaction* TransactionCoordinator::Impl::find_known(const Xid& xid) {
    const auto place = transactions_.find(xid.value());
    return place == transactions_.end() ? nullptr : place->second.get();
}

const VolatileTransaction* TransactionCoordinator::Impl::find_known(const Xid& xid) const {
    const auto place = transactions_.find(xid.value());
    return place == transactions_.end() ? nullptr : place->second.get();
}

VolatileTransaction* TransactionCoordinator::Impl::find_live(const Xid& xid) {
    VolatileTransaction* transaction = find_known(xid);
    return transaction != nullptr && transaction->is_live() ? transaction : nullptr;
}

void TransactionCoordinator::Impl::link_by_age(VolatileTransaction& transaction) {
    transaction.accepted_at = now_;
    transaction.older = youngest_;
    (youngest_ == nullptr ? oldest_ : youngest_->younger) = &transaction;
    youngest_ = &transaction;
    if (oldest_unmarked_ == nullptr) {
        oldest_unmarked_ = &transaction;
    }
}

void TransactionCoordinator::Impl::unlink_by_age(VolatileTransaction& transaction) {
    if (oldest_unmarked_ == &transaction) {
        oldest_unmarked_ = transaction.younger;
    }
    if (transaction.attention) {
        --attention_;
    }
    (transaction.older == nullptr ? oldest_ : transaction.older->younger) = transaction.younger;
    (transaction.younger == nullptr ? youngest_ : transaction.younger->older) = transaction.older;
    transaction.older = nullptr;
    transaction.younger = nullptr;
}

void TransactionCoordinator::Impl::mark_old_transactions() {
    while (oldest_unmarked_ != nullptr &&
           now_ - oldest_unmarked_->accepted_at >= options_.attention_after) {
        VolatileTransaction& transaction = *oldest_unmarked_;
        oldest_unmarked_ = transaction.younger;
        transaction.attention = true;
        ++attention_;
    }
}

void TransactionCoordinator::Impl::note(VolatileTransaction& transaction, EventKind kind,
                                        const VolatileBranch* branch, std::string detail) {
    if (transaction.events.size() >= options_.max_timeline_events) {
        ++transaction.events_dropped;
        return;
    }
    CompactEvent& event = transaction.events.emplace_back();
    event.at = wall_;
    event.kind = kind;
    if (branch != nullptr) {
        event.branch = branch->branch.value();
    }
    if (!detail.empty()) {
        transaction.details.push_back(std::move(detail));
        event.detail = static_cast<std::uint32_t>(transaction.details.size());
    }
}

} // namespace concordat::core
