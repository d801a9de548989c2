#pragma once

// The glue of one node: engine, disk, snapshots and peers around the core thread. Internal to the
// node_log*.cpp files.
//
//   append/tick ──▶ Consensus ──▶ obligations ──▶ disk thread ──▶ completions ─┐
//                      ▲                     └──▶ peers, state machine          │
//                      └──────────── core thread, through the executor ◀────────┘
//
// Threading: everything on the core thread unless a comment says otherwise.

#include "coordinator/log/consensus.hpp"
#include "coordinator/log/disk_thread.hpp"
#include "coordinator/log/node_log.hpp"
#include "coordinator/log/peer_registry.hpp"
#include "coordinator/log/peer_transport.hpp"
#include "coordinator/log/snapshot_thread.hpp"
#include "coordinator/log/storage.hpp"

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace concordat::log {

/// True while the object lives on the core thread; functions posted there look before they touch
/// it.
using Alive = std::shared_ptr<bool>;

[[nodiscard]] constexpr Role to_role(EngineRole role) noexcept {
    switch (role) {
    case EngineRole::follower:
        return Role::follower;
    case EngineRole::candidate:
        return Role::candidate;
    case EngineRole::leader:
        return Role::leader;
    }
    return Role::follower;
}

[[nodiscard]] constexpr std::optional<core::NodeId> to_node(std::optional<Peer> peer) {
    return peer ? std::optional{core::NodeId{*peer}} : std::nullopt;
}

class NodeLogImpl final : public NodeLog {
public:
    NodeLogImpl(Options options, StateMachine& machine, CoreExecutor executor,
                NodeEnvironment environment, Storage::Opened opened);
    ~NodeLogImpl() override { stop(); }

    void start() override;
    std::expected<void, AppendError> append(std::span<const core::Command> commands) override;
    core::Instant tick(core::Instant now) override;
    void transfer_leadership(std::optional<core::NodeId> to) override;
    [[nodiscard]] Status status() const override;
    void stop() override;
    void abandon() override;
    [[nodiscard]] std::uint16_t peer_port() const override {
        return transport_ ? transport_->port() : std::uint16_t{0};
    }

private:
    void make_transport();
    void start_engine();
    void post(std::function<void()> function);
    void fatal(const std::string& reason);
    [[nodiscard]] Milliseconds current_time() const;

    void fulfil(Obligations&& obligations);
    void fulfil_one(PersistHardState& obligation);
    void fulfil_one(PersistEntries& obligation);
    void fulfil_one(Send& obligation);
    void fulfil_one(InstallReceivedSnapshot& obligation);
    void fulfil_one(ApplyEntries& obligation);
    void fulfil_one(RoleChanged& obligation);
    void fulfil_one(StopProcess& obligation);

    void message_arrived(Message message);
    void receive(Message message);
    void transmit(Message message);
    void completed(const std::vector<DiskThread::Completion>& done);
    void snapshot_stored(const SnapshotMetadata& metadata, core::SnapshotContent content);
    void log_restarted();
    void maybe_take_snapshot();
    void own_snapshot_stored(const SnapshotMetadata& metadata, std::uint64_t bytes_covered);
    void watch_disk(core::Instant now);
    void finish(bool write_what_waits);

    Options options_;
    StateMachine& machine_;
    CoreExecutor executor_;
    NodeEnvironment environment_;
    std::unique_ptr<Storage> storage_;
    Recovered recovered_; ///< until start_engine
    Consensus consensus_;
    PeerRegistry registry_;
    DiskThread disk_;
    SnapshotThread snapshots_;
    std::unique_ptr<PeerTransport> transport_;
    Alive alive_ = std::make_shared<bool>(true);
    std::atomic<bool> fatal_reported_ = false;
    std::atomic<std::size_t> waiting_messages_ = 0;

    bool started_ = false;
    bool engine_started_ = false;
    bool stopped_ = false;
    core::Instant last_tick_{};
    std::chrono::steady_clock::time_point last_tick_steady_{};
    bool tick_postponed_ = false;

    int fulfil_depth_ = 0;
    std::size_t hard_states_in_flight_ = 0;
    std::deque<Message> held_; ///< wait for a hard state to be durable
    struct Installing {
        SnapshotMetadata metadata;
        core::SnapshotContent content;
    };
    std::optional<Installing> installing_;
    bool taking_snapshot_ = false;
    std::uint64_t bytes_since_snapshot_ = 0;
    Index last_known_at_start_ = 0;
    std::uint64_t leader_changes_ = 0;
    Index durable_seen_ = 0;
    core::Instant durable_seen_at_{};
    core::Instant transfer_tried_at_{};
};

} // namespace concordat::log
