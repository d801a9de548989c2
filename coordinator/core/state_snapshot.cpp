// Snapshot content and fingerprint of the replicated state.

#include "coordinator/core/assert.hpp"
#include "coordinator/core/replicated_state.hpp"

#include <algorithm>

namespace concordat::core {
namespace {

/// FNV-1a over the parts of one item; items are summed, so their order does not matter.
class ItemHash {
public:
    ItemHash& number(std::uint64_t value) noexcept {
        for (int i = 0; i < 8; ++i) {
            byte(static_cast<unsigned char>(value & 0xffU));
            value >>= 8U;
        }
        return *this;
    }
    ItemHash& text(const std::string& value) noexcept {
        number(value.size());
        for (const char c : value) {
            byte(static_cast<unsigned char>(c));
        }
        return *this;
    }
    ItemHash& time(WallTime value) noexcept {
        return number(static_cast<std::uint64_t>(value.time_since_epoch().count()));
    }
    ItemHash& duration(Duration value) noexcept {
        return number(static_cast<std::uint64_t>(value.count()));
    }
    [[nodiscard]] std::uint64_t value() const noexcept { return hash_; }

private:
    void byte(unsigned char value) noexcept { hash_ = (hash_ ^ value) * 0x100000001b3U; }
    std::uint64_t hash_ = 0xcbf29ce484222325U;
};

void add_begin(ItemHash& hash, const Begin& begin) {
    hash.text(begin.xid.value())
        .number(static_cast<std::uint64_t>(begin.protocol))
        .number(static_cast<std::uint64_t>(begin.mode))
        .number(begin.branches.size());
    for (const BranchSpec& branch : begin.branches) {
        hash.text(branch.participant.value())
            .text(*branch.payload)
            .duration(branch.call_timeout.value_or(Duration{-1}));
    }
    hash.duration(begin.timeout)
        .text(begin.digest)
        .text(begin.idempotency_key)
        .text(begin.traceparent)
        .number(begin.metadata.size());
    for (const auto& [key, value] : begin.metadata) {
        hash.text(key).text(value);
    }
    hash.time(begin.created_at).text(begin.capability);
}

std::uint64_t hash_of(const TransactionRecord& record) {
    ItemHash hash;
    hash.number(1);
    add_begin(hash, record.begin);
    hash.number(static_cast<std::uint64_t>(record.state))
        .number(record.begun_index.value())
        .number(record.changed_index.value())
        .time(record.precommitted_at.value_or(WallTime{}))
        .time(record.finished_at.value_or(WallTime{}))
        .number(record.acceptor.has_value() ? 1 : 0)
        .number(record.decision.has_value() ? 1 : 0);
    if (record.acceptor) {
        hash.number(record.acceptor->promised.round)
            .number(record.acceptor->promised.proposer)
            .number(record.acceptor->accepted.round)
            .number(record.acceptor->accepted.proposer)
            .number(static_cast<std::uint64_t>(record.acceptor->accepted_value));
    }
    if (record.decision) {
        hash.number(static_cast<std::uint64_t>(record.decision->outcome))
            .number(static_cast<std::uint64_t>(record.decision->reason))
            .text(record.decision->detail)
            .time(record.decision->at)
            .number(record.decision->without_effect.size());
        for (const BranchNumber branch : record.decision->without_effect) {
            hash.number(branch.value());
        }
    }
    return hash.value();
}

} // namespace

SnapshotContent ReplicatedState::capture() const {
    SnapshotContent content;
    content.applied_index = applied_index_;
    content.epoch = epoch_;
    content.leader = leader_;
    content.closed_below = closed_below_;
    content.transactions.reserve(transactions_.size());
    for (const auto& [xid, record] : transactions_) {
        content.transactions.push_back(record);
    }
    std::sort(content.transactions.begin(), content.transactions.end(),
              [](const TransactionRecord& left, const TransactionRecord& right) {
                  return left.begun_index != right.begun_index
                             ? left.begun_index < right.begun_index
                             : left.begin.xid < right.begin.xid;
              });
    content.finished_order.assign(finished_order_.begin(), finished_order_.end());
    content.participants.assign(participants_.begin(), participants_.end());
    for (const auto& [key, record] : idempotency_) {
        content.idempotency.push_back(record);
    }
    std::sort(content.idempotency.begin(), content.idempotency.end(),
              [](const IdempotencyRecord& left, const IdempotencyRecord& right) {
                  return left.key < right.key;
              });
    content.audit.assign(audit_.begin(), audit_.end());
    return content;
}

void ReplicatedState::restore(const SnapshotContent& content) {
    unfinished_.clear();
    finished_.clear();
    transactions_.clear();
    idempotency_.clear();
    applied_index_ = content.applied_index;
    epoch_ = content.epoch;
    leader_ = content.leader;
    closed_below_ = std::max(content.closed_below, LogIndex{1});
    for (const TransactionRecord& record : content.transactions) {
        const auto [place, is_new] = transactions_.try_emplace(record.begin.xid, record);
        CONCORDAT_ASSERT(is_new);
        (is_finished(record.state) ? finished_ : unfinished_).insert(place->first.value());
    }
    finished_order_.assign(content.finished_order.begin(), content.finished_order.end());
    CONCORDAT_ASSERT(finished_order_.size() == finished_.size());
    participants_.clear();
    participants_.insert(content.participants.begin(), content.participants.end());
    for (const IdempotencyRecord& record : content.idempotency) {
        idempotency_.emplace(record.key, record);
    }
    audit_.assign(content.audit.begin(), content.audit.end());
}

std::uint64_t ReplicatedState::fingerprint() const {
    std::uint64_t sum = ItemHash{}
                            .number(applied_index_.value())
                            .number(epoch_.value())
                            .number(leader_.value())
                            .number(closed_below_.value())
                            .value();
    for (const auto& [xid, record] : transactions_) {
        sum += hash_of(record);
    }
    std::uint64_t position = 0;
    for (const Xid& xid : finished_order_) {
        sum += ItemHash{}.number(2).number(position++).text(xid.value()).value();
    }
    for (const auto& [name, definition] : participants_) {
        sum += ItemHash{}
                   .number(3)
                   .text(name.value())
                   .text(definition.base_url)
                   .text(definition.tls_name)
                   .duration(definition.call_timeout)
                   .number(definition.max_concurrent_calls)
                   .value();
    }
    for (const auto& [key, record] : idempotency_) {
        sum += ItemHash{}.number(4).text(key).text(record.digest).text(record.xid.value()).value();
    }
    position = 0;
    for (const auto& [index, action] : audit_) {
        sum += ItemHash{}
                   .number(5)
                   .number(position++)
                   .number(index.value())
                   .text(action.who)
                   .text(action.action)
                   .text(action.object)
                   .text(action.why)
                   .time(action.at)
                   .value();
    }
    return sum;
}

} // namespace concordat::core
