#include "coordinator/log/node_log.hpp"

#include "coordinator/core/assert.hpp"
#include "coordinator/log/command_codec.hpp"
#include "coordinator/log/consensus.hpp"
#include "coordinator/log/disk_thread.hpp"
#include "coordinator/log/peer_registry.hpp"
#include "coordinator/log/peer_transport.hpp"
#include "coordinator/log/snapshot_thread.hpp"
#include "coordinator/log/storage.hpp"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <deque>
#include <random>

namespace concordat::log {
namespace {

constexpr std::size_t max_held_messages = 4096;
/// Received and not yet stepped; beyond it messages are dropped, for Raft repeats them.
constexpr std::size_t max_waiting_messages = 4096;
/// A disk that makes no progress for this long while others wait loses the leadership.
constexpr std::chrono::seconds slow_disk_limit{2};
constexpr std::chrono::seconds transfer_retry{1};
constexpr int exit_after_fatal = 70;

using SteadyClock = std::chrono::steady_clock;

[[noreturn]] void end_process(const std::string& reason) {
    spdlog::critical("decision log: {}; the process ends to keep its promises", reason);
    spdlog::default_logger()->flush();
    ::_exit(exit_after_fatal);
}

std::uint64_t random_number() {
    std::random_device device;
    std::uint64_t number = 0;
    while (number == 0) {
        number = (std::uint64_t{device()} << 32U) | device();
    }
    return number;
}

Role to_role(EngineRole role) {
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

std::optional<core::NodeId> to_node(std::optional<Peer> peer) {
    return peer ? std::optional{core::NodeId{*peer}} : std::nullopt;
}

/// True while the object lives on the core thread; functions posted there look before they touch
/// it.
using Alive = std::shared_ptr<bool>;

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
    SteadyClock::time_point last_tick_steady_{};
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

NodeLogImpl::NodeLogImpl(Options options, StateMachine& machine, CoreExecutor executor,
                         NodeEnvironment environment, Storage::Opened opened)
    : options_(std::move(options)),
      machine_(machine),
      executor_(std::move(executor)),
      environment_(std::move(environment)),
      storage_(std::move(opened.storage)),
      recovered_(std::move(opened.recovered)),
      consensus_({options_.node.value(),
                  static_cast<std::uint32_t>(options_.election_timeout.count()),
                  static_cast<std::uint32_t>(options_.heartbeat_interval.count()), 30'000,
                  static_cast<std::uint32_t>(options_.max_inflight_entries), 4UL << 20,
                  static_cast<std::uint32_t>(random_number())}),
      registry_(*storage_),
      disk_(
          *storage_,
          [this](std::vector<DiskThread::Completion> done) {
              post([this, done = std::move(done)] { completed(done); });
          },
          [this](const std::string& reason) { fatal(reason); }) {}

void NodeLogImpl::start() {
    CONCORDAT_ASSERT(!started_);
    started_ = true;
    disk_.start();
    snapshots_.start();
    make_transport();
    if (transport_) {
        if (auto bound = transport_->start(); !bound) {
            fatal(bound.error());
        }
    }
}

void NodeLogImpl::make_transport() {
    std::vector<VotingMember> others;
    for (const Member& member : options_.members) {
        if (member.id != options_.node) {
            others.push_back({member.id.value(), member.peer_address});
        }
    }
    if (others.empty()) {
        return;
    }
    PeerTransportOptions transport;
    transport.self = options_.node.value();
    transport.cluster_name = options_.cluster_name;
    transport.incarnation = storage_->identity().incarnation;
    transport.listen_address = options_.peer_listen_address;
    transport.others = std::move(others);
    transport.max_frame_bytes = options_.max_entry_bytes + (8UL << 20);
    transport.seed = random_number();
    PeerTransportCallbacks callbacks;
    callbacks.received = [this](Message message) { message_arrived(std::move(message)); };
    callbacks.objection = [this](Peer peer, std::uint64_t incarnation) {
        return registry_.objection(peer, incarnation);
    };
    callbacks.refused = [](Peer peer, const std::string& reason) {
        spdlog::error("peer {}: {}", peer, reason);
    };
    transport_ = make_peer_transport(std::move(transport), std::move(callbacks));
}

void NodeLogImpl::start_engine() {
    engine_started_ = true;
    PersistedState state;
    state.hard_state = recovered_.hard_state;
    if (recovered_.snapshot) {
        state.snapshot = recovered_.snapshot->metadata;
    }
    for (const Entry& entry : recovered_.entries) {
        bytes_since_snapshot_ += entry.bytes->size();
    }
    state.entries = std::move(recovered_.entries);
    last_known_at_start_ = state.entries.empty() ? (state.snapshot ? state.snapshot->index : 0)
                                                 : state.entries.back().index;
    recovered_ = {};
    fulfil(consensus_.start(current_time(), std::move(state)));
}

void NodeLogImpl::post(std::function<void()> function) {
    executor_([alive = alive_, function = std::move(function)] {
        if (*alive) {
            function();
        }
    });
}

void NodeLogImpl::fatal(const std::string& reason) {
    if (!fatal_reported_.exchange(true)) {
        environment_.fatal(reason);
    }
}

Milliseconds NodeLogImpl::current_time() const {
    // Between ticks time goes on by the steady clock; ticks bring the owner's.
    const auto since_tick = SteadyClock::now() - last_tick_steady_;
    const auto now = last_tick_.time_since_epoch() + since_tick;
    return static_cast<Milliseconds>(
        std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

// ---------------------------------------------------------------- calls of the owner

std::expected<void, AppendError> NodeLogImpl::append(std::span<const core::Command> commands) {
    if (stopped_ || consensus_.role() != EngineRole::leader) {
        return std::unexpected(AppendError::not_leader);
    }
    if (disk_.no_space()) {
        return std::unexpected(AppendError::overloaded);
    }
    auto bytes = std::make_shared<const std::string>(encode_commands(commands));
    if (bytes->size() > options_.max_entry_bytes) {
        return std::unexpected(AppendError::too_large);
    }
    auto submitted = consensus_.submit(current_time(), std::move(bytes));
    if (!submitted) {
        return std::unexpected(submitted.error() == SubmitError::overloaded
                                   ? AppendError::overloaded
                                   : AppendError::not_leader);
    }
    fulfil(std::move(*submitted));
    return {};
}

core::Instant NodeLogImpl::tick(core::Instant now) {
    if (stopped_ || !started_) {
        return now + std::chrono::seconds{1};
    }
    last_tick_ = std::max(last_tick_, now);
    last_tick_steady_ = SteadyClock::now();
    if (!engine_started_) {
        start_engine();
    }
    const Milliseconds milliseconds = current_time();
    if (milliseconds >= consensus_.next_timeout() && waiting_messages_ > 0 && !tick_postponed_) {
        // This thread was late, not the leader: hear what has arrived before holding an election.
        tick_postponed_ = true;
        return now;
    }
    tick_postponed_ = false;
    fulfil(consensus_.timeout(milliseconds));
    watch_disk(now);
    const auto wait = static_cast<std::int64_t>(consensus_.next_timeout()) -
                      static_cast<std::int64_t>(milliseconds);
    return now + std::chrono::milliseconds{std::clamp<std::int64_t>(wait, 1, 1000)};
}

void NodeLogImpl::transfer_leadership(std::optional<core::NodeId> to) {
    if (engine_started_ && !stopped_) {
        fulfil(consensus_.transfer(current_time(),
                                   to ? std::optional<Peer>{to->value()} : std::nullopt));
    }
}

Status NodeLogImpl::status() const {
    Status status;
    status.role = to_role(consensus_.role());
    status.leader = to_node(consensus_.leader());
    status.term = consensus_.hard_state().term;
    status.last_index = core::LogIndex{consensus_.last_index()};
    status.commit_index = core::LogIndex{consensus_.commit_index()};
    status.applied_index = core::LogIndex{consensus_.applied_index()};
    status.snapshot_index = core::LogIndex{consensus_.snapshot_index()};
    status.fsyncs = storage_->fsyncs();
    status.bytes_written = storage_->bytes_written();
    status.leader_changes = leader_changes_;
    for (const auto& [peer, index] : consensus_.peers()) {
        status.peers.emplace_back(core::NodeId{peer}, core::LogIndex{index});
    }
    status.replayed = engine_started_ && consensus_.applied_index() >= last_known_at_start_;
    return status;
}

void NodeLogImpl::stop() {
    finish(true);
}

void NodeLogImpl::abandon() {
    finish(false);
}

void NodeLogImpl::finish(bool write_what_waits) {
    if (stopped_) {
        return;
    }
    stopped_ = true;
    *alive_ = false;
    if (transport_) {
        transport_->stop();
    }
    if (write_what_waits) {
        disk_.stop();
    } else {
        disk_.abandon();
    }
    snapshots_.stop();
}

// ---------------------------------------------------------------- obligations

void NodeLogImpl::fulfil(Obligations&& obligations) {
    ++fulfil_depth_;
    for (Obligation& obligation : obligations) {
        std::visit([this](auto& one) { fulfil_one(one); }, obligation);
    }
    if (--fulfil_depth_ == 0) {
        maybe_take_snapshot(); // only here has the machine seen all that the engine gave out
    }
}

void NodeLogImpl::fulfil_one(PersistHardState& obligation) {
    ++hard_states_in_flight_;
    disk_.add(DiskThread::SaveHardState{obligation.state});
}

void NodeLogImpl::fulfil_one(PersistEntries& obligation) {
    disk_.add(DiskThread::Append{obligation.generation, std::move(obligation.entries)});
}

void NodeLogImpl::fulfil_one(Send& obligation) {
    if (hard_states_in_flight_ == 0) {
        transmit(std::move(obligation.message));
    } else if (held_.size() < max_held_messages) {
        held_.push_back(std::move(obligation.message));
    }
}

void NodeLogImpl::fulfil_one(InstallReceivedSnapshot& obligation) {
    snapshots_.add(
        [this, metadata = std::move(obligation.metadata), data = std::move(obligation.data)] {
            auto content = decode_snapshot(*data);
            if (!content) {
                fatal("a snapshot of the leader cannot be used: " + content.error());
                return;
            }
            auto stored = storage_->store_snapshot(metadata, *data);
            while (!stored && stored.error().is_no_space() && snapshots_.wait_for_space()) {
                stored = storage_->store_snapshot(metadata, *data);
            }
            if (!stored) {
                if (!stored.error().is_no_space()) {
                    fatal(stored.error().message);
                }
                return;
            }
            post([this, metadata,
                  shared = std::make_shared<core::SnapshotContent>(std::move(*content))] {
                snapshot_stored(metadata, std::move(*shared));
            });
        });
}

void NodeLogImpl::snapshot_stored(const SnapshotMetadata& metadata, core::SnapshotContent content) {
    installing_ = Installing{metadata, std::move(content)};
    disk_.add(DiskThread::RestartLog{metadata.index + 1});
}

void NodeLogImpl::log_restarted() {
    CONCORDAT_ASSERT(installing_);
    Installing installed = std::move(*installing_);
    installing_.reset();
    bytes_since_snapshot_ = 0;
    machine_.restore(std::move(installed.content));
    fulfil(consensus_.snapshot_installed(current_time(), installed.metadata));
}

void NodeLogImpl::fulfil_one(ApplyEntries& obligation) {
    for (const Entry& entry : obligation.entries) {
        std::vector<core::Command> commands;
        if (entry.type == EntryType::command) {
            auto decoded = decode_commands(*entry.bytes);
            if (!decoded) {
                fatal("entry " + std::to_string(entry.index) + ": " + decoded.error());
                return;
            }
            commands = std::move(*decoded);
        }
        bytes_since_snapshot_ += entry.bytes->size();
        machine_.apply(core::LogIndex{entry.index}, std::move(commands));
    }
}

void NodeLogImpl::fulfil_one(RoleChanged& obligation) {
    if (obligation.leader) {
        ++leader_changes_;
    }
    machine_.role_changed({to_role(obligation.role), to_node(obligation.leader)});
}

void NodeLogImpl::fulfil_one(StopProcess& obligation) {
    fatal(obligation.reason);
}

// ---------------------------------------------------------------- peers

void NodeLogImpl::message_arrived(Message message) {
    if (waiting_messages_ >= max_waiting_messages) {
        return;
    }
    ++waiting_messages_;
    auto shared = std::make_shared<Message>(std::move(message));
    executor_([this, alive = alive_, shared] {
        if (*alive) {
            --waiting_messages_;
            receive(std::move(*shared));
        }
    });
}

void NodeLogImpl::receive(Message message) {
    if (!engine_started_) {
        return;
    }
    if (auto* append = std::get_if<AppendEntries>(&message.body);
        append != nullptr && disk_.no_space()) {
        append->entries.clear(); // as a heartbeat it keeps the leader; the entries come again
    }
    fulfil(consensus_.receive(current_time(), std::move(message)));
}

void NodeLogImpl::transmit(Message message) {
    if (!transport_ || !transport_->is_connected(message.to)) {
        return;
    }
    if (!std::holds_alternative<InstallSnapshot>(message.body)) {
        transport_->send(std::move(message));
        return;
    }
    snapshots_.add([this, message = std::move(message)]() mutable {
        auto& install = std::get<InstallSnapshot>(message.body);
        auto snapshot = read_snapshot(*environment_.files,
                                      options_.data_directory / snapshot_name(install.metadata));
        if (!snapshot) {
            // Replaced by a newer one meanwhile; the engine asks again after its time-out.
            spdlog::warn("snapshot for peer {}: {}", message.to, snapshot.error().message);
            return;
        }
        install.data = std::move(snapshot->data);
        transport_->send(std::move(message));
    });
}

// ---------------------------------------------------------------- disk

void NodeLogImpl::completed(const std::vector<DiskThread::Completion>& done) {
    const DiskThread::Appended* appended = nullptr; // the last one covers those before it
    for (const DiskThread::Completion& completion : done) {
        if (const auto* next = std::get_if<DiskThread::Appended>(&completion)) {
            appended = next;
        } else if (std::holds_alternative<DiskThread::HardStateSaved>(completion)) {
            --hard_states_in_flight_;
        } else {
            log_restarted();
        }
    }
    while (hard_states_in_flight_ == 0 && !held_.empty()) {
        Message message = std::move(held_.front());
        held_.pop_front();
        transmit(std::move(message));
    }
    if (appended != nullptr) {
        fulfil(consensus_.entries_persisted(current_time(), appended->generation, appended->index));
    }
}

/// A leader whose disk stands still or is full hands its office over; it gets it back by election.
void NodeLogImpl::watch_disk(core::Instant now) {
    const Index durable = consensus_.persisted_index();
    if (durable != durable_seen_ || durable == consensus_.last_index()) {
        durable_seen_ = durable;
        durable_seen_at_ = now;
    }
    const bool unfit = disk_.no_space() || now - durable_seen_at_ > slow_disk_limit;
    if (unfit && consensus_.role() == EngineRole::leader && transport_ &&
        now - transfer_tried_at_ > transfer_retry) {
        transfer_tried_at_ = now;
        spdlog::warn("decision log: the disk is full or stands still; handing leadership over");
        fulfil(consensus_.transfer(current_time(), std::nullopt));
    }
}

// ---------------------------------------------------------------- own snapshots

void NodeLogImpl::maybe_take_snapshot() {
    if (taking_snapshot_ || bytes_since_snapshot_ < options_.snapshot_after_bytes) {
        return;
    }
    const auto metadata = consensus_.snapshot_of_applied();
    if (!metadata) {
        return;
    }
    taking_snapshot_ = true;
    auto content = std::make_shared<core::SnapshotContent>(machine_.capture());
    const std::uint64_t covered = bytes_since_snapshot_;
    snapshots_.add([this, metadata = *metadata, content, covered] {
        const std::string data = encode_snapshot(*content);
        auto stored = storage_->store_snapshot(metadata, data);
        if (!stored && !stored.error().is_no_space()) {
            fatal(stored.error().message);
            return;
        }
        post([this, metadata, covered, done = stored.has_value()] {
            if (done) {
                own_snapshot_stored(metadata, covered);
            } else {
                taking_snapshot_ = false; // no space: tried again when more has been applied
                bytes_since_snapshot_ = options_.snapshot_after_bytes / 2;
            }
        });
    });
}

void NodeLogImpl::own_snapshot_stored(const SnapshotMetadata& metadata,
                                      std::uint64_t bytes_covered) {
    taking_snapshot_ = false;
    bytes_since_snapshot_ -= std::min(bytes_since_snapshot_, bytes_covered);
    auto [used, obligations] =
        consensus_.snapshot_taken(current_time(), metadata, options_.trailing_entries);
    if (used) {
        disk_.add(DiskThread::Compact{consensus_.first_index() - 1});
    }
    fulfil(std::move(obligations));
}

std::string check(const Options& options) {
    const bool listed = std::ranges::any_of(
        options.members, [&](const Member& member) { return member.id == options.node; });
    if (options.node.value() == 0 || (!options.members.empty() && !listed)) {
        return "the node's id must be positive and one of the members";
    }
    if (options.members.size() > 1 && options.peer_listen_address.empty()) {
        return "a group of several members needs a peer listen address";
    }
    if (options.heartbeat_interval.count() <= 0 ||
        options.election_timeout < 2 * options.heartbeat_interval) {
        return "the election timeout must be at least twice the heartbeat interval";
    }
    if (options.max_inflight_entries == 0 || options.cluster_name.find('\n') != std::string::npos) {
        return "max_inflight_entries must be positive, the cluster name one line";
    }
    return {};
}

} // namespace

std::expected<std::unique_ptr<NodeLog>, OpenError> open_node_log(Options options,
                                                                 StateMachine& machine,
                                                                 CoreExecutor executor,
                                                                 NodeEnvironment environment) {
    if (auto problem = check(options); !problem.empty()) {
        return std::unexpected(OpenError{std::move(problem)});
    }
    if (!environment.files) {
        environment.files = make_posix_file_system(options.fsync);
    }
    if (!environment.fatal) {
        environment.fatal = [](const std::string& reason) { end_process(reason); };
    }
    if (!options.fsync) {
        spdlog::warn("decision log: syncing is OFF; acknowledged decisions can be lost");
    }
    std::vector<VotingMember> members;
    for (const Member& member : options.members) {
        members.push_back({member.id.value(), member.peer_address});
    }
    if (members.empty()) {
        members.push_back({options.node.value(), "single"});
    }
    PersistedState first = bootstrap_state(std::move(members));
    auto opened = Storage::open(*environment.files,
                                {options.data_directory, options.node.value(), options.cluster_name,
                                 options.segment_bytes, random_number()},
                                {first.hard_state, std::move(first.entries)});
    if (!opened) {
        return std::unexpected(OpenError{std::move(opened.error())});
    }
    for (const std::string& note : opened->recovered.notes) {
        spdlog::warn("decision log: {}", note);
    }
    if (const auto& snapshot = opened->recovered.snapshot) {
        auto content = decode_snapshot(*snapshot->data);
        if (!content) {
            return std::unexpected(OpenError{"the snapshot cannot be used: " + content.error()});
        }
        machine.restore(std::move(*content));
    }
    return std::make_unique<NodeLogImpl>(std::move(options), machine, std::move(executor),
                                         std::move(environment), std::move(*opened));
}

std::expected<std::unique_ptr<DecisionLog>, OpenError>
DecisionLog::open(Options options, StateMachine& machine, CoreExecutor executor) {
    return open_node_log(std::move(options), machine, std::move(executor), {});
}

} // namespace concordat::log
