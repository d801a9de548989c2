#include "tests/unit/log/consensus_cluster.hpp"

#include <algorithm>

namespace concordat::log::test {

ConsensusCluster::ConsensusCluster(std::size_t size, std::uint64_t seed, ClusterFaults faults)
    : faults_(faults), random_(seed), nodes_(size) {
    std::vector<VotingMember> members;
    for (std::size_t i = 0; i < size; ++i) {
        members.push_back({i + 1, "node" + std::to_string(i + 1)});
    }
    const PersistedState first = bootstrap_state(members);
    for (std::size_t i = 0; i < size; ++i) {
        nodes_[i].id = i + 1;
        nodes_[i].disk.hard_state = first.hard_state;
        nodes_[i].disk.entries = first.entries;
    }
    for (std::size_t i = 0; i < size; ++i) {
        start(i + 1);
    }
}

void ConsensusCluster::at(Milliseconds time, std::function<void()> action) {
    events_.push({std::max(time, now_), sequence_++, std::move(action)});
}

void ConsensusCluster::start(Peer id) {
    Node& node = this->node(id);
    if (node.up) {
        return;
    }
    node.up = true;
    ++node.life;
    ConsensusOptions options;
    options.id = id;
    options.seed = static_cast<std::uint32_t>(random_());
    options.max_message_bytes = 2000;
    node.engine = std::make_unique<Consensus>(options);
    PersistedState state{node.disk.hard_state, node.disk.snapshot, node.disk.entries};
    node.applied = state.snapshot ? state.snapshot->index : 0;
    node.hash = state.snapshot ? node.disk.snapshot_hash : 0;
    if (!state.entries.empty() && state.snapshot &&
        state.entries.back().index < state.snapshot->index) {
        throw Violation("the disk lost entries that a snapshot covers");
    }
    fulfil(node, node.engine->start(now_, std::move(state)));
}

void ConsensusCluster::crash(Peer id) {
    Node& node = this->node(id);
    if (!node.up) {
        return;
    }
    ++figures_.crashes;
    node.up = false;
    ++node.life;
    // Some of the writes in flight reached the disk, in order, without anybody having heard of it.
    std::uint64_t survive = random_() % (node.writes.size() + 1);
    while (survive-- > 0) {
        put_on_disk(node.disk, node.writes.front());
        node.writes.pop_front();
    }
    node.writes.clear();
    node.held.clear();
    node.hard_states_in_flight = 0;
    node.engine.reset();
}

void ConsensusCluster::heal() {
    cuts_.clear();
    faults_.loss = 0;
    faults_.duplication = 0;
    for (Node& node : nodes_) {
        start(node.id);
    }
}

void ConsensusCluster::run_until(Milliseconds time) {
    while (!events_.empty() && events_.top().time <= time) {
        const Event event = events_.top();
        events_.pop();
        now_ = event.time;
        event.action();
    }
    now_ = time;
}

bool ConsensusCluster::submit(const std::string& text) {
    for (Node& node : nodes_) {
        if (node.up && node.engine->role() == EngineRole::leader) {
            auto submitted = node.engine->submit(now_, std::make_shared<const std::string>(text));
            if (submitted) {
                fulfil(node, std::move(*submitted));
                return true;
            }
        }
    }
    return false;
}

Peer ConsensusCluster::leader() const {
    Peer found = 0;
    Term term = 0;
    for (const Node& node : nodes_) {
        if (node.up && node.engine->role() == EngineRole::leader &&
            node.engine->hard_state().term > term) {
            found = node.id;
            term = node.engine->hard_state().term;
        }
    }
    return found;
}

void ConsensusCluster::transfer() {
    if (const Peer id = leader(); id != 0) {
        fulfil(node(id), node(id).engine->transfer(now_, std::nullopt));
    }
}

bool ConsensusCluster::all_applied_the_same() const {
    return std::ranges::all_of(nodes_, [&](const Node& node) {
        return node.up && node.applied == nodes_.front().applied &&
               node.hash == nodes_.front().hash && node.applied == history_.rbegin()->first;
    });
}

std::string ConsensusCluster::describe() const {
    std::string text;
    for (const Node& node : nodes_) {
        text += "\nnode " + std::to_string(node.id);
        if (node.up) {
            text += " role " + std::to_string(static_cast<int>(node.engine->role())) + " leader " +
                    std::to_string(node.engine->leader().value_or(0)) + " term " +
                    std::to_string(node.engine->hard_state().term) + " log " +
                    std::to_string(node.engine->first_index()) + ".." +
                    std::to_string(node.engine->last_index()) + " durable " +
                    std::to_string(node.engine->persisted_index()) + " commit " +
                    std::to_string(node.engine->commit_index()) + " applied " +
                    std::to_string(node.applied) + " snapshot " +
                    std::to_string(node.engine->snapshot_index()) + " installing " +
                    std::to_string(node.engine->is_installing_snapshot()) + " rejected " +
                    std::to_string(node.engine->rejected_messages()) + " (" +
                    node.engine->last_rejection() + ") writes " +
                    std::to_string(node.writes.size());
        }
        for (const auto& [peer, index] :
             node.up ? node.engine->peers() : std::vector<std::pair<Peer, Index>>{}) {
            text += ", node " + std::to_string(peer) + " at " + std::to_string(index);
        }
    }
    return text;
}

void ConsensusCluster::fulfil(Node& node, Obligations&& obligations) {
    for (Obligation& obligation : obligations) {
        if (auto* state = std::get_if<PersistHardState>(&obligation)) {
            ++node.hard_states_in_flight;
            Write next;
            next.kind = Write::Kind::hard_state;
            next.hard_state = state->state;
            write(node, std::move(next));
        } else if (auto* persist = std::get_if<PersistEntries>(&obligation)) {
            Write next;
            next.generation = persist->generation;
            next.entries = std::move(persist->entries);
            write(node, std::move(next));
        } else if (auto* out = std::get_if<Send>(&obligation)) {
            if (node.hard_states_in_flight > 0) {
                node.held.push_back(std::move(out->message));
            } else {
                send(node, std::move(out->message));
            }
        } else if (auto* install = std::get_if<InstallReceivedSnapshot>(&obligation)) {
            Write next;
            next.kind = Write::Kind::install;
            next.snapshot = install->metadata;
            next.snapshot_hash = std::stoull(*install->data);
            write(node, std::move(next));
        } else if (auto* committed = std::get_if<ApplyEntries>(&obligation)) {
            apply(node, committed->entries);
        } else if (auto* role = std::get_if<RoleChanged>(&obligation)) {
            trace(node.id * 31 + static_cast<std::uint64_t>(role->role));
            if (role->role == EngineRole::leader) {
                ++figures_.elections;
                leaders_[role->term].insert(node.id);
                if (leaders_[role->term].size() > 1 && nodes_.size() > 1) {
                    throw Violation("two leaders in term " + std::to_string(role->term));
                }
            }
        } else if (auto* stop = std::get_if<StopProcess>(&obligation)) {
            throw Violation("node " + std::to_string(node.id) + ": " + stop->reason);
        }
    }
    maybe_snapshot(node);
    arm_timer(node);
}

void ConsensusCluster::send(Node& node, Message message) {
    ++figures_.messages;
    if (auto* install = std::get_if<InstallSnapshot>(&message.body)) {
        install->data =
            std::make_shared<const std::string>(std::to_string(node.disk.snapshot_hash));
        install->metadata = *node.disk.snapshot;
    }
    const auto lost = [&](double probability) {
        return static_cast<double>(random_() % 10'000) < probability * 10'000;
    };
    if (cuts_[{message.from, message.to}] || lost(faults_.loss)) {
        return;
    }
    const int copies = lost(faults_.duplication) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
        at(now_ + 1 + random_() % faults_.max_delay, [this, message] {
            Node& to = this->node(message.to);
            if (to.up) {
                trace(message.from * 7 + message.to + now_);
                fulfil(to, to.engine->receive(now_, message));
            }
        });
    }
}

void ConsensusCluster::apply(Node& node, const std::vector<Entry>& entries) {
    for (const Entry& entry : entries) {
        if (entry.index != node.applied + 1) {
            throw Violation("an entry was applied out of order");
        }
        node.applied = entry.index;
        node.hash = node.hash * 1000003U + std::hash<std::string>{}(*entry.bytes);
        const auto [known, is_new] = history_.emplace(entry.index, entry);
        if (!(known->second == entry)) {
            throw Violation("two nodes applied different entries at " +
                            std::to_string(entry.index));
        }
        if (!hashes_.emplace(entry.index, node.hash).second && hashes_[entry.index] != node.hash) {
            throw Violation("two nodes have different states at " + std::to_string(entry.index));
        }
        figures_.committed += is_new ? 1 : 0;
    }
}

void ConsensusCluster::write(Node& node, Write write) {
    node.writes.push_back(std::move(write));
    if (node.writes.size() == 1) {
        at(now_ + 1 + random_() % faults_.max_disk_delay, [this, &node, life = node.life] {
            if (node.life == life) {
                finish_write(node);
            }
        });
    }
}

void ConsensusCluster::put_on_disk(Disk& disk, const Write& write) {
    switch (write.kind) {
    case Write::Kind::hard_state:
        disk.hard_state = write.hard_state;
        break;
    case Write::Kind::entries: {
        const Index first = write.entries.front().index;
        while (!disk.entries.empty() && disk.entries.back().index >= first) {
            disk.entries.pop_back();
        }
        disk.entries.insert(disk.entries.end(), write.entries.begin(), write.entries.end());
        break;
    }
    case Write::Kind::install:
        disk.snapshot = write.snapshot;
        disk.snapshot_hash = write.snapshot_hash;
        disk.entries.clear();
        break;
    case Write::Kind::compact:
        std::erase_if(disk.entries,
                      [&](const Entry& entry) { return entry.index <= write.through; });
        break;
    }
}

void ConsensusCluster::finish_write(Node& node) {
    const Write done = std::move(node.writes.front());
    node.writes.pop_front();
    put_on_disk(node.disk, done);
    if (!node.writes.empty()) {
        Write next = std::move(node.writes.front());
        node.writes.pop_front();
        const std::size_t behind = node.writes.size();
        node.writes.push_front(std::move(next));
        static_cast<void>(behind);
        at(now_ + 1 + random_() % faults_.max_disk_delay, [this, &node, life = node.life] {
            if (node.life == life) {
                finish_write(node);
            }
        });
    }
    switch (done.kind) {
    case Write::Kind::hard_state:
        if (--node.hard_states_in_flight == 0) {
            while (!node.held.empty()) {
                Message message = std::move(node.held.front());
                node.held.pop_front();
                send(node, std::move(message));
            }
        }
        break;
    case Write::Kind::entries:
        fulfil(node,
               node.engine->entries_persisted(now_, done.generation, done.entries.back().index));
        break;
    case Write::Kind::install:
        ++figures_.snapshots_installed;
        node.applied = done.snapshot.index;
        node.hash = done.snapshot_hash;
        if (hashes_.at(node.applied) != node.hash) {
            throw Violation("an installed snapshot does not match the history");
        }
        fulfil(node, node.engine->snapshot_installed(now_, done.snapshot));
        break;
    case Write::Kind::compact:
        break;
    }
}

void ConsensusCluster::maybe_snapshot(Node& node) {
    const Index last = node.disk.snapshot ? node.disk.snapshot->index : 0;
    if (node.applied < last + faults_.snapshot_every) {
        return;
    }
    const auto metadata = node.engine->snapshot_of_applied();
    if (!metadata || metadata->index != node.applied) {
        return;
    }
    ++figures_.snapshots_taken;
    node.disk.snapshot = *metadata;
    node.disk.snapshot_hash = node.hash;
    auto [used, obligations] = node.engine->snapshot_taken(now_, *metadata, faults_.trailing);
    if (used) {
        Write next;
        next.kind = Write::Kind::compact;
        next.through = node.engine->first_index() - 1;
        write(node, std::move(next));
    }
    fulfil(node, std::move(obligations));
}

void ConsensusCluster::arm_timer(Node& node) {
    const Milliseconds due = std::max(node.engine->next_timeout(), now_ + 1);
    if (due == node.timer) {
        return;
    }
    node.timer = due;
    at(due, [this, &node, life = node.life, due] {
        if (node.life == life && node.timer == due) {
            node.timer = 0;
            fulfil(node, node.engine->timeout(now_));
        }
    });
}

} // namespace concordat::log::test
