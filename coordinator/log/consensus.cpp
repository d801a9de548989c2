#include "coordinator/log/consensus.hpp"

#include "coordinator/log/consensus_engine.hpp"

#include <algorithm>
#include <limits>

namespace concordat::log {

Consensus::Consensus(ConsensusOptions options)
    : options_(options), engine_(std::make_unique<Engine>(options)) {}

Consensus::~Consensus() = default;

// ---------------------------------------------------------------- events

Obligations Consensus::start(Milliseconds now, PersistedState state) {
    Obligations out;
    now_ = now;
    hard_state_ = state.hard_state;
    raft_snapshot_metadata metadata{};
    raft_event event{};
    event.type = RAFT_START;
    event.start.term = hard_state_.term;
    event.start.voted_for = hard_state_.voted_for;
    if (state.snapshot) {
        CONCORDAT_ASSERT(is_valid_metadata(*state.snapshot));
        snapshot_ = *state.snapshot;
        applied_ = snapshot_.index;
        configuration_index_ = snapshot_.configuration_index;
        configuration_bytes_ = snapshot_.configuration;
        metadata = engine_metadata(snapshot_);
        event.start.metadata = &metadata;
    }
    base_ = state.entries.empty() ? snapshot_.index : state.entries.front().index - 1;
    CONCORDAT_ASSERT(base_ <= snapshot_.index);
    std::vector<raft_entry> entries;
    void* token = engine_token();
    for (Entry& entry : state.entries) {
        CONCORDAT_ASSERT(entry.index == base_ + entries.size() + 1 && entry.term > 0);
        entries.push_back(engine_entry(entry, token));
        entries_.push_back(std::move(entry));
    }
    CONCORDAT_ASSERT(last_index() >= snapshot_.index);
    reported_durable_ = last_index();
    event.start.start_index = base_ + 1;
    event.start.entries = entries.data();
    event.start.n_entries = static_cast<unsigned>(entries.size());
    const int code = engine_->step(event, now_);
    if (code != 0) {
        fail("start", code, out); // the core has freed the batch
        return out;
    }
    raft_free(token);
    collect({}, out);
    return out;
}
Obligations Consensus::entries_persisted(Milliseconds now, Generation generation, Index index) {
    Obligations out;
    now_ = std::max(now_, now);
    // A write of an older generation is covered by the later write that voided it (rule 5).
    if (failed_ || generation != generation_ || installing_ || index > last_index()) {
        return out;
    }
    reported_durable_ = std::max(reported_durable_, index);
    report_persisted(out);
    return out;
}

void Consensus::report_persisted(Obligations& out) {
    if (role_ == EngineRole::candidate || reported_durable_ <= engine_->core.last_stored ||
        installing_ || failed_) {
        return;
    }
    raft_event event{};
    event.type = RAFT_PERSISTED_ENTRIES;
    event.persisted_entries.index = reported_durable_;
    const int code = engine_->step(event, now_);
    if (code != 0) {
        fail("persisted entries", code, out);
        return;
    }
    collect({}, out);
}

Obligations Consensus::snapshot_installed(Milliseconds now, const SnapshotMetadata& metadata) {
    Obligations out;
    now_ = std::max(now_, now);
    if (failed_) {
        return out;
    }
    CONCORDAT_ASSERT(installing_ && metadata == *installing_);
    CONCORDAT_ASSERT(role_ == EngineRole::follower);
    raft_event event{};
    event.type = RAFT_PERSISTED_SNAPSHOT;
    event.persisted_snapshot.metadata = engine_metadata(metadata);
    event.persisted_snapshot.last = true;
    snapshot_ = metadata;
    installing_.reset();
    applied_ = metadata.index;
    reported_durable_ = metadata.index;
    members_stale_ = true;
    configuration_index_ = metadata.configuration_index;
    configuration_bytes_ = metadata.configuration;
    const int code = engine_->step(event, now_);
    if (code != 0) {
        fail("persisted snapshot", code, out);
        return out;
    }
    collect({}, out);
    return out;
}

std::pair<bool, Obligations> Consensus::snapshot_taken(Milliseconds now,
                                                       const SnapshotMetadata& metadata,
                                                       std::uint64_t trailing) {
    Obligations out;
    now_ = std::max(now_, now);
    if (failed_ || installing_ || metadata.index <= snapshot_.index || metadata.index <= base_) {
        return {false, std::move(out)};
    }
    CONCORDAT_ASSERT(metadata.index <= applied_ && term_of(metadata.index) == metadata.term);
    raft_event event{};
    event.type = RAFT_SNAPSHOT;
    event.snapshot.metadata = engine_metadata(metadata);
    event.snapshot.trailing =
        static_cast<unsigned>(std::min<std::uint64_t>(trailing, std::numeric_limits<int>::max()));
    snapshot_ = metadata;
    const int code = engine_->step(event, now_);
    if (code != 0) {
        fail("snapshot", code, out);
        return {false, std::move(out)};
    }
    drop_prefix(engine_->core.trail.offset);
    collect({}, out);
    return {true, std::move(out)};
}

Obligations Consensus::timeout(Milliseconds now) {
    Obligations out;
    now_ = std::max(now_, now);
    if (failed_ || now_ < next_timeout()) {
        return out;
    }
    raft_event event{};
    event.type = RAFT_TIMEOUT;
    const int code = engine_->step(event, now_);
    if (code != 0) {
        fail("timeout", code, out);
        return out;
    }
    collect({}, out);
    return out;
}

std::expected<Obligations, SubmitError> Consensus::submit(Milliseconds now,
                                                          core::SharedBytes bytes) {
    now_ = std::max(now_, now);
    if (failed_ || role_ != EngineRole::leader) {
        return std::unexpected(SubmitError::not_leader);
    }
    if (is_transferring() ||
        last_index() - std::min(last_index(), commit_index()) >= options_.max_inflight_entries) {
        return std::unexpected(SubmitError::overloaded);
    }
    auto appended = append_own(EntryType::command, std::move(bytes));
    if (!appended) {
        return std::unexpected(SubmitError::overloaded);
    }
    return std::move(*appended);
}

/// Nothing when the core refuses.
std::optional<Obligations> Consensus::append_own(EntryType type, core::SharedBytes bytes) {
    Entry entry{last_index() + 1, hard_state_.term, type, std::move(bytes)};
    // The submitted buffer stays ours (rule 4): the batch names it without being freed.
    raft_entry native = engine_entry(entry, const_cast<char*>(entry.bytes->data()));
    raft_event event{};
    event.type = RAFT_SUBMIT;
    event.submit.entries = &native;
    event.submit.n = 1;
    if (engine_->step(event, now_) != 0) {
        return std::nullopt;
    }
    Obligations out;
    std::vector<Entry> offered;
    offered.push_back(std::move(entry));
    engine_->update.entries.batch[0].batch = nullptr;
    collect(std::move(offered), out);
    return out;
}

std::expected<Obligations, MembersError>
Consensus::change_members(Milliseconds now, std::vector<VotingMember> voters) {
    now_ = std::max(now_, now);
    if (failed_ || role_ != EngineRole::leader || is_transferring()) {
        return std::unexpected(MembersError::not_leader);
    }
    if (term_of(commit_index()) != hard_state_.term) {
        return std::unexpected(MembersError::not_ready);
    }
    if (engine_->core.configuration_uncommitted_index != 0) {
        return std::unexpected(MembersError::change_in_progress);
    }
    if (!is_one_change(voters)) {
        return std::unexpected(MembersError::not_one_change);
    }
    auto bytes = std::make_shared<const std::string>(encode_configuration(std::move(voters)));
    auto appended = append_own(EntryType::configuration, std::move(bytes));
    if (!appended) {
        return std::unexpected(MembersError::change_in_progress);
    }
    return std::move(*appended);
}

bool Consensus::is_one_change(const std::vector<VotingMember>& voters) const {
    for (auto one = voters.begin(); one != voters.end(); ++one) {
        const bool repeated = std::any_of(std::next(one), voters.end(), [&](const auto& other) {
            return other.id == one->id || other.address == one->address;
        });
        if (repeated || one->id == 0) {
            return false;
        }
    }
    const auto count_missing = [](const auto& in, const auto& of) {
        return std::ranges::count_if(
            of, [&](const auto& one) { return std::ranges::find(in, one) == in.end(); });
    };
    return !voters.empty() &&
           count_missing(members_, voters) + count_missing(voters, members_) == 1;
}

Obligations Consensus::transfer(Milliseconds now, std::optional<Peer> to) {
    Obligations out;
    now_ = std::max(now_, now);
    if (failed_ || role_ != EngineRole::leader) {
        return out;
    }
    raft_event event{};
    event.type = RAFT_TRANSFER;
    event.transfer.server_id = to.value_or(0);
    if (engine_->step(event, now_) == 0) {
        collect({}, out);
    }
    return out;
}

// ---------------------------------------------------------------- state

Milliseconds Consensus::next_timeout() const {
    return raft_timeout(&engine_->core);
}

Index Consensus::commit_index() const {
    return raft_commit_index(&engine_->core);
}

Index Consensus::persisted_index() const {
    return engine_->core.last_stored;
}

bool Consensus::is_transferring() const {
    return raft_transferee(&engine_->core) != 0;
}

std::vector<std::pair<Peer, Index>> Consensus::peers() const {
    std::vector<std::pair<Peer, Index>> result;
    for (const VotingMember& member : members_) {
        raft_index match = 0;
        if (member.id != options_.id && raft_match_index(&engine_->core, member.id, &match) == 0) {
            result.emplace_back(member.id, match);
        }
    }
    return result;
}

std::optional<SnapshotMetadata> Consensus::snapshot_of_applied() const {
    if (installing_ || applied_ <= snapshot_.index || applied_ > persisted_index()) {
        return std::nullopt;
    }
    return SnapshotMetadata{applied_, term_of(applied_), configuration_index_,
                            configuration_bytes_};
}

Term Consensus::term_of(Index index) const {
    if (index > base_ && index <= last_index()) {
        return entry_at(index).term;
    }
    return index == snapshot_.index ? snapshot_.term : 0;
}

void Consensus::drop_prefix(Index through) {
    while (base_ < through && !entries_.empty()) {
        entries_.pop_front();
        ++base_;
    }
}

} // namespace concordat::log
