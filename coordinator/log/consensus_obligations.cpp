// What a step of the engine asks for, turned into obligations in the order of rule 3.

#include "coordinator/log/consensus_engine.hpp"

#include <algorithm>

namespace concordat::log {

void Consensus::collect(std::vector<Entry>&& offered, Obligations& out) {
    const bool hard_state_changed =
        engine_->has(RAFT_UPDATE_CURRENT_TERM) || engine_->has(RAFT_UPDATE_VOTED_FOR);
    if (hard_state_changed) {
        hard_state_ = {raft_current_term(&engine_->core), raft_voted_for(&engine_->core)};
        out.emplace_back(PersistHardState{hard_state_});
    }
    if (engine_->has(RAFT_UPDATE_ENTRIES)) {
        collect_entries(std::move(offered), out);
    }
    if (engine_->has(RAFT_UPDATE_SNAPSHOT)) {
        collect_snapshot(out);
    }
    if (engine_->has(RAFT_UPDATE_MESSAGES)) {
        collect_messages(out);
    }
    collect_role(out);
    collect_committed(out);
    report_persisted(out);
}

void Consensus::collect_entries(std::vector<Entry>&& offered, Obligations& out) {
    const auto& taken = engine_->update.entries;
    PersistEntries persist;
    for (unsigned i = 0; i < taken.n; ++i) {
        members_stale_ |= taken.batch[i].type == RAFT_CHANGE;
        const Index index = taken.index + i;
        const raft_entry& native = taken.batch[i];
        const auto ours = std::ranges::find(offered, index, &Entry::index);
        if (ours != offered.end()) {
            persist.entries.push_back(std::move(*ours));
        } else { // the core's own entry: the barrier of a new leader
            persist.entries.push_back(
                {index, native.term, static_cast<EntryType>(native.type),
                 std::make_shared<const std::string>(static_cast<const char*>(native.buf.base),
                                                     native.buf.len)});
        }
    }
    raft_free(taken.batch[0].batch); // one batch for all of them (rule 4)
    if (taken.index <= last_index()) {
        ++generation_;
        members_stale_ = true; // an uncommitted configuration may have been rolled back
        reported_durable_ = std::min<Index>(reported_durable_, taken.index - 1);
        entries_.resize(taken.index - base_ - 1);
    }
    CONCORDAT_ASSERT(taken.index == last_index() + 1);
    entries_.insert(entries_.end(), persist.entries.begin(), persist.entries.end());
    persist.generation = generation_;
    out.emplace_back(std::move(persist));
}

void Consensus::collect_snapshot(Obligations& out) {
    raft_snapshot_metadata& native = engine_->update.snapshot.metadata;
    SnapshotMetadata metadata{native.index, native.term, native.configuration_index, {}};
    raft_buffer configuration{};
    const int code = raft_configuration_encode(&native.configuration, &configuration);
    CONCORDAT_ASSERT(code == 0);
    metadata.configuration.assign(static_cast<const char*>(configuration.base), configuration.len);
    raft_free(configuration.base);
    raft_configuration_close(&native.configuration);
    raft_free(engine_->update.snapshot.chunk.base);

    ++generation_;
    entries_.clear();
    base_ = metadata.index;
    reported_durable_ = 0;
    installing_ = metadata;
    out.emplace_back(InstallReceivedSnapshot{std::move(metadata), std::move(offered_snapshot_)});
}

void Consensus::collect_messages(Obligations& out) {
    for (unsigned i = 0; i < engine_->update.messages.n; ++i) {
        const raft_message& native = engine_->update.messages.batch[i];
        Message message{options_.id, native.server_id, {}};
        switch (native.type) {
        case RAFT_REQUEST_VOTE: {
            const raft_request_vote& vote = native.request_vote;
            message.body = RequestVote{vote.term, vote.last_log_index, vote.last_log_term,
                                       vote.disrupt_leader, vote.pre_vote};
            break;
        }
        case RAFT_REQUEST_VOTE_RESULT: {
            const raft_request_vote_result& result = native.request_vote_result;
            // The core repeats the asker's term when it refuses a pre-vote. An asker with the best
            // log and a lower term would never learn why it is refused, and nobody could ever win.
            const Term term =
                result.vote_granted ? result.term : std::max<Term>(result.term, hard_state_.term);
            message.body = RequestVoteResult{term, result.vote_granted, result.pre_vote};
            break;
        }
        case RAFT_APPEND_ENTRIES: {
            const raft_append_entries& append = native.append_entries;
            collect_append(native.server_id,
                           {append.term,
                            append.prev_log_index,
                            append.prev_log_term,
                            append.leader_commit,
                            {}},
                           append.n_entries, out);
            continue;
        }
        case RAFT_APPEND_ENTRIES_RESULT: {
            const raft_append_entries_result& result = native.append_entries_result;
            if (result.rejected == 0 && result.last_log_index > last_index()) {
                continue; // claims entries that are not here; a lost message does no harm
            }
            message.body = AppendEntriesResult{result.term, result.rejected, result.last_log_index};
            break;
        }
        case RAFT_INSTALL_SNAPSHOT:
            // Configuration and data are ours to fill in; the newest snapshot serves.
            message.body = InstallSnapshot{native.install_snapshot.term, snapshot_, nullptr};
            break;
        case RAFT_TIMEOUT_NOW: {
            const raft_timeout_now& now = native.timeout_now;
            message.body = TimeoutNow{now.term, now.last_log_index, now.last_log_term};
            break;
        }
        }
        out.emplace_back(Send{std::move(message)});
    }
}

/// The core keeps no entries, so they are read from our log; many of them go as several messages,
/// each of which stands on its own.
void Consensus::collect_append(Peer to, const AppendEntries& header, std::size_t count,
                               Obligations& out) {
    AppendEntries part = header;
    std::size_t bytes = 0;
    for (Index index = header.previous_index + 1; index <= header.previous_index + count; ++index) {
        const Entry& entry = entry_at(index);
        if (!part.entries.empty() && bytes + entry.bytes->size() > options_.max_message_bytes) {
            AppendEntries next{header.term,
                               part.entries.back().index,
                               part.entries.back().term,
                               header.leader_commit,
                               {}};
            out.emplace_back(Send{{options_.id, to, std::move(part)}});
            part = std::move(next);
            bytes = 0;
        }
        bytes += entry.bytes->size();
        part.entries.push_back(entry);
    }
    out.emplace_back(Send{{options_.id, to, std::move(part)}});
}

void Consensus::collect_role(Obligations& out) {
    EngineRole role = EngineRole::follower;
    switch (raft_state(&engine_->core)) {
    case RAFT_LEADER:
        role = EngineRole::leader;
        break;
    case RAFT_CANDIDATE:
        role = EngineRole::candidate;
        break;
    case RAFT_FOLLOWER:
    case RAFT_UNAVAILABLE:
        break;
    }
    raft_id leader_id = 0;
    const char* address = nullptr;
    raft_leader(&engine_->core, &leader_id, &address);
    const std::optional<Peer> leader =
        leader_id == 0 ? std::nullopt : std::optional<Peer>{leader_id};
    const auto& configuration = engine_->core.configuration;
    if (members_stale_) {
        members_stale_ = false;
        members_.clear();
        for (unsigned i = 0; i < configuration.n; ++i) {
            members_.push_back({configuration.servers[i].id, configuration.servers[i].address});
        }
    }
    if (role != role_ || leader != leader_ ||
        (role == EngineRole::leader && role_term_ != hard_state_.term)) {
        role_ = role;
        leader_ = leader;
        role_term_ = hard_state_.term;
        out.emplace_back(RoleChanged{role, leader, hard_state_.term});
    }
}

void Consensus::collect_committed(Obligations& out) {
    if (installing_) {
        return; // rule 11
    }
    ApplyEntries apply;
    while (applied_ < commit_index() && applied_ < last_index() && !failed_) {
        const Entry entry = entry_at(applied_ + 1);
        ++applied_;
        apply.entries.push_back(entry);
        if (entry.type == EntryType::configuration) {
            out.emplace_back(std::move(apply));
            apply = {};
            report_configuration(entry, out); // may recurse into here for later entries
        }
    }
    if (!apply.entries.empty()) {
        out.emplace_back(std::move(apply));
    }
}

void Consensus::report_configuration(const Entry& entry, Obligations& out) {
    configuration_index_ = entry.index;
    configuration_bytes_ = *entry.bytes;
    raft_event event{};
    event.type = RAFT_CONFIGURATION;
    event.configuration.index = entry.index;
    event.configuration.conf = engine_configuration(*entry.bytes);
    const int code = engine_->step(event, now_);
    if (code != 0) {
        fail("configuration", code, out);
        return;
    }
    collect({}, out);
}

void Consensus::fail(std::string_view what, int code, Obligations& out) {
    failed_ = true;
    std::string reason = "the consensus engine refused an event (";
    reason += what;
    reason += "): ";
    reason += raft_strerror(code);
    out.emplace_back(StopProcess{std::move(reason)});
}

} // namespace concordat::log
