#include "tests/simulation/node.hpp"

#include "coordinator/log/command_codec.hpp"

#include <algorithm>

namespace concordat::simulation {
namespace {

constexpr std::uint64_t snapshot_after_bytes = 12'000;
constexpr std::uint64_t trailing_entries = 15;
constexpr Milliseconds slow_disk_limit = 2'000;
constexpr Milliseconds transfer_retry = 1'000;

} // namespace

Node::Node(NodeHost& host, log::Peer id, log::PersistedState first)
    : host_(host),
      id_(id),
      first_{first.hard_state, std::move(first.entries)},
      disk_(host.timeline(), host.weather(), host.bug(), id, *this) {}

core::Instant Node::instant() const {
    return core::Instant{std::chrono::seconds{1} + std::chrono::milliseconds{now()}};
}

void Node::advance_core() {
    const std::chrono::milliseconds wall = std::chrono::hours{24} + wall_offset_;
    core_->advance(instant(), core::WallTime{wall + std::chrono::milliseconds{now()}});
}

// ---------------------------------------------------------------- life

std::expected<void, std::string> Node::start() {
    if (up_) {
        return {};
    }
    auto recovered = disk_.open(first_);
    if (!recovered) {
        return std::unexpected(recovered.error());
    }
    up_ = true;
    ++life_;
    armed_ = 0;
    paused_until_ = 0;
    durable_seen_at_ = now();
    core::CoordinatorOptions options;
    options.node = core::NodeId{id_};
    options.seed = host_.timeline().pick(UINT64_MAX);
    options.max_append_bytes = 3'000; // small, so that turns are split
    options.retention = retention;
    core_ = std::make_unique<core::TransactionCoordinator>(options);
    advance_core();
    log::ConsensusOptions consensus;
    consensus.id = id_;
    consensus.election_timeout_ms = 300;
    consensus.heartbeat_ms = 50;
    consensus.install_snapshot_timeout_ms = 2'000;
    consensus.max_message_bytes = 4'000;
    consensus.seed = static_cast<std::uint32_t>(host_.timeline().pick(UINT32_MAX));
    engine_ = std::make_unique<log::Consensus>(consensus);
    log::PersistedState state{recovered->hard_state, std::nullopt, std::move(recovered->entries)};
    for (const log::Entry& entry : state.entries) {
        bytes_since_snapshot_ += entry.bytes->size();
    }
    if (recovered->snapshot) {
        state.snapshot = recovered->snapshot->metadata;
        restore(recovered->snapshot->metadata, *recovered->snapshot->data);
    }
    fulfil(engine_->start(now(), std::move(state)));
    turn();
    return {};
}

void Node::kill() {
    if (up_) {
        disk_.close();
        end_life();
    }
}

void Node::cut_power() {
    if (up_) {
        disk_.cut_power();
        end_life();
    }
}

void Node::end_life() {
    host_.timeline().trace(id_ * 1000);
    up_ = false;
    ++life_;
    held_.clear();
    hard_states_in_flight_ = 0;
    installing_.reset();
    fulfil_depth_ = 0;
    taking_snapshot_ = false;
    bytes_since_snapshot_ = 0;
    leads_ = false;
    applied_ = 0;
    durable_seen_ = 0;
    transfer_tried_at_ = 0;
    engine_.reset();
    core_.reset();
}

void Node::disk_failed(const std::string&) {
    // Not from within the disk's own work, nor from within a turn.
    host_.timeline().after(0, [this, life = life_] {
        if (life == life_ && up_) {
            cut_power(); // what the system still held for the disk may be gone
            host_.failed(id_);
        }
    });
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
    handle([this, message = std::move(message)]() mutable {
        host_.timeline().trace(message.from * 16 + message.to);
        if (auto* append = std::get_if<log::AppendEntries>(&message.body);
            append != nullptr && disk_.no_space()) {
            append->entries.clear(); // as a heartbeat it keeps the leader
        }
        fulfil(engine_->receive(now(), std::move(message)));
    });
}

void Node::request(core::RequestToken token, core::ClientRequest request) {
    handle([this, token, request = std::move(request)] { core_->request(token, request); });
}

void Node::forget_request(core::RequestToken token) {
    handle([this, token] { core_->forget_request(token); });
}

void Node::call_result(core::CallResult result) {
    handle([this, result = std::move(result)] { core_->call_result(result); });
}

void Node::transfer_leadership() {
    handle([this] { fulfil(engine_->transfer(now(), std::nullopt)); });
}

bool Node::change_members(std::vector<log::VotingMember> voters) {
    if (!up_ || now() < paused_until_) {
        return false;
    }
    auto submitted = engine_->change_members(now(), std::move(voters));
    if (!submitted) {
        return false;
    }
    fulfil(std::move(*submitted));
    turn();
    return true;
}

std::string Node::unrest() const {
    const core::CoordinatorFigures figures = core_->figures();
    std::string text;
    const auto note = [&](const char* what, std::size_t count) {
        if (count > 0) {
            text.append(text.empty() ? "" : ", ").append(what).append(std::to_string(count));
        }
    };
    note("unfinished ", core_->state().unfinished().size());
    note("in memory ", figures.in_flight);
    note("waiting requests ", figures.waiting_requests);
    note("queued calls ", figures.queued_calls);
    note("held messages ", held_.size());
    note("snapshots being installed ", installing_ ? 1 : 0);
    return text;
}

std::string Node::describe() const {
    std::string text = "node " + std::to_string(id_);
    if (!up_) {
        return text + " down";
    }
    text += leads_ ? core_->is_serving() ? " leads" : " leads without serving" : " follows";
    text += engine_->is_transferring() ? ", transfers" : "";
    text += disk_.no_space() ? ", disk full" : "";
    text += " in term " + std::to_string(engine_->hard_state().term) + ", applied " +
            std::to_string(applied_) + " of " + std::to_string(engine_->last_index()) + ", members";
    for (const log::VotingMember& member : engine_->members()) {
        text += " " + std::to_string(member.id);
    }
    return text + "; " + unrest();
}

// ---------------------------------------------------------------- turns

void Node::turn() {
    while (up_) {
        advance_core();
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
        watch_disk();
        arm_timer();
    }
}

void Node::append(std::vector<core::Command> commands, core::Actions& actions) {
    bool leadership_lost = false;
    if (!disk_.no_space()) {
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
        leadership_lost = submitted.error() == log::SubmitError::not_leader;
    }
    core_->append_failed(leadership_lost);
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
    ++fulfil_depth_;
    for (log::Obligation& obligation : obligations) {
        std::visit([this](auto& one) { fulfil_one(one); }, obligation);
    }
    if (--fulfil_depth_ == 0) {
        maybe_take_snapshot(); // only here has the core seen all that the engine gave out
    }
}

void Node::fulfil_one(log::PersistHardState& obligation) {
    ++hard_states_in_flight_;
    disk_.add(log::DiskThread::SaveHardState{obligation.state});
}

void Node::fulfil_one(log::PersistEntries& obligation) {
    disk_.add(log::DiskThread::Append{obligation.generation, std::move(obligation.entries)});
}

void Node::fulfil_one(log::Send& obligation) {
    if (hard_states_in_flight_ > 0) {
        held_.push_back(std::move(obligation.message));
    } else {
        send_now(std::move(obligation.message));
    }
}

void Node::fulfil_one(log::InstallReceivedSnapshot& obligation) {
    disk_.store_snapshot(obligation.metadata, obligation.data, true,
                         [this, metadata = obligation.metadata, data = obligation.data](bool) {
                             installing_ = Installing{metadata, data};
                             disk_.add(log::DiskThread::RestartLog{metadata.index + 1});
                         });
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
        bytes_since_snapshot_ += entry.bytes->size();
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
        auto snapshot = disk_.read_snapshot(install->metadata);
        if (!snapshot) {
            return; // replaced by a newer one meanwhile; the engine asks again
        }
        install->data = std::move(snapshot->data);
    }
    host_.send(std::move(message));
}

