#pragma once

// One coordinator node: the real transaction core, the real consensus engine and the real storage
// with its encoding of entries and snapshots, on files in memory. It carries out the engine's
// obligations in the order that concordatd does (coordinator/log/node_log_obligations.cpp).

#include "coordinator/core/transaction_coordinator.hpp"
#include "coordinator/log/consensus.hpp"
#include "tests/simulation/disk.hpp"
#include "tests/simulation/faults.hpp"
#include "tests/simulation/timeline.hpp"

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace concordat::simulation {

/// Small, so that transactions are forgotten in every run.
inline constexpr core::RetentionLimits retention{100, 30};

/// What a node reaches of the world.
class NodeHost {
public:
    virtual ~NodeHost() = default;
    virtual Timeline& timeline() = 0;
    virtual const Weather& weather() const = 0;
    virtual Bug bug() const = 0;
    virtual void send(log::Message message) = 0;
    /// Exactly one result must come back, if the node still lives.
    virtual void call(log::Peer node, core::ParticipantCall call) = 0;
    virtual void reply(log::Peer node, core::RequestToken token, core::Reply reply) = 0;
    virtual void leads(log::Peer node, log::Term term) = 0;
    virtual void applied(const log::Entry& entry, const std::vector<core::Command>& commands) = 0;
    /// A snapshot of the leader replaced the state.
    virtual void installed(log::Peer node) = 0;
    /// The process ended because of its disk.
    virtual void failed(log::Peer node) = 0;
};

class Node final : private DiskUser {
public:
    /// `first`: what the node starts with on an empty disk; nothing for one that joins later.
    Node(NodeHost& host, log::Peer id, log::PersistedState first);

    /// The error: it refuses its files.
    std::expected<void, std::string> start();
    /// The process is killed; the files stay as they are.
    void kill();
    /// The machine loses its power: what was not synced may be lost or torn.
    void cut_power();
    /// Everything that arrives until then is handled then (SIGSTOP, a long pause of the machine).
    void pause(Milliseconds duration);
    /// The wall clock jumps.
    void jump(std::chrono::milliseconds by) { wall_offset_ += by; }

    void receive(log::Message message);
    void request(core::RequestToken token, core::ClientRequest request);
    void forget_request(core::RequestToken token);
    void call_result(core::CallResult result);
    void transfer_leadership();
    /// False when it is refused.
    bool change_members(std::vector<log::VotingMember> voters);

    [[nodiscard]] log::Peer id() const noexcept { return id_; }
    [[nodiscard]] Disk& disk() noexcept { return disk_; }
    [[nodiscard]] const Disk& disk() const noexcept { return disk_; }
    [[nodiscard]] bool is_up() const noexcept { return up_; }
    /// Counts starts and crashes; tells this life's traffic from that of an earlier one.
    [[nodiscard]] std::uint64_t life() const noexcept { return life_; }
    [[nodiscard]] bool is_serving() const { return up_ && core_->is_serving(); }
    [[nodiscard]] bool leads() const noexcept { return up_ && leads_; }
    [[nodiscard]] const std::vector<log::VotingMember>& members() const {
        return engine_->members();
    }
    [[nodiscard]] log::Index applied_index() const noexcept { return applied_; }
    /// Empty when nothing is going on in it; else what.
    [[nodiscard]] std::string unrest() const;
    [[nodiscard]] std::uint64_t state_fingerprint() const { return core_->state().fingerprint(); }
    [[nodiscard]] const core::ReplicatedState& state() const { return core_->state(); }
    [[nodiscard]] std::string describe() const;

private:
    struct Installing {
        log::SnapshotMetadata metadata;
        core::SharedBytes data;
    };

    // DiskUser
    void disk_completed(const std::vector<log::DiskThread::Completion>& done) override;
    void disk_failed(const std::string& reason) override;
    [[nodiscard]] Milliseconds paused_until() const override { return paused_until_; }

    void handle(std::function<void()> event);
    void end_life();
    void turn();
    void append(std::vector<core::Command> commands, core::Actions& actions);
    void fulfil(log::Obligations&& obligations);
    void fulfil_one(log::PersistHardState& obligation);
    void fulfil_one(log::PersistEntries& obligation);
    void fulfil_one(log::Send& obligation);
    void fulfil_one(log::InstallReceivedSnapshot& obligation);
    void fulfil_one(log::ApplyEntries& obligation);
    void fulfil_one(log::RoleChanged& obligation);
    void fulfil_one(log::StopProcess& obligation);
    void send_now(log::Message message);
    void log_restarted();
    void watch_disk();
    void maybe_take_snapshot();
    void restore(const log::SnapshotMetadata& metadata, const std::string& data);
    void arm_timer();
    void advance_core();
    [[nodiscard]] core::Instant instant() const;
    [[nodiscard]] Milliseconds now() const { return host_.timeline().now(); }

    NodeHost& host_;
    log::Peer id_;
    log::FirstState first_;
    Disk disk_;
    bool up_ = false;
    std::uint64_t life_ = 0;
    Milliseconds paused_until_ = 0;
    std::chrono::milliseconds wall_offset_{0};

    // One life of the process.
    std::size_t hard_states_in_flight_ = 0;
    std::deque<log::Message> held_; ///< wait for term and vote to be durable
    std::unique_ptr<log::Consensus> engine_;
    std::unique_ptr<core::TransactionCoordinator> core_;
    std::optional<Installing> installing_;
    int fulfil_depth_ = 0;
    bool taking_snapshot_ = false;
    std::uint64_t bytes_since_snapshot_ = 0;
    bool leads_ = false;
    log::Index applied_ = 0;
    Milliseconds armed_ = 0;
    log::Index durable_seen_ = 0;
    Milliseconds durable_seen_at_ = 0;
    Milliseconds transfer_tried_at_ = 0;
};

} // namespace concordat::simulation
