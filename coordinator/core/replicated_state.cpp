#include "coordinator/core/replicated_state.hpp"

#include "coordinator/core/assert.hpp"

#include <algorithm>

namespace concordat::core {
namespace {

const SharedBytes& no_bytes() {
    static const SharedBytes empty = std::make_shared<const std::string>();
    return empty;
}

constexpr Applied no_effect() noexcept {
    return {Applied::Effect::no_effect, nullptr};
}

} // namespace

ReplicatedState::ReplicatedState(RetentionLimits limits) : limits_(limits) {}

Applied ReplicatedState::apply(LogIndex index, const Command& command) {
    return apply(index, Command{command});
}

Applied ReplicatedState::apply(LogIndex index, Command&& command) {
    return std::visit(
        [&](auto&& fact) -> Applied {
            using Fact = std::remove_cvref_t<decltype(fact)>;
            if constexpr (std::is_same_v<Fact, Begin>) {
                return apply_begin(index, std::move(fact));
            } else if constexpr (std::is_same_v<Fact, Enlist>) {
                return apply_enlist(index, std::move(fact));
            } else if constexpr (std::is_same_v<Fact, Precommit>) {
                return apply_precommit(index, fact);
            } else if constexpr (std::is_same_v<Fact, Decide>) {
                return apply_decide(index, std::move(fact));
            } else if constexpr (std::is_same_v<Fact, End>) {
                return apply_end(index, fact);
            } else if constexpr (std::is_same_v<Fact, LeaderEpoch>) {
                epoch_ = Epoch{index.value()};
                leader_ = fact.leader;
                closed_below_ = LogIndex{1};
                return {};
            } else if constexpr (std::is_same_v<Fact, ReadBarrier>) {
                return {};
            } else if constexpr (std::is_same_v<Fact, PutParticipant>) {
                participants_.insert_or_assign(std::move(fact.name), std::move(fact.definition));
                return {};
            } else if constexpr (std::is_same_v<Fact, RemoveParticipant>) {
                return participants_.erase(fact.name) == 0 ? no_effect() : Applied{};
            } else if constexpr (std::is_same_v<Fact, Promise>) {
                return apply_promise(index, fact);
            } else if constexpr (std::is_same_v<Fact, Accept>) {
                return apply_accept(index, fact);
            } else {
                static_assert(std::is_same_v<Fact, OperatorAction>);
                audit_.emplace_back(index, std::move(fact));
                while (audit_.size() > limits_.audit_entries) {
                    audit_.pop_front();
                }
                return {};
            }
        },
        std::move(command));
}

void ReplicatedState::applied_through(LogIndex index) {
    CONCORDAT_ASSERT(index > applied_index_);
    applied_index_ = index;
}

Applied ReplicatedState::apply_begin(LogIndex index, Begin&& begin) {
    note_server_xid(begin.xid);
    const auto [place, is_new] = transactions_.try_emplace(begin.xid);
    TransactionRecord& record = place->second;
    if (!is_new) {
        return {Applied::Effect::no_effect, &record};
    }
    if (!begin.idempotency_key.empty()) {
        idempotency_.try_emplace(begin.idempotency_key,
                                 IdempotencyRecord{begin.idempotency_key, begin.digest, begin.xid});
    }
    record.begin = std::move(begin);
    record.begun_index = index;
    record.changed_index = index;
    unfinished_.insert(place->first.value());
    return {Applied::Effect::changed, &record};
}

Applied ReplicatedState::apply_enlist(LogIndex index, Enlist&& enlist) {
    TransactionRecord* record = find(enlist.xid);
    if (record == nullptr || record->state != TransactionState::active) {
        return {Applied::Effect::no_effect, record};
    }
    record->begin.branches.push_back(std::move(enlist.branch));
    record->changed_index = index;
    return {Applied::Effect::changed, record};
}

Applied ReplicatedState::apply_precommit(LogIndex index, const Precommit& precommit) {
    TransactionRecord* record = find(precommit.xid);
    if (record == nullptr || record->state != TransactionState::active) {
        return {Applied::Effect::no_effect, record};
    }
    move_to(*record, TransactionState::precommitted);
    record->precommitted_at = precommit.at;
    record->changed_index = index;
    if (coordinator_accepts(record->begin.branches.size())) {
        record->acceptor.emplace();
    }
    return {Applied::Effect::changed, record};
}

Applied ReplicatedState::apply_promise(LogIndex, const Promise& promise) {
    TransactionRecord* record = find(promise.xid);
    if (record == nullptr || record->state != TransactionState::precommitted || !record->acceptor ||
        promise.ballot <= record->acceptor->promised) {
        return {Applied::Effect::no_effect, record};
    }
    record->acceptor->promised = promise.ballot;
    return {Applied::Effect::changed, record};
}

Applied ReplicatedState::apply_accept(LogIndex, const Accept& accept) {
    TransactionRecord* record = find(accept.xid);
    if (record == nullptr || record->state != TransactionState::precommitted || !record->acceptor ||
        accept.ballot < record->acceptor->promised) {
        return {Applied::Effect::no_effect, record};
    }
    record->acceptor = AcceptorRecord{accept.ballot, accept.ballot, accept.value};
    return {Applied::Effect::changed, record};
}

Applied ReplicatedState::apply_decide(LogIndex index, Decide&& decide) {
    TransactionRecord* record = find(decide.xid);
    if (record == nullptr) {
        // A commit of something that is unknown was decided otherwise and forgotten meanwhile.
        return decide.outcome == Outcome::aborted ? apply_tombstone(index, std::move(decide))
                                                  : no_effect();
    }
    const bool too_late_to_abort = record->state == TransactionState::precommitted &&
                                   decide.outcome == Outcome::aborted &&
                                   decide.reason != DecisionReason::participants_terminated;
    if (is_decided(record->state) || too_late_to_abort) {
        return {Applied::Effect::no_effect, record};
    }
    move_to(*record, decide.outcome == Outcome::committed ? TransactionState::committing
                                                          : TransactionState::aborting);
    record->decision = std::move(decide);
    record->changed_index = index;
    return {Applied::Effect::changed, record};
}

Applied ReplicatedState::apply_tombstone(LogIndex index, Decide&& decide) {
    const auto [place, is_new] = transactions_.try_emplace(decide.xid);
    CONCORDAT_ASSERT(is_new);
    TransactionRecord& record = place->second;
    record.begin.xid = decide.xid;
    record.begin.created_at = decide.at;
    record.begun_index = index;
    record.changed_index = index;
    unfinished_.insert(place->first.value());
    const WallTime at = decide.at;
    record.decision = std::move(decide);
    move_to(record, TransactionState::aborting);
    finish(record, at);
    return {Applied::Effect::changed, &record};
}

Applied ReplicatedState::apply_end(LogIndex index, const End& end) {
    TransactionRecord* record = find(end.xid);
    if (record == nullptr || !is_decided(record->state) || is_finished(record->state)) {
        return {Applied::Effect::no_effect, record};
    }
    record->changed_index = index;
    // The newest finished record is never the one that is forgotten: the pointer stays valid.
    finish(*record, end.at);
    return {Applied::Effect::changed, record};
}

void ReplicatedState::note_server_xid(const Xid& xid) {
    const auto parts = parse_server_xid(xid);
    if (parts && parts->epoch == epoch_ && parts->sequence >= closed_below_.value()) {
        closed_below_ = LogIndex{parts->sequence + 1};
    }
}

void ReplicatedState::move_to(TransactionRecord& record, TransactionState state) {
    CONCORDAT_ASSERT(may_follow(record.state, state));
    record.state = state;
}

void ReplicatedState::finish(TransactionRecord& record, WallTime at) {
    move_to(record, record.state == TransactionState::committing ? TransactionState::committed
                                                                 : TransactionState::aborted);
    record.finished_at = at;
    // Readers need names and outcome; what only the protocol needed is given back.
    for (BranchSpec& branch : record.begin.branches) {
        branch.payload = no_bytes();
    }
    record.begin.capability = {};
    auto node = unfinished_.extract(record.begin.xid.value());
    CONCORDAT_ASSERT(!node.empty());
    finished_.insert(std::move(node));
    finished_order_.push_back(record.begin.xid);
    while (finished_order_.size() > std::max<std::size_t>(1, limits_.finished_transactions)) {
        forget_oldest();
    }
}

void ReplicatedState::forget_oldest() {
    const auto place = transactions_.find(finished_order_.front());
    CONCORDAT_ASSERT(place != transactions_.end() && is_finished(place->second.state));
    const std::string& key = place->second.begin.idempotency_key;
    if (!key.empty()) {
        const auto known = idempotency_.find(key);
        if (known != idempotency_.end() && known->second.xid == place->first) {
            idempotency_.erase(known);
        }
    }
    finished_.erase(place->first.value());
    transactions_.erase(place);
    finished_order_.pop_front();
}

const TransactionRecord* ReplicatedState::find(const Xid& xid) const {
    const auto place = transactions_.find(xid);
    return place == transactions_.end() ? nullptr : &place->second;
}

TransactionRecord* ReplicatedState::find(const Xid& xid) {
    const auto place = transactions_.find(xid);
    return place == transactions_.end() ? nullptr : &place->second;
}

const IdempotencyRecord* ReplicatedState::find_idempotency(const std::string& key) const {
    const auto place = idempotency_.find(key);
    return place == idempotency_.end() ? nullptr : &place->second;
}

const ParticipantDefinition* ReplicatedState::find_participant(const ParticipantName& name) const {
    const auto place = participants_.find(name);
    return place == participants_.end() ? nullptr : &place->second;
}

bool ReplicatedState::is_closed(const Xid& xid) const {
    const auto parts = parse_server_xid(xid);
    if (!parts || transactions_.contains(xid)) {
        return false;
    }
    return parts->epoch < epoch_ ||
           (parts->epoch == epoch_ && parts->sequence < closed_below_.value());
}

} // namespace concordat::core
