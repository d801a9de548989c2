#include "tests/simulation/node.hpp"

#include "coordinator/log/command_codec.hpp"

#include <algorithm>

namespace concordat::simulation {
namespace {

constexpr std::uint64_t snapshot_every_entries = 60;
constexpr std::uint64_t trailing_entries = 15;

} // namespace

Node::Node(NodeHost& host, log::Peer id, log::PersistedState first) : host_(host), id_(id) {
    disk_.hard_state = first.hard_state;
    disk_.entries = std::move(first.entries);
}

core::Instant Node::instant() const {
    return core::Instant{std::chrono::seconds{1} + std::chrono::milliseconds{now()}};
}

// ---------------------------------------------------------------- life

void Node::start() {
    if (up_) {
        return;
    }
    up_ = true;
    ++life_;
    leads_ = false;
    armed_ = 0;
    paused_until_ = 0;
    core::CoordinatorOptions options;
    options.node = core::NodeId{id_};
    options.seed = host_.timeline().pick(UINT64_MAX);
    options.max_append_bytes = 3'000; // small, so that turns are split
    core_ = std::make_unique<core::TransactionCoordinator>(options);
    core_->advance(instant(), core::WallTime{std::chrono::milliseconds{now()}});
    log::ConsensusOptions consensus;
    consensus.id = id_;
    consensus.election_timeout_ms = 300;
    consensus.heartbeat_ms = 50;
    consensus.install_snapshot_timeout_ms = 2'000;
    consensus.max_message_bytes = 4'000;
    consensus.seed = static_cast<std::uint32_t>(host_.timeline().pick(UINT32_MAX));
    engine_ = std::make_unique<log::Consensus>(consensus);
    applied_ = 0;
    log::PersistedState state{disk_.hard_state, std::nullopt, disk_.entries};
    if (disk_.snapshot) {
        state.snapshot = disk_.snapshot->metadata;
        restore(*disk_.snapshot);
    }
    fulfil(engine_->start(now(), std::move(state)));
    turn();
}

void Node::crash() {
    if (!up_) {
        return;
    }
    host_.timeline().trace(id_ * 1000);
    up_ = false;
    ++life_;
    const std::size_t survive = host_.timeline().pick(writes_.size() + 1);
    for (std::size_t i = 0; i < survive; ++i) {
        put_on_disk(writes_[i]);
    }
    writes_.clear();
    held_.clear();
    hard_states_in_flight_ = 0;
    engine_.reset();
    core_.reset();
    if (host_.bug() == Bug::disk_loses_what_it_confirmed) {
        const std::size_t lost = std::min<std::size_t>(disk_.entries.size() / 2, 20);
        disk_.entries.resize(disk_.entries.size() - lost);
    }
    if (host_.bug() == Bug::term_and_vote_not_durable) {
        disk_.hard_state.voted_for = 0;
    }
}

void Node::pause(Milliseconds duration) {
    if (up_) {
        paused_until_ = now() + duration;
    }
}

void Node::handle(std::function<void()> event) {
    if (!up_) {
        return;
    }
    if (now() < paused_until_) {
        host_.timeline().after(paused_until_ - now(),
                               [this, life = life_, event = std::move(event)] {
                                   if (life == life_) {
                                       handle(event);
                                   }
                               });
        return;
    }
    event();
    turn();
}

void Node::receive(log::Message message) {
    handle([this, message = std::move(message)] {
        host_.timeline().trace(message.from * 16 + message.to);
        fulfil(engine_->receive(now(), message));
    });
}

void Node::request(core::RequestToken token, core::ClientRequest request) {
    handle([this, token, request = std::move(request)] { core_->request(token, request); });
}

void Node::call_result(core::CallResult result) {
    handle([this, result = std::move(result)] { core_->call_result(result); });
}

bool Node::is_idle() const {
    const core::CoordinatorFigures figures = core_->figures();
    return core_->state().unfinished().empty() && figures.waiting_requests == 0 &&
           figures.queued_calls == 0;
}

bool Node::has_on_disk(const log::Entry& entry) const {
    if (disk_.snapshot && disk_.snapshot->metadata.index >= entry.index) {
        return true;
    }
    return std::ranges::any_of(disk_.entries, [&](const log::Entry& own) { return own == entry; });
}

std::string Node::describe() const {
    std::string text = "node " + std::to_string(id_);
    if (!up_) {
        return text + " down";
    }
    const core::CoordinatorFigures figures = core_->figures();
    return text + (leads_ ? " leads" : " follows") + ", applied " + std::to_string(applied_) +
           " of " + std::to_string(engine_->last_index()) + ", unfinished " +
           std::to_string(core_->state().unfinished().size()) + ", waiting " +
           std::to_string(figures.waiting_requests) + ", queued " +
           std::to_string(figures.queued_calls);
}

// ---------------------------------------------------------------- turns

void Node::turn() {
    while (up_) {
        core_->advance(instant(), core::WallTime{std::chrono::milliseconds{now()}});
        core::Actions actions = core_->take_actions();
        if (actions.append.empty() && actions.calls.empty() && actions.replies.empty()) {
            break;
        }
        if (!actions.append.empty()) {
            append(std::move(actions.append), actions);
        }
        for (core::ParticipantCall& call : actions.calls) {
            host_.call(id_, std::move(call));
        }
        for (auto& [token, reply] : actions.replies) {
            host_.reply(id_, token, std::move(reply));
        }
    }
    if (up_) {
        maybe_take_snapshot();
        arm_timer();
    }
}

void Node::append(std::vector<core::Command> commands, core::Actions& actions) {
    auto bytes = std::make_shared<const std::string>(log::encode_commands(commands));
    auto submitted = engine_->submit(now(), std::move(bytes));
    if (submitted) {
        if (host_.bug() == Bug::entries_applied_early) {
            core_->apply(core::LogIndex{engine_->last_index()}, std::move(commands));
            applied_ = engine_->last_index();
        }
        fulfil(std::move(*submitted));
        return;
    }
    core_->append_failed(submitted.error() == log::SubmitError::not_leader);
    core::Actions rest = core_->take_actions();
    std::ranges::move(rest.calls, std::back_inserter(actions.calls));
    std::ranges::move(rest.replies, std::back_inserter(actions.replies));
}

void Node::arm_timer() {
    Milliseconds due = std::max(engine_->next_timeout(), now() + 1);
    if (const auto timer = core_->next_timer()) {
        const auto rounded_up = std::chrono::ceil<std::chrono::milliseconds>(*timer - instant());
        const auto wait = std::max<std::int64_t>(rounded_up.count(), 1);
        due = std::min(due, now() + static_cast<Milliseconds>(wait));
    }
    if (due == armed_) {
        return;
    }
    armed_ = due;
    host_.timeline().after(due - now(), [this, life = life_, due] {
        if (life == life_ && armed_ == due) {
            armed_ = 0;
            handle([this] { fulfil(engine_->timeout(now())); });
        }
    });
}

// ---------------------------------------------------------------- obligations

void Node::fulfil(log::Obligations&& obligations) {
    for (log::Obligation& obligation : obligations) {
        std::visit([this](auto& one) { fulfil_one(one); }, obligation);
    }
}

void Node::fulfil_one(log::PersistHardState& obligation) {
    ++hard_states_in_flight_;
    write(HardStateWrite{obligation.state});
}

void Node::fulfil_one(log::PersistEntries& obligation) {
    write(EntriesWrite{obligation.generation, std::move(obligation.entries)});
}

void Node::fulfil_one(log::Send& obligation) {
    if (hard_states_in_flight_ > 0) {
        held_.push_back(std::move(obligation.message));
    } else {
        send_now(std::move(obligation.message));
    }
}

void Node::fulfil_one(log::InstallReceivedSnapshot& obligation) {
    write(InstallWrite{{obligation.metadata, obligation.data}});
}

void Node::fulfil_one(log::ApplyEntries& obligation) {
    for (const log::Entry& entry : obligation.entries) {
        std::vector<core::Command> commands;
        if (entry.type == log::EntryType::command) {
            auto decoded = log::decode_commands(*entry.bytes);
            if (!decoded) {
                throw Violation("entry " + std::to_string(entry.index) + ": " + decoded.error());
            }
            commands = std::move(*decoded);
        }
        host_.applied(entry, commands);
        if (entry.index <= applied_ && host_.bug() == Bug::entries_applied_early) {
            continue;
        }
        if (entry.index != applied_ + 1) {
            throw Violation("an entry was applied out of order");
        }
        applied_ = entry.index;
        core_->apply(core::LogIndex{entry.index}, std::move(commands));
    }
}

void Node::fulfil_one(log::RoleChanged& obligation) {
    const bool leads = obligation.role == log::EngineRole::leader;
    host_.timeline().trace(id_ * 64 + (leads ? 1 : 0));
    if (leads && !leads_) {
        host_.leads(id_, obligation.term);
        core_->became_leader();
    } else if (!leads && leads_) {
        core_->lost_leadership(obligation.leader ? std::optional{core::NodeId{*obligation.leader}}
                                                 : std::nullopt);
    }
    leads_ = leads;
}

void Node::fulfil_one(log::StopProcess& obligation) {
    throw Violation("node " + std::to_string(id_) + " stops: " + obligation.reason);
}

void Node::send_now(log::Message message) {
    if (auto* install = std::get_if<log::InstallSnapshot>(&message.body)) {
        install->metadata = disk_.snapshot->metadata;
        install->data = disk_.snapshot->data;
    }
    host_.send(std::move(message));
}

// ---------------------------------------------------------------- disk

void Node::write(Write write) {
    writes_.push_back(std::move(write));
    if (writes_.size() == 1) {
        schedule_write();
    }
}

void Node::schedule_write() {
    host_.timeline().after(host_.timeline().between(1, host_.weather().max_disk_delay),
                           [this, life = life_] {
                               if (life == life_) {
                                   finish_write();
                               }
                           });
}

void Node::finish_write() {
    if (now() < paused_until_) { // the disk has it; the process hears of it later
        host_.timeline().after(paused_until_ - now(), [this, life = life_] {
            if (life == life_) {
                finish_write();
            }
        });
        return;
    }
    Write done = std::move(writes_.front());
    put_on_disk(done);
    writes_.pop_front();
    if (!writes_.empty()) {
        schedule_write();
    }
    std::visit([this](auto& one) { finished(one); }, done);
    turn();
}

void Node::finished(HardStateWrite&) {
    if (--hard_states_in_flight_ > 0) {
        return;
    }
    std::deque<log::Message> ready = std::move(held_);
    held_.clear();
    for (log::Message& message : ready) {
        send_now(std::move(message));
    }
}

void Node::finished(EntriesWrite& write) {
    fulfil(engine_->entries_persisted(now(), write.generation, write.entries.back().index));
}

void Node::finished(InstallWrite& write) {
    restore(write.snapshot);
    fulfil(engine_->snapshot_installed(now(), write.snapshot.metadata));
}

void Node::finished(CompactWrite&) {}

void Node::put_on_disk(const Write& write) {
    if (const auto* state = std::get_if<HardStateWrite>(&write)) {
        disk_.hard_state = state->state;
    } else if (const auto* entries = std::get_if<EntriesWrite>(&write)) {
        const log::Index first = entries->entries.front().index;
        while (!disk_.entries.empty() && disk_.entries.back().index >= first) {
            disk_.entries.pop_back();
        }
        disk_.entries.insert(disk_.entries.end(), entries->entries.begin(), entries->entries.end());
    } else if (const auto* install = std::get_if<InstallWrite>(&write)) {
        disk_.snapshot = install->snapshot;
        disk_.entries.clear();
    } else {
        const log::Index through = std::get<CompactWrite>(write).through;
        std::erase_if(disk_.entries,
                      [&](const log::Entry& entry) { return entry.index <= through; });
    }
}

void Node::maybe_take_snapshot() {
    const log::Index last = disk_.snapshot ? disk_.snapshot->metadata.index : 0;
    if (applied_ < last + snapshot_every_entries || engine_->is_installing_snapshot()) {
        return;
    }
    const auto metadata = engine_->snapshot_of_applied();
    if (!metadata || metadata->index != applied_) {
        return;
    }
    core::SnapshotContent content = core_->state().capture();
    disk_.snapshot =
        Snapshot{*metadata, std::make_shared<const std::string>(log::encode_snapshot(content))};
    auto [used, obligations] = engine_->snapshot_taken(now(), *metadata, trailing_entries);
    if (used) {
        write(CompactWrite{engine_->first_index() - 1});
    }
    fulfil(std::move(obligations));
}

void Node::restore(const Snapshot& snapshot) {
    auto content = log::decode_snapshot(*snapshot.data);
    if (!content) {
        throw Violation("a snapshot does not decode: " + content.error());
    }
    if (host_.bug() == Bug::snapshot_loses_transactions) {
        std::erase_if(content->transactions, [](const core::TransactionRecord& record) {
            return !core::is_finished(record.state);
        });
    }
    applied_ = snapshot.metadata.index;
    core_->restore(std::move(*content));
}

} // namespace concordat::simulation
