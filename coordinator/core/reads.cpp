// Reads, and everything about clients that wait.
//
// A read is linearizable when some log entry that was appended after the read arrived has been
// committed under this leadership. All reads of a turn share one entry, and any entry will do: a
// ReadBarrier is appended only when the turn has nothing else to append. Decided outcomes never
// change (I4), so they are answered without waiting.

#include "coordinator/core/assert.hpp"
#include "coordinator/core/coordinator_impl.hpp"
#include "coordinator/core/views.hpp"

#include <algorithm>

namespace concordat::core {
namespace {

constexpr Duration election_retry_after = std::chrono::milliseconds{200};
constexpr std::size_t max_page = 200;
constexpr std::size_t max_scanned_per_page = 5'000;

} // namespace

// ----------------------------------------------------------------------------------------- get

void TransactionCoordinator::Impl::get(RequestToken token, GetRequest&& request, bool confirmed) {
    if (!is_serving() && !request.stale_allowed) {
        reply(token, no_leader());
        return;
    }
    const TransactionRecord* record = state_.find(request.xid);
    if (!is_serving() || (record != nullptr && is_finished(record->state))) {
        if (record == nullptr) {
            reject(token, RejectCode::transaction_not_found, "no such transaction", request.xid);
            return;
        }
        // A follower does not wait: it cannot know when something will change.
        const bool pending = !is_finished(record->state) && request.wait_index &&
                             record->changed_index <= *request.wait_index;
        reply_transaction(token, *record, pending, false, true);
        return;
    }
    if (!confirmed && !request.stale_allowed) {
        read_after_barrier(token, std::move(request));
        return;
    }
    if (record == nullptr) {
        reject(token, RejectCode::transaction_not_found, "no such transaction", request.xid);
        return;
    }
    if (!request.wait_index || record->changed_index > *request.wait_index) {
        reply_transaction(token, *record, false, false, true);
        return;
    }
    if (has_room_for_waiter(token)) {
        Waiter waiter;
        waiter.token = token;
        waiter.purpose = Waiter::Purpose::watch;
        waiter.newer_than = *request.wait_index;
        add_waiter(*find_live(request.xid), waiter, request.wait_limit);
    }
}

void TransactionCoordinator::Impl::read_after_barrier(RequestToken token, ClientRequest&& request) {
    if (!has_room_for_waiter(token)) {
        return;
    }
    TurnWaiter& waiter = turn_waiters_.emplace_back();
    waiter.token = token;
    waiter.kind = TurnWaiter::Kind::read;
    waiter.request = std::make_unique<ClientRequest>(std::move(request));
    ++turn_waiters_total_;
    barrier_needed_ = true;
}

void TransactionCoordinator::Impl::run_read(RequestToken token, ClientRequest&& request) {
    if (auto* wanted = std::get_if<GetRequest>(&request)) {
        get(token, std::move(*wanted), true);
    } else if (auto* enlisting = std::get_if<EnlistRequest>(&request)) {
        enlist(token, std::move(*enlisting), true);
    } else if (auto* deciding = std::get_if<DecideRequest>(&request)) {
        decide(token, std::move(*deciding), true);
    } else if (auto* retrying = std::get_if<RetryRequest>(&request)) {
        retry(token, std::move(*retrying), true);
    }
}

void TransactionCoordinator::Impl::wait_for_turn(RequestToken token, TurnWaiter::Kind kind,
                                                 const Xid& xid) {
    TurnWaiter& waiter = turn_waiters_.emplace_back();
    waiter.token = token;
    waiter.kind = kind;
    waiter.xid = xid;
    ++turn_waiters_total_;
}

// ------------------------------------------------------------------------------------- inquiry

/// "What became of xid?" from a participant in doubt. A decision is final and is told at once;
/// "not decided yet" is always a safe answer; an unknown xid is aborted in the log first.
void TransactionCoordinator::Impl::inquire(RequestToken token, const InquiryRequest& request) {
    const TransactionRecord* record = state_.find(request.xid);
    if (record != nullptr && record->decision) {
        reply(token, InquiryReply{request.xid, record->decision->outcome});
        return;
    }
    if (VolatileTransaction* transaction = find_known(request.xid)) {
        if (!transaction->is_live()) {
            reply(token, InquiryReply{request.xid, transaction->proposed_outcome});
        } else if (transaction->superseded && !transaction->decision_proposed) {
            // A ballot among participants stands in the way of ballot 0: they must finish it, and
            // do so when no coordinator answers them. What they decide is learnt (Q9).
            reply(token, Rejected{RejectCode::overloaded, "the participants are deciding",
                                  request.xid, election_retry_after, std::nullopt});
        } else if (now_ >= transaction->deadline && may_abort(*transaction)) {
            deadline_passed(*transaction);
            wait_for_turn(token, TurnWaiter::Kind::inquiry, request.xid);
        } else {
            reply(token, InquiryReply{request.xid, std::nullopt});
        }
        return;
    }
    if (state_.is_closed(request.xid)) {
        // Forgotten: a commit is forgotten only after everybody acknowledged it, so who is still
        // in doubt belongs to an abort.
        reply(token, InquiryReply{request.xid, Outcome::aborted});
        return;
    }
    if (!parse_xid(request.xid.value())) {
        reject(token, RejectCode::invalid_request, "xid must match [A-Za-z0-9._-]{1,64}");
        return;
    }
    if (!has_room_for_waiter(token)) {
        return;
    }
    Decide tombstone;
    tombstone.xid = request.xid;
    tombstone.outcome = Outcome::aborted;
    tombstone.reason = DecisionReason::inquiry_before_decision;
    tombstone.at = wall_;
    propose_rare(std::move(tombstone));
    wait_for_turn(token, TurnWaiter::Kind::inquiry, request.xid);
}

// ---------------------------------------------------------------------------------------- list

bool TransactionCoordinator::Impl::matches(const TransactionRecord& record,
                                           const ListRequest& request) const {
    if (request.decided && is_decided(record.state) != *request.decided) {
        return false;
    }
    if (request.state && record.state != *request.state) {
        return false;
    }
    if (request.older_than && wall_ - record.begin.created_at < *request.older_than) {
        return false;
    }
    const auto& branches = record.begin.branches;
    if (request.participant &&
        std::none_of(branches.begin(), branches.end(), [&](const BranchSpec& branch) {
            return branch.participant == *request.participant;
        })) {
        return false;
    }
    if (!request.in_doubt) {
        return true;
    }
    if (is_finished(record.state)) {
        return false;
    }
    if (record.state != TransactionState::active) {
        return true;
    }
    const VolatileTransaction* known = find_known(record.begin.xid);
    return known != nullptr && std::any_of(known->branches.begin(), known->branches.end(),
                                           [](const VolatileBranch& branch) {
                                               return branch.phase == BranchPhase::prepared;
                                           });
}

/// Any node answers from its own state: an operator must see something without a quorum, too. The
/// cost of one call is bounded; a page may be short and still have a successor.
void TransactionCoordinator::Impl::list(RequestToken token, const ListRequest& request) {
    const std::set<std::string_view>& unfinished = state_.unfinished();
    const std::set<std::string_view>& finished = state_.finished();
    const bool wants_finished = !request.in_doubt && request.decided.value_or(true) &&
                                (!request.state || is_finished(*request.state));
    const bool wants_unfinished = !request.state || !is_finished(*request.state);
    const auto start = [&](const std::set<std::string_view>& xids, bool wanted) {
        if (!wanted) {
            return xids.end();
        }
        return request.after_xid < request.xid_prefix ? xids.lower_bound(request.xid_prefix)
                                                      : xids.upper_bound(request.after_xid);
    };
    auto next_unfinished = start(unfinished, wants_unfinished);
    auto next_finished = start(finished, wants_finished);
    const std::size_t limit = std::clamp<std::size_t>(request.limit, 1, max_page);

    TransactionPage page;
    std::size_t scanned = 0;
    std::string_view last;
    while (next_unfinished != unfinished.end() || next_finished != finished.end()) {
        const bool from_unfinished =
            next_finished == finished.end() ||
            (next_unfinished != unfinished.end() && *next_unfinished < *next_finished);
        const std::string_view xid = from_unfinished ? *next_unfinished : *next_finished;
        if (!xid.starts_with(request.xid_prefix)) {
            break;
        }
        if (page.items.size() == limit || scanned == max_scanned_per_page) {
            page.next_after_xid = std::string{last};
            break;
        }
        ++(from_unfinished ? next_unfinished : next_finished);
        ++scanned;
        last = xid;
        const TransactionRecord& record = *state_.find(Xid{std::string{xid}});
        if (matches(record, request)) {
            page.items.push_back(make_view(record, find_known(record.begin.xid), false));
        }
    }
    reply(token, std::move(page));
}

// ------------------------------------------------------------------------------ waiting clients

bool TransactionCoordinator::Impl::has_room_for_waiter(RequestToken token) {
    if (waiting_tokens_.size() + turn_waiters_total_ < options_.max_waiting_requests) {
        return true;
    }
    reply(token, Rejected{RejectCode::overloaded, "too many requests are waiting", std::nullopt,
                          std::chrono::seconds{1}, std::nullopt});
    return false;
}

void TransactionCoordinator::Impl::add_waiter(VolatileTransaction& transaction, Waiter waiter,
                                              std::optional<Duration> wait_limit) {
    if (wait_limit) {
        waiter.timer =
            timers_.add(now_ + std::max(*wait_limit, Duration::zero()),
                        {TimerEvent::Kind::wait_limit, BranchNumber{}, &transaction, waiter.token});
    }
    transaction.waiters.push_back(waiter);
    waiting_tokens_.emplace(waiter.token, &transaction);
}

bool TransactionCoordinator::Impl::is_satisfied(const Waiter& waiter,
                                                const TransactionRecord& record) const {
    if (waiter.purpose == Waiter::Purpose::watch) {
        return record.changed_index > waiter.newer_than || is_finished(record.state);
    }
    switch (waiter.until) {
    case WaitFor::begun:
        return true;
    case WaitFor::decision:
        return is_decided(record.state);
    case WaitFor::completion:
        return is_finished(record.state);
    }
    return true;
}

/// Answers whoever has now seen what it waited for. Called after every change of the record.
void TransactionCoordinator::Impl::settle_waiters(VolatileTransaction& transaction) {
    if (transaction.waiters.empty() || !transaction.begun) {
        return;
    }
    const TransactionRecord& record = *state_.find(transaction.xid);
    std::erase_if(transaction.waiters, [&](Waiter& waiter) {
        const bool satisfied = is_satisfied(waiter, record);
        if (!satisfied && !waiter.limit_passed) {
            return false;
        }
        timers_.cancel(waiter.timer);
        waiting_tokens_.erase(waiter.token);
        answer(waiter, record, !satisfied);
        return true;
    });
}

void TransactionCoordinator::Impl::answer(const Waiter& waiter, const TransactionRecord& record,
                                          bool pending) {
    if (waiter.purpose == Waiter::Purpose::abort && record.decision &&
        record.decision->outcome == Outcome::committed) {
        reject(waiter.token, RejectCode::already_decided, "already committed", record.begin.xid);
        return;
    }
    reply_transaction(waiter.token, record, pending, waiter.created,
                      waiter.purpose == Waiter::Purpose::watch);
}

void TransactionCoordinator::Impl::wait_limit_passed(VolatileTransaction& transaction,
                                                     RequestToken token) {
    const auto place =
        std::find_if(transaction.waiters.begin(), transaction.waiters.end(),
                     [token](const Waiter& waiter) { return waiter.token == token; });
    CONCORDAT_ASSERT(place != transaction.waiters.end());
    place->timer = 0;
    if (!transaction.begun) {
        // There is nothing to tell before BEGIN is durable; then the answer is "pending".
        place->limit_passed = true;
        return;
    }
    const Waiter waiter = *place;
    transaction.waiters.erase(place);
    waiting_tokens_.erase(token);
    answer(waiter, *state_.find(transaction.xid), true);
}

void TransactionCoordinator::Impl::forget_request(RequestToken token) {
    const auto place = waiting_tokens_.find(token);
    if (place != waiting_tokens_.end()) {
        VolatileTransaction& transaction = *place->second;
        std::erase_if(transaction.waiters, [&](Waiter& waiter) {
            if (waiter.token != token) {
                return false;
            }
            timers_.cancel(waiter.timer);
            return true;
        });
        waiting_tokens_.erase(place);
        return;
    }
    const auto drop = [&](TurnWaiters& waiters) {
        turn_waiters_total_ -= std::erase_if(
            waiters, [token](const TurnWaiter& waiter) { return waiter.token == token; });
    };
    drop(turn_waiters_);
    for (Turn& turn : turns_) {
        drop(turn.waiters);
    }
}

void TransactionCoordinator::Impl::reply(RequestToken token, Reply&& reply) {
    replies_.emplace_back(token, std::move(reply));
}

void TransactionCoordinator::Impl::reject(RequestToken token, RejectCode code, std::string detail,
                                          std::optional<Xid> xid) {
    replies_.emplace_back(
        token, Rejected{code, std::move(detail), std::move(xid), std::nullopt, std::nullopt});
}

Rejected TransactionCoordinator::Impl::no_leader() const {
    Rejected rejected;
    rejected.code = RejectCode::no_leader;
    rejected.detail = "this node does not lead";
    rejected.retry_after = election_retry_after;
    if (known_leader_ && *known_leader_ != options_.node) {
        rejected.leader = known_leader_;
    }
    return rejected;
}

void TransactionCoordinator::Impl::reply_transaction(RequestToken token,
                                                     const TransactionRecord& record, bool pending,
                                                     bool created, bool with_timeline) {
    replies_.emplace_back(
        token, TransactionReply{make_view(record, find_known(record.begin.xid), with_timeline),
                                pending, created});
}

} // namespace concordat::core
