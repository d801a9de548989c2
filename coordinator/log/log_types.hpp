#pragma once

// Words that the engine, the files and the peer transport share. Values; any thread.

#include "coordinator/core/ids.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace concordat::log {

/// Position in the log, from 1; 0 means none. Plain numbers inside this module because both sides
/// of it (libraft, files) count with them; LogIndex and NodeId at its door.
using Index = std::uint64_t;
using Term = std::uint64_t;
using Peer = std::uint64_t; ///< node id of a member
/// Counts truncations of the local log; separates completions of writes that a truncation voided.
using Generation = std::uint64_t;

enum class EntryType : std::uint8_t { command = 1, barrier = 2, configuration = 3 };

struct Entry {
    Index index = 0;
    Term term = 0;
    EntryType type = EntryType::command;
    core::SharedBytes bytes; ///< never null
    bool operator==(const Entry& other) const {
        return index == other.index && term == other.term && type == other.type &&
               *bytes == *other.bytes;
    }
};

/// What Raft must remember before it acts on it (Ongaro 2014, figure 3.1: persistent state).
struct HardState {
    Term term = 0;
    Peer voted_for = 0;
    bool operator==(const HardState&) const = default;
};

struct SnapshotMetadata {
    Index index = 0; ///< last entry that the snapshot includes
    Term term = 0;
    Index configuration_index = 0;
    std::string configuration; ///< in the encoding of configuration entries
    bool operator==(const SnapshotMetadata&) const = default;
};

struct RequestVote {
    Term term = 0;
    Index last_log_index = 0;
    Term last_log_term = 0;
    bool disrupt_leader = false;
    bool pre_vote = false;
};
struct RequestVoteResult {
    Term term = 0;
    bool granted = false;
    bool pre_vote = false;
};
struct AppendEntries {
    Term term = 0;
    Index previous_index = 0;
    Term previous_term = 0;
    Index leader_commit = 0;
    std::vector<Entry> entries; ///< consecutive, from previous_index + 1
};
struct AppendEntriesResult {
    Term term = 0;
    Index rejected = 0; ///< 0: accepted
    Index last_log_index = 0;
};
struct InstallSnapshot {
    Term term = 0;
    SnapshotMetadata metadata;
    core::SharedBytes data; ///< null in an outgoing message: the owner of the files fills it in
};
struct TimeoutNow {
    Term term = 0;
    Index last_log_index = 0;
    Term last_log_term = 0;
};

struct Message {
    Peer from = 0;
    Peer to = 0;
    std::variant<RequestVote, RequestVoteResult, AppendEntries, AppendEntriesResult,
                 InstallSnapshot, TimeoutNow>
        body;
};

} // namespace concordat::log
