#pragma once

// Raft as a pure machine: events in, obligations out; no thread, no file, no socket, no clock, no
// randomness of its own. Inside is libraft's core, driven through raft_step(); around it stands
// everything that core takes for granted. The same object runs in concordatd and in the simulator.
//
// Each event returns obligations. The owner fulfils them in the order given: a later one may only
// start to take effect when an earlier PersistHardState is durable; Send may overtake the
// durability of PersistEntries (a leader replicates in parallel with its own disk).
//
// libraft's rules that are enforced here, numbered as in the design and in the tests:
//   2  events are validated, for the packaged library has its assertions compiled out
//   3  obligations come out in the order in which they must be met
//   4  memory handed to and from the core has one owner at every moment
//   5  a completed write is reported only if it still describes the log, and never to a candidate
//   9  leadership of a single node does not advance the term; nothing here pretends it does
//   10 committed configurations are reported back before later entries are applied
//   11 nothing is applied while a snapshot is being installed
//   13 pre-vote is on, the random generator is seeded, nothing is printed
//
// Threading: none; one caller at a time. Sources: Ongaro, Consensus: Bridging Theory and Practice
// (2014); the event interface of libraft 0.22.

#include "coordinator/log/log_types.hpp"

#include <chrono>
#include <cstddef>
#include <deque>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace concordat::log {

/// Milliseconds since an origin of the owner's choice; never goes back.
using Milliseconds = std::uint64_t;

enum class EngineRole : std::uint8_t { follower, candidate, leader };

struct PersistHardState {
    HardState state;
};
/// Append to the log. Entries from entries.front().index on that exist already are void.
struct PersistEntries {
    Generation generation = 0;
    std::vector<Entry> entries;
};
struct Send {
    Message message;
};
/// Persist this snapshot, discard the log, restore the state, then call snapshot_installed().
struct InstallReceivedSnapshot {
    SnapshotMetadata metadata;
    core::SharedBytes data;
};
/// Committed: apply in order. Only entries of type command carry commands.
struct ApplyEntries {
    std::vector<Entry> entries;
};
struct RoleChanged {
    EngineRole role = EngineRole::follower;
    std::optional<Peer> leader;
    Term term = 0;
};
/// The engine met something that must not be: stop the process.
struct StopProcess {
    std::string reason;
};

using Obligation = std::variant<PersistHardState, PersistEntries, Send, InstallReceivedSnapshot,
                                ApplyEntries, RoleChanged, StopProcess>;
using Obligations = std::vector<Obligation>;

enum class SubmitError : std::uint8_t {
    not_leader, ///< effect: none
    /// Too many entries appended and not yet committed, or leadership is being handed over (which
    /// may fail, and then this leader goes on). Effect: none; try again.
    overloaded
};

enum class MembersError : std::uint8_t {
    not_leader,
    not_ready,          ///< this leader has not committed an entry of its own term yet
    change_in_progress, ///< an earlier change is not committed yet
    not_one_change,     ///< neither one voter more nor one voter less
};

struct ConsensusOptions {
    Peer id = 0;
    std::uint32_t election_timeout_ms = 150;
    std::uint32_t heartbeat_ms = 15;
    std::uint32_t install_snapshot_timeout_ms = 30'000;
    std::uint32_t max_inflight_entries = 1024;
    std::size_t max_message_bytes = 4UL
                                    << 20; ///< of entries in one AppendEntries, at least one entry
    std::uint32_t seed = 0;                ///< of the election timer's randomness
};

/// What was found on disk.
struct PersistedState {
    HardState hard_state;
    std::optional<SnapshotMetadata> snapshot;
    std::vector<Entry> entries; ///< consecutive; the first one follows the snapshot at the latest
};

struct VotingMember {
    Peer id = 0;
    std::string address;
    bool operator==(const VotingMember&) const = default;
};
/// The content of a configuration entry; equal bytes for equal members in any order.
[[nodiscard]] std::string encode_configuration(std::vector<VotingMember> members);
/// Nothing when the bytes are not a configuration.
[[nodiscard]] std::optional<std::vector<VotingMember>> decode_configuration(std::string_view bytes);
/// The log with which every member of a new group starts.
[[nodiscard]] PersistedState bootstrap_state(std::vector<VotingMember> members);

class Consensus {
public:
    explicit Consensus(ConsensusOptions options);
    ~Consensus();
    Consensus(const Consensus&) = delete;
    Consensus& operator=(const Consensus&) = delete;

    // Events. `now` is the time of the event; a time before the last one counts as the last one.

