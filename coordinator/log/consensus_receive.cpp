// Messages from peers: validation (rule 2), then one or more steps of the engine.

#include "coordinator/log/consensus_engine.hpp"

#include <algorithm>
#include <iterator>

namespace concordat::log {

Obligations Consensus::receive(Milliseconds now, Message message) {
    Obligations out;
    now_ = std::max(now_, now);
    if (failed_) {
        return out;
    }
    if (const char* reason = objection(message)) {
        ++rejected_messages_;
        last_rejection_ = reason;
        return out;
    }
    if (auto* append = std::get_if<AppendEntries>(&message.body)) {
        step_append_entries(message.from, std::move(*append), out);
        return out;
    }
    if (auto* install = std::get_if<InstallSnapshot>(&message.body)) {
        step_install_snapshot(message.from, std::move(*install), out);
        return out;
    }
    if (auto* result = std::get_if<AppendEntriesResult>(&message.body)) {
        disarm_stale_rejection(message.from, *result);
    }
    const std::string address = std::to_string(message.from);
    raft_message native{};
    native.server_id = message.from;
    native.server_address = address.c_str();
    if (const auto* vote = std::get_if<RequestVote>(&message.body)) {
        native.type = RAFT_REQUEST_VOTE;
        native.request_vote = {vote_version,         vote->term,          message.from,
                               vote->last_log_index, vote->last_log_term, vote->disrupt_leader,
                               vote->pre_vote};
    } else if (const auto* voted = std::get_if<RequestVoteResult>(&message.body)) {
        native.type = RAFT_REQUEST_VOTE_RESULT;
        native.request_vote_result = {vote_result_version, voted->term, voted->granted,
                                      voted->pre_vote,     0,           0};
    } else if (const auto* result = std::get_if<AppendEntriesResult>(&message.body)) {
        native.type = RAFT_APPEND_ENTRIES_RESULT;
        native.append_entries_result = {
            append_result_version, result->term, result->rejected, result->last_log_index, 0, 0};
    } else if (const auto* now_message = std::get_if<TimeoutNow>(&message.body)) {
        native.type = RAFT_TIMEOUT_NOW;
        native.timeout_now = {0, now_message->term, now_message->last_log_index,
                              now_message->last_log_term};
    }
    raft_event event{};
    event.type = RAFT_RECEIVE;
    event.receive.message = &native;
    const int code = engine_->step(event, now_);
    if (code != 0) {
        fail("message", code, out);
        return out;
    }
    collect({}, out);
    return out;
}

/// Why a message must not reach the core; null when it may.
const char* Consensus::objection(const Message& message) const {
    if (message.from == 0 || message.from == options_.id || message.to != options_.id) {
        return "message with a wrong sender or receiver";
    }
    if (const auto* append = std::get_if<AppendEntries>(&message.body)) {
        return objection(*append);
    }
    if (const auto* install = std::get_if<InstallSnapshot>(&message.body)) {
        if (install->term == 0 || !is_valid_metadata(install->metadata) ||
            install->data == nullptr || install->metadata.term > install->term) {
            return "malformed InstallSnapshot";
        }
        // The core answers it with a position that it never set; a leader that believes the answer
        // commits what nobody has.
        if (install->term < hard_state_.term) {
            return "InstallSnapshot of an older term";
        }
        if (installing_) {
            return "InstallSnapshot while another one is being installed"; // the core would leak it
        }
        if (role_ == EngineRole::leader && install->term == hard_state_.term) {
            return "InstallSnapshot from a second leader of the term";
        }
        return nullptr;
    }
    if (const auto* vote = std::get_if<RequestVote>(&message.body)) {
        const bool wrong = vote->term == 0 || vote->last_log_index >= max_index ||
                           (vote->last_log_index == 0) != (vote->last_log_term == 0) ||
                           vote->last_log_term > vote->term;
        return wrong ? "malformed RequestVote" : nullptr;
    }
    if (std::holds_alternative<RequestVoteResult>(message.body)) {
        // The core reads candidate state before it checks that it is a candidate.
        return role_ == EngineRole::candidate ? nullptr : "vote for a node that is no candidate";
    }
    if (const auto* result = std::get_if<AppendEntriesResult>(&message.body)) {
        const bool wrong = result->rejected >= max_index || result->last_log_index >= max_index;
        return wrong ? "malformed AppendEntriesResult" : nullptr;
    }
    const auto& timeout_now = std::get<TimeoutNow>(message.body);
    return timeout_now.term == 0 ? "malformed TimeoutNow" : nullptr;
}

const char* Consensus::objection(const AppendEntries& message) const {
    if (message.term == 0 || message.previous_index >= max_index ||
        message.leader_commit >= max_index ||
        (message.previous_index == 0) != (message.previous_term == 0) ||
        message.previous_term > message.term) {
        return "malformed AppendEntries";
    }
    if (role_ == EngineRole::leader && message.term == hard_state_.term) {
        return "AppendEntries from a second leader of the term";
    }
    Term term = message.previous_term;
    Index index = message.previous_index;
    for (const Entry& entry : message.entries) {
        const bool known_type = entry.type == EntryType::command ||
                                entry.type == EntryType::barrier ||
                                entry.type == EntryType::configuration;
        if (entry.index != ++index || entry.term < term || entry.term == 0 ||
            entry.term > message.term || !known_type || entry.bytes == nullptr) {
            return "malformed entry in AppendEntries";
        }
        if (entry.type == EntryType::configuration && !decode_configuration(*entry.bytes)) {
            return "malformed configuration in AppendEntries";
        }
        term = entry.term;
    }
    return nullptr;
}

/// A rejection that was overtaken by progress makes the core step back behind what the peer is
/// known to have, from where it never sends entries again. It stays a sign of life.
void Consensus::disarm_stale_rejection(Peer from, AppendEntriesResult& result) const {
    raft_index match = 0;
    if (result.rejected > 0 && raft_match_index(&engine_->core, from, &match) == 0 &&
        result.rejected <= match) {
        result.rejected = 0;
        result.last_log_index = 0;
    }
}

/// The core compares terms only where it still has them: entries before its oldest one look new to
/// it and would be appended at the wrong place. What is committed here is equal in the log of
/// every leader of this or a later term, so such a message may start at the commit index instead.
void Consensus::skip_compacted_entries(AppendEntries& message) const {
    // Right before its oldest entry the core knows a term only if a snapshot ends there.
    const bool is_known =
        message.previous_index > base_ ||
        (message.previous_index == base_ && (base_ == 0 || base_ == snapshot_.index));
    if (installing_ || is_known || message.term < hard_state_.term) {
        return;
    }
    const Index committed = commit_index();
    const Index last = message.previous_index + message.entries.size();
    const Index skipped = std::min<Index>(last, committed) - message.previous_index;
    message.entries.erase(message.entries.begin(),
                          message.entries.begin() + static_cast<std::ptrdiff_t>(skipped));
    message.previous_index = committed;
    message.previous_term = term_of(committed);
}

void Consensus::step_append_entries(Peer from, AppendEntries message, Obligations& out) {
    skip_compacted_entries(message);
    const std::string address = std::to_string(from);
    do {
        // The core takes the index of the first new entry for that of a configuration further
        // back, so a configuration always starts a message of its own.
        auto split = message.entries.begin();
        if (split != message.entries.end()) {
            split = std::find_if(std::next(split), message.entries.end(), [](const Entry& entry) {
                return entry.type == EntryType::configuration;
            });
        }
        std::vector<Entry> part(std::make_move_iterator(message.entries.begin()),
                                std::make_move_iterator(split));
        message.entries.erase(message.entries.begin(), split);

        raft_message native{};
        native.type = RAFT_APPEND_ENTRIES;
        native.server_id = from;
        native.server_address = address.c_str();
        native.append_entries.term = message.term;
        native.append_entries.prev_log_index = message.previous_index;
        native.append_entries.prev_log_term = message.previous_term;
        // The core would take its commit index back to the end of an old message that carries a
        // newer commit index of the leader.
        const Index last = message.previous_index + part.size();
        native.append_entries.leader_commit = last <= commit_index() ? 0 : message.leader_commit;
        std::vector<raft_entry> entries;
        entries.reserve(part.size());
        if (!part.empty()) {
            message.previous_index = part.back().index;
            message.previous_term = part.back().term;
            void* token = engine_token();
            for (const Entry& entry : part) {
                entries.push_back(engine_entry(entry, token));
            }
        }
        native.append_entries.entries = entries.data();
        native.append_entries.n_entries = static_cast<unsigned>(entries.size());
        raft_event event{};
        event.type = RAFT_RECEIVE;
        event.receive.message = &native;
        const int code = engine_->step(event, now_);
        if (code != 0) {
            fail("AppendEntries", code, out);
            return;
        }
        collect(std::move(part), out);
    } while (!message.entries.empty() && !failed_);
}

void Consensus::step_install_snapshot(Peer from, InstallSnapshot message, Obligations& out) {
    const std::string address = std::to_string(from);
    raft_message native{};
    native.type = RAFT_INSTALL_SNAPSHOT;
    native.server_id = from;
    native.server_address = address.c_str();
    native.install_snapshot.term = message.term;
    native.install_snapshot.last_index = message.metadata.index;
    native.install_snapshot.last_term = message.metadata.term;
    native.install_snapshot.conf_index = message.metadata.configuration_index;
    native.install_snapshot.conf = engine_configuration(message.metadata.configuration);
    // The data itself stays here; the core only passes it through.
    native.install_snapshot.data = raft_buffer{engine_token(), 8};
    offered_snapshot_ = std::move(message.data);
    raft_event event{};
    event.type = RAFT_RECEIVE;
    event.receive.message = &native;
    const int code = engine_->step(event, now_);
    if (code != 0) {
        fail("InstallSnapshot", code, out);
        return;
    }
    collect({}, out);
    offered_snapshot_ = nullptr;
}

} // namespace concordat::log