// ---------------------------------------------------------------- disk

void Node::disk_completed(const std::vector<log::DiskThread::Completion>& done) {
    const log::DiskThread::Appended* appended = nullptr; // the last one covers those before it
    for (const log::DiskThread::Completion& completion : done) {
        if (const auto* next = std::get_if<log::DiskThread::Appended>(&completion)) {
            appended = next;
        } else if (std::holds_alternative<log::DiskThread::HardStateSaved>(completion)) {
            --hard_states_in_flight_;
        } else {
            log_restarted();
        }
    }
    while (hard_states_in_flight_ == 0 && !held_.empty()) {
        log::Message message = std::move(held_.front());
        held_.pop_front();
        send_now(std::move(message));
    }
    if (appended != nullptr) {
        fulfil(engine_->entries_persisted(now(), appended->generation, appended->index));
    }
    turn();
}

void Node::log_restarted() {
    const Installing installed = std::move(*installing_);
    installing_.reset();
    bytes_since_snapshot_ = 0;
    restore(installed.metadata, *installed.data);
    host_.installed(id_);
    fulfil(engine_->snapshot_installed(now(), installed.metadata));
}

/// A leader whose disk stands still or is full hands its office over (C20, C23).
void Node::watch_disk() {
    const log::Index durable = engine_->persisted_index();
    if (durable != durable_seen_ || durable == engine_->last_index()) {
        durable_seen_ = durable;
        durable_seen_at_ = now();
    }
    const bool unfit = disk_.no_space() || now() - durable_seen_at_ > slow_disk_limit;
    if (unfit && leads_ && now() - transfer_tried_at_ > transfer_retry) {
        transfer_tried_at_ = now();
        fulfil(engine_->transfer(now(), std::nullopt));
    }
}

void Node::maybe_take_snapshot() {
    if (taking_snapshot_ || bytes_since_snapshot_ < snapshot_after_bytes) {
        return;
    }
    const auto metadata = engine_->snapshot_of_applied();
    if (!metadata || metadata->index != applied_) {
        return;
    }
    taking_snapshot_ = true;
    auto data = std::make_shared<const std::string>(log::encode_snapshot(core_->state().capture()));
    disk_.store_snapshot(
        *metadata, std::move(data), false,
        [this, metadata = *metadata, covered = bytes_since_snapshot_](bool stored) {
            taking_snapshot_ = false;
            if (!stored) { // tried again when more has been applied
                bytes_since_snapshot_ = snapshot_after_bytes / 2;
                return;
            }
            bytes_since_snapshot_ -= std::min(bytes_since_snapshot_, covered);
            auto [used, obligations] = engine_->snapshot_taken(now(), metadata, trailing_entries);
            if (used) {
                disk_.add(log::DiskThread::Compact{engine_->first_index() - 1});
            }
            fulfil(std::move(obligations));
            turn();
        });
}

void Node::restore(const log::SnapshotMetadata& metadata, const std::string& data) {
    auto content = log::decode_snapshot(data);
    if (!content) {
        throw Violation("a snapshot does not decode: " + content.error());
    }
    if (host_.bug() == Bug::snapshot_loses_transactions) {
        std::erase_if(content->transactions, [](const core::TransactionRecord& record) {
            return !core::is_finished(record.state);
        });
    }
    applied_ = metadata.index;
    core_->restore(std::move(*content));
}

} // namespace concordat::simulation
