// What the engine asks for and what comes back from disk and peers.

#include "coordinator/core/assert.hpp"
#include "coordinator/log/command_codec.hpp"
#include "coordinator/log/failpoint_kinds.hpp"
#include "coordinator/log/node_log_impl.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace concordat::log {
namespace {

constexpr std::size_t max_held_messages = 4096;
/// Received and not yet stepped; beyond it messages are dropped, for Raft repeats them.
constexpr std::size_t max_waiting_messages = 4096;
/// A disk that makes no progress for this long while others wait loses the leadership.
constexpr std::chrono::seconds slow_disk_limit{2};
constexpr std::chrono::seconds transfer_retry{1};

} // namespace

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
    CONCORDAT_FAILPOINT("log.replicate.*.before", kinds_of(obligation.message));
    if (hard_states_in_flight_ == 0) {
        transmit(std::move(obligation.message));
    } else if (held_.size() < max_held_messages) {
        held_.push_back(std::move(obligation.message));
    }
}

void NodeLogImpl::fulfil_one(InstallReceivedSnapshot& obligation) {
    CONCORDAT_FAILPOINT("log.snapshot_install.received");
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
            CONCORDAT_FAILPOINT("log.snapshot_install.stored");
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
    CONCORDAT_FAILPOINT("log.snapshot_install.log_restarted");
    machine_.restore(std::move(installed.content));
    fulfil(consensus_.snapshot_installed(current_time(), installed.metadata));
    CONCORDAT_FAILPOINT("log.snapshot_install.restored");
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
        CONCORDAT_FAILPOINT("log.apply.*.before", kinds_behind(last_known_at_start_, entry));
        machine_.apply(core::LogIndex{entry.index}, std::move(commands));
        CONCORDAT_FAILPOINT("log.apply.*.after", kinds_behind(last_known_at_start_, entry));
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
    CONCORDAT_FAILPOINT("log.receive.*.before", kinds_of(message));
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
        CONCORDAT_FAILPOINT("log.durable.*.before",
                            WrittenEntries::instance().through(appended->index, false));
        fulfil(consensus_.entries_persisted(current_time(), appended->generation, appended->index));
        CONCORDAT_FAILPOINT("log.durable.*.after",
                            WrittenEntries::instance().through(appended->index, true));
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
        CONCORDAT_FAILPOINT("log.snapshot.before");
        auto stored = storage_->store_snapshot(metadata, data);
        CONCORDAT_FAILPOINT("log.snapshot.stored");
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
    CONCORDAT_FAILPOINT("log.snapshot.used");
}

} // namespace concordat::log
