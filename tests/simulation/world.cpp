#include "tests/simulation/world.hpp"

#include <algorithm>

namespace concordat::simulation {

World::World(std::uint64_t seed, Bug bug, TraceSink sink)
    : timeline_(seed), bug_(bug), ledger_([this](const log::Entry& entry) {
          const auto holders = std::ranges::count_if(
              nodes_, [&](const auto& one) { return one->has_on_disk(entry); });
          return static_cast<std::size_t>(holders) > node_count / 2;
      }) {
    timeline_.listen(std::move(sink));
    std::vector<log::VotingMember> members;
    for (log::Peer id = 1; id <= node_count; ++id) {
        members.push_back({id, "node" + std::to_string(id)});
    }
    for (log::Peer id = 1; id <= node_count; ++id) {
        nodes_.push_back(std::make_unique<Node>(static_cast<NodeHost&>(*this), id,
                                                log::bootstrap_state(members)));
    }
    for (const char* name : participant_names) {
        participants_.emplace(
            name, std::make_unique<Participant>(static_cast<ParticipantHost&>(*this), name));
    }
}

Figures World::run() {
    bring_up();
    place_orders();
    make_trouble();
    timeline_.run_until(timeline_.now() + fault_phase);
    heal();
    const Milliseconds deadline = timeline_.now() + longest_recovery;
    while (!is_at_rest()) {
        if (timeline_.now() >= deadline) {
            throw Violation("I5: not at rest long after the faults have healed" + describe());
        }
        timeline_.run_until(timeline_.now() + 250);
    }
    std::map<std::string, std::int64_t> balances;
    for (const auto& [name, participant] : participants_) {
        balances[name] = participant->balance();
    }
    ledger_.audit(balances);
    return {.fingerprint = timeline_.fingerprint(),
            .simulated = timeline_.now(),
            .committed = ledger_.committed(),
            .aborted = ledger_.aborted(),
            .crashes = crashes_,
            .faults = timeline_.faults()};
}

void World::bring_up() {
    for (auto& one : nodes_) {
        one->start();
    }
    const Milliseconds deadline = timeline_.now() + longest_recovery;
    while (registered_.size() < std::size(participant_names)) {
        if (timeline_.now() >= deadline) {
            throw Violation("the group does not take work" + describe());
        }
        register_participants();
        timeline_.run_until(timeline_.now() + 200);
    }
}

void World::register_participants() {
    for (const char* name : participant_names) {
        for (log::Peer id = 1; id <= node_count; ++id) {
            if (!registered_.contains(name) && node(id).is_serving()) {
                ask(id, {name, "registration"},
                    core::PutParticipantRequest{
                        core::ParticipantName{name},
                        {"http://" + std::string{name}, "", std::chrono::seconds{1}, 8},
                        "simulation"});
            }
        }
    }
}

// ---------------------------------------------------------------- rest

bool World::is_at_rest() const {
    const bool nodes_rest = std::ranges::all_of(nodes_, [&](const auto& one) {
        return one->is_up() && one->is_idle() &&
               one->state_fingerprint() == nodes_.front()->state_fingerprint();
    });
    return nodes_rest && pending_.empty() &&
           std::ranges::all_of(orders_, [](const auto& item) { return item.second.told; }) &&
           std::ranges::all_of(participants_,
                               [](const auto& item) { return item.second->in_doubt().empty(); });
}

std::string World::describe() const {
    std::string text;
    for (const auto& one : nodes_) {
        text += "\n  " + one->describe();
    }
    for (const auto& [name, participant] : participants_) {
        text += "\n  " + name + " in doubt:";
        for (const std::string& xid : participant->in_doubt()) {
            text += " " + xid;
        }
    }
    text += "\n  waiting clients: " + std::to_string(pending_.size()) + "\n  without an answer:";
    for (const auto& [xid, order] : orders_) {
        text += order.told ? "" : " " + xid;
    }
    return text;
}

} // namespace concordat::simulation
