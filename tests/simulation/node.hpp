#pragma once

// One coordinator node: the real transaction core and the real consensus engine, with the real
// encoding of entries and snapshots, on a modelled disk. It carries out the engine's obligations in
// the order that concordatd does.

#include "coordinator/core/transaction_coordinator.hpp"
#include "coordinator/log/consensus.hpp"
#include "tests/simulation/faults.hpp"
#include "tests/simulation/timeline.hpp"

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace concordat::simulation {

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
};

class Node {
public:
    Node(NodeHost& host, log::Peer id, log::PersistedState first);

    void start();
    /// Unsynced writes may or may not have reached the disk, in order.
    void crash();
    /// Everything that arrives until then is handled then (SIGSTOP, a long pause of the machine).
    void pause(Milliseconds duration);

    void receive(log::Message message);
    void request(core::RequestToken token, core::ClientRequest request);
    void call_result(core::CallResult result);

    [[nodiscard]] bool is_up() const noexcept { return up_; }
    /// Counts starts and crashes; tells this life's traffic from that of an earlier one.
    [[nodiscard]] std::uint64_t life() const noexcept { return life_; }
    [[nodiscard]] bool is_serving() const { return up_ && core_->is_serving(); }
    [[nodiscard]] bool is_idle() const;
    [[nodiscard]] std::uint64_t state_fingerprint() const { return core_->state().fingerprint(); }
    [[nodiscard]] bool has_on_disk(const log::Entry& entry) const;
    [[nodiscard]] std::string describe() const;

private:
    struct Snapshot {
        log::SnapshotMetadata metadata;
        core::SharedBytes data;
    };
    struct Disk { // what survives a crash
        log::HardState hard_state;
        std::optional<Snapshot> snapshot;
        std::vector<log::Entry> entries;
    };
    struct HardStateWrite {
        log::HardState state;
    };
    struct EntriesWrite {
        log::Generation generation = 0;
        std::vector<log::Entry> entries;
    };
    struct InstallWrite {
        Snapshot snapshot;
    };
    struct CompactWrite {
        log::Index through = 0;
    };
    using Write = std::variant<HardStateWrite, EntriesWrite, InstallWrite, CompactWrite>;

    void handle(std::function<void()> event);
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
    void write(Write write);
    void schedule_write();
    void finish_write();
    void finished(HardStateWrite& write);
    void finished(EntriesWrite& write);
    void finished(InstallWrite& write);
    void finished(CompactWrite& write);
    void put_on_disk(const Write& write);
    void maybe_take_snapshot();
    void restore(const Snapshot& snapshot);
    void arm_timer();
    [[nodiscard]] core::Instant instant() const;
    [[nodiscard]] Milliseconds now() const { return host_.timeline().now(); }

    NodeHost& host_;
    log::Peer id_;
    Disk disk_;
    bool up_ = false;
    std::uint64_t life_ = 0;
    Milliseconds paused_until_ = 0;
    std::deque<Write> writes_; ///< not yet durable, in order
    std::size_t hard_states_in_flight_ = 0;
    std::deque<log::Message> held_; ///< wait for term and vote to be durable
    std::unique_ptr<log::Consensus> engine_;
    std::unique_ptr<core::TransactionCoordinator> core_;
    bool leads_ = false;
    log::Index applied_ = 0;
    Milliseconds armed_ = 0;
};

} // namespace concordat::simulation