    /// First event, once.
    [[nodiscard]] Obligations start(Milliseconds now, PersistedState state);
    /// A message from a peer. Nonsense is dropped and counted, see rejected_messages().
    [[nodiscard]] Obligations receive(Milliseconds now, Message message);
    /// Everything up to `index` of writes of `generation` (and of older ones) is durable.
    [[nodiscard]] Obligations entries_persisted(Milliseconds now, Generation generation,
                                                Index index);
    /// The snapshot of InstallReceivedSnapshot is durable and the state machine restored from it.
    [[nodiscard]] Obligations snapshot_installed(Milliseconds now,
                                                 const SnapshotMetadata& metadata);
    /// A snapshot of the own state is durable; entries more than `trailing` before it are
    /// forgotten. False when a newer snapshot made it pointless.
    [[nodiscard]] std::pair<bool, Obligations>
    snapshot_taken(Milliseconds now, const SnapshotMetadata& metadata, std::uint64_t trailing);
    /// To be called when next_timeout() is reached; earlier calls do nothing.
    [[nodiscard]] Obligations timeout(Milliseconds now);
    /// Leader: appends one entry.
    [[nodiscard]] std::expected<Obligations, SubmitError> submit(Milliseconds now,
                                                                 core::SharedBytes bytes);
    /// Leader: one voter more or one voter less, in force as soon as it is in the log. A leader
    /// that removes itself leads until the change is committed. A new voter starts with an empty
    /// log and an id that was never used before. Effect of an error: none.
    ///
    /// Source: Ongaro 2014, §4.1 (one change at a time: majorities of neighbouring configurations
    /// overlap), and the correction to it of 2015: without an entry of the leader's own term that
    /// is committed, two leaders could each change the same older configuration.
    [[nodiscard]] std::expected<Obligations, MembersError>
    change_members(Milliseconds now, std::vector<VotingMember> voters);
    /// Leader: hands leadership to `to`, or to the most advanced voter. No effect on others.
    [[nodiscard]] Obligations transfer(Milliseconds now, std::optional<Peer> to);

    // State.

    [[nodiscard]] Milliseconds next_timeout() const;
    [[nodiscard]] EngineRole role() const noexcept { return role_; }
    [[nodiscard]] std::optional<Peer> leader() const noexcept { return leader_; }
    [[nodiscard]] HardState hard_state() const noexcept { return hard_state_; }
    [[nodiscard]] Index last_index() const noexcept { return base_ + entries_.size(); }
    [[nodiscard]] Index first_index() const noexcept { return base_ + 1; }
    [[nodiscard]] Index commit_index() const;
    [[nodiscard]] Index applied_index() const noexcept { return applied_; }
    [[nodiscard]] Index persisted_index() const;
    [[nodiscard]] Index snapshot_index() const noexcept { return snapshot_.index; }
    [[nodiscard]] bool is_installing_snapshot() const noexcept { return installing_.has_value(); }
    [[nodiscard]] bool is_transferring() const;
    /// Leader only, else empty: highest index known to be durable on each other voter.
    [[nodiscard]] std::vector<std::pair<Peer, Index>> peers() const;
    [[nodiscard]] const std::vector<VotingMember>& members() const noexcept { return members_; }
    /// What a snapshot of the state as of applied_index() must say about itself; nothing when
    /// there is nothing new to snapshot or the log is not durable up to there.
    [[nodiscard]] std::optional<SnapshotMetadata> snapshot_of_applied() const;
    [[nodiscard]] std::uint64_t rejected_messages() const noexcept { return rejected_messages_; }
    [[nodiscard]] const std::string& last_rejection() const noexcept { return last_rejection_; }

private:
    struct Engine;

    [[nodiscard]] std::optional<Obligations> append_own(EntryType type, core::SharedBytes bytes);
    [[nodiscard]] bool is_one_change(const std::vector<VotingMember>& voters) const;
    void step_append_entries(Peer from, AppendEntries part, Obligations& out);
    void step_install_snapshot(Peer from, InstallSnapshot message, Obligations& out);
    void skip_compacted_entries(AppendEntries& message) const;
    void disarm_stale_rejection(Peer from, AppendEntriesResult& result) const;
    [[nodiscard]] const char* objection(const Message& message) const;
    [[nodiscard]] const char* objection(const AppendEntries& message) const;
    void collect(std::vector<Entry>&& offered, Obligations& out);
    void collect_entries(std::vector<Entry>&& offered, Obligations& out);
    void collect_messages(Obligations& out);
    void collect_snapshot(Obligations& out);
    void collect_committed(Obligations& out);
    void collect_role(Obligations& out);
    void collect_append(Peer to, const AppendEntries& header, std::size_t count, Obligations& out);
    void report_configuration(const Entry& entry, Obligations& out);
    void report_persisted(Obligations& out);
    void fail(std::string_view what, int code, Obligations& out);
    [[nodiscard]] const Entry& entry_at(Index index) const { return entries_[index - base_ - 1]; }
    [[nodiscard]] Term term_of(Index index) const;
    void drop_prefix(Index through);

    ConsensusOptions options_;
    std::unique_ptr<Engine> engine_;
    Milliseconds now_ = 0;
    HardState hard_state_;
    EngineRole role_ = EngineRole::follower;
    std::optional<Peer> leader_;
    Term role_term_ = 0;

    std::deque<Entry> entries_; ///< from base_ + 1
    Index base_ = 0;
    SnapshotMetadata snapshot_; ///< index 0: none
    std::optional<SnapshotMetadata> installing_;
    core::SharedBytes offered_snapshot_; ///< data of the InstallSnapshot being stepped
    Index applied_ = 0;
    Index configuration_index_ = 0;   ///< of the last applied configuration
    std::string configuration_bytes_; ///< of the last applied configuration
    std::vector<VotingMember> members_;
    bool members_stale_ = true;
    Generation generation_ = 1;
    Index reported_durable_ = 0; ///< durable, perhaps not yet told to the core (rule 5)
    std::uint64_t rejected_messages_ = 0;
    std::string last_rejection_;
    bool failed_ = false;
};

} // namespace concordat::log
