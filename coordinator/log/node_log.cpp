#include "coordinator/log/node_log.hpp"

#include "coordinator/core/assert.hpp"
#include "coordinator/log/command_codec.hpp"
#include "coordinator/log/node_log_impl.hpp"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <random>

namespace concordat::log {
namespace {

constexpr int exit_after_fatal = 70;

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

} // namespace

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
    const auto since_tick = std::chrono::steady_clock::now() - last_tick_steady_;
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
    last_tick_steady_ = std::chrono::steady_clock::now();
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

namespace {

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
