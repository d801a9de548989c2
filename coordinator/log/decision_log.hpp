#pragma once

// The replicated decision log: the only door between the transaction core and durability. Behind
// it are libraft's core (driven through raft_step), our segments, metadata and snapshots, and the
// peer transport. A single node and a group of 3 or 5 are the same code.
//
// Obligation order: persist -> durable -> send or reply. A command reaches StateMachine::apply
// only after it is committed: durable on a quorum. Nothing else tells its fate; in particular a
// lost leadership says nothing about entries in flight (unknown outcome, trap 7).
//
// Threading: everything here runs on the core thread that calls DecisionLog::start; the disk
// thread and the transport's io threads are owned inside and hand their results over through the
// executor given at construction. StateMachine is called on the core thread only, never
// re-entrantly from append().

#include "coordinator/core/commands.hpp"
#include "coordinator/core/replicated_state.hpp"

#include <cstdint>
#include <expected>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace concordat::log {

/// One voting member of the group as configured at first start.
struct Member {
    core::NodeId id;
    std::string peer_address; ///< host:port of the peer transport
};

struct Options {
    core::NodeId node;
    std::filesystem::path data_directory;
    /// All members including this node; written into the log's first entry by `bootstrap`.
    /// Ignored when the data directory already holds a log.
    std::vector<Member> members;
    std::string peer_listen_address; ///< host:port; empty for a single node
    std::string cluster_name;        ///< peers with another name are refused
    std::chrono::milliseconds election_timeout{150};
    std::chrono::milliseconds heartbeat_interval{15};
    std::size_t segment_bytes = 64UL << 20;
    std::size_t max_entry_bytes = 8UL << 20; ///< a bigger append is refused
    std::size_t max_inflight_entries = 1024; ///< appended, not yet committed
    std::uint64_t snapshot_after_bytes = 256UL << 20;
    std::uint64_t trailing_entries = 1024;
    bool fsync = true; ///< off only for tests; said loudly in the log
};

/// Why a log refused to open. `message` names file, offset and what to do (trap: never guess).
struct OpenError {
    std::string message;
};

enum class Role : std::uint8_t { follower, candidate, leader };

struct RoleChange {
    Role role = Role::follower;
    std::optional<core::NodeId> leader; ///< known leader, if any
};

enum class AppendError : std::uint8_t {
    not_leader, ///< effect: none
    too_large,  ///< effect: none
    overloaded, ///< max_inflight_entries reached; effect: none, try again after an apply
};

/// The user of the log. All calls on the core thread.
class StateMachine {
public:
    virtual ~StateMachine() = default;
    /// Commands of one committed entry, in log order, exactly once per process life. Entries of the
    /// engine itself (barriers, configurations) come without commands, so that indexes have no
    /// gaps.
    virtual void apply(core::LogIndex index, std::vector<core::Command>&& commands) = 0;
    /// Replace all state by a snapshot (start-up, or installed by the leader).
    virtual void restore(core::SnapshotContent&& content) = 0;
    /// A copy of the state as of the last apply, to be encoded off the core thread.
    [[nodiscard]] virtual core::SnapshotContent capture() = 0;
    /// Leadership changed; entries in flight have an unknown outcome until they are applied.
    virtual void role_changed(const RoleChange& change) = 0;
};

/// Figures for metrics and GET /v1/cluster.
struct Status {
    Role role = Role::follower;
    std::optional<core::NodeId> leader;
    std::uint64_t term = 0;
    core::LogIndex last_index;
    core::LogIndex commit_index;
    core::LogIndex applied_index;
    core::LogIndex snapshot_index;
    std::uint64_t fsyncs = 0;
    std::uint64_t bytes_written = 0;
    std::uint64_t leader_changes = 0;
    /// Leader only: highest index known to be on that peer.
    std::vector<std::pair<core::NodeId, core::LogIndex>> peers;
    bool replayed = false; ///< the local log has been applied up to the commit index known at start
};

/// Runs a function on the core thread, from any thread; functions run in order of posting.
/// Supplied by the app (the core loop). Must not drop functions before DecisionLog::stop returned.
using CoreExecutor = std::function<void(std::function<void()>)>;

class DecisionLog {
public:
    /// Opens or creates the data directory and recovers what it holds. Blocks; calls
    /// restore() and apply() for a snapshot found but never for entries not known to be committed.
    static std::expected<std::unique_ptr<DecisionLog>, OpenError>
    open(Options options, StateMachine& machine, CoreExecutor executor);

    virtual ~DecisionLog() = default;

    /// Starts elections, the peer transport and the disk thread.
    virtual void start() = 0;
    /// Leader only: one entry with these commands, in order (group commit: call once per turn).
    virtual std::expected<void, AppendError> append(std::span<const core::Command> commands) = 0;
    /// Drives time: elections and heartbeats. To be called at the end of every turn, after the
    /// functions that were posted; returns when it wants to be called at the latest if nothing
    /// else happens before.
    virtual core::Instant tick(core::Instant now) = 0;
    /// Leader only: hand leadership to the most advanced other voter; no effect on others.
    virtual void transfer_leadership(std::optional<core::NodeId> to) = 0;
    [[nodiscard]] virtual Status status() const = 0;
    /// Joins all threads; what was appended but not durable has an unknown outcome.
    virtual void stop() = 0;
};

} // namespace concordat::log
