#include "tests/simulation/world.hpp"

#include <algorithm>

namespace concordat::simulation {

World::World(std::uint64_t seed, Bug bug, TraceSink sink, Length length)
    : timeline_(seed),
      bug_(bug),
      length_(length),
      ledger_([this](const log::Entry& entry) { return is_on_majority(entry); }, retention) {
    timeline_.listen(std::move(sink));
    for (log::Peer id = 1; id <= first_members; ++id) {
        voters_.push_back({id, "node" + std::to_string(id)});
    }
    for (log::Peer id = 1; id <= first_members; ++id) {
        new_node(log::bootstrap_state(voters_));
    }
    for (const char* name : participant_names) {
        participants_.emplace(
            name, std::make_unique<Participant>(static_cast<ParticipantHost&>(*this), name));
    }
}

Figures World::run() {
    bring_up();
    for (unsigned cycle = 0; cycle < length_.cycles; ++cycle) {
        faults_on_ = true;
        place_orders();
        make_trouble();
        timeline_.run_until(timeline_.now() + length_.trouble);
        heal();
        come_to_rest();
    }
    return {.fingerprint = timeline_.fingerprint(),
            .simulated = timeline_.now(),
            .committed = ledger_.committed(),
            .aborted = ledger_.aborted(),
            .faults = timeline_.faults()};
}

void World::come_to_rest() {
    const Milliseconds deadline = timeline_.now() + longest_recovery;
    for (std::string why = unrest(); !why.empty(); why = unrest()) {
        if (timeline_.now() >= deadline) {
            throw Violation("I5: not at rest long after the faults have healed: " + why +
                            describe());
        }
        timeline_.run_until(timeline_.now() + 250);
    }
    std::map<std::string, std::int64_t> balances;
    for (const auto& [name, participant] : participants_) {
        balances[name] = participant->balance();
    }
    ledger_.audit(balances);
}

void World::bring_up() {
    for (log::Peer id = 1; id <= first_members; ++id) {
        start_node(id);
    }
    tend_group();
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
        const log::Peer serving = leader();
        if (serving == 0 || registered_.contains(name)) {
            continue;
        }
        PendingRequest pending;
        pending.kind = PendingRequest::Kind::registration;
        pending.name = name;
        ask(serving, std::move(pending),
            core::PutParticipantRequest{
                core::ParticipantName{name},
                {"http://" + std::string{name}, "", std::chrono::seconds{1}, 8},
                "simulation"});
    }
}

// ---------------------------------------------------------------- rest

std::string World::unrest() const {
    if (!changes_.empty()) {
        return "the group is changing";
    }
    const Node& first = node(voters_.front().id);
    for (const log::VotingMember& voter : voters_) {
        const Node& one = node(voter.id);
        if (!one.is_up()) {
            return "node " + std::to_string(voter.id) + " is down";
        }
        if (std::string why = one.unrest(); !why.empty()) {
            return "node " + std::to_string(voter.id) + ": " + why;
        }
        if (one.applied_index() != first.applied_index()) {
            return "node " + std::to_string(voter.id) + " is behind";
        }
    }
    if (!pending_.empty()) {
        return "clients wait for answers";
    }
    if (const auto waiting = std::ranges::find_if(
            orders_, [](const auto& item) { return item.second.step != Order::Step::done; });
        waiting != orders_.end()) {
        return "order " + waiting->first + " is not done";
    }
    for (const auto& [name, participant] : participants_) {
        if (!participant->is_quiet()) {
            return name + " is in doubt, or holds locks";
        }
    }
    const std::uint64_t fingerprint = first.state_fingerprint();
    for (const log::VotingMember& voter : voters_) {
        if (node(voter.id).state_fingerprint() != fingerprint) {
            throw Violation("nodes that applied the same entries have different states" +
                            describe());
        }
    }
    return {};
}

std::string World::describe() const {
    std::string text;
    for (const auto& one : nodes_) {
        if (!gone_.contains(one->id())) {
            text += "\n  " + one->describe();
        }
    }
    for (const auto& [name, participant] : participants_) {
        text += "\n  " + name + " in doubt:";
        for (const std::string& xid : participant->in_doubt()) {
            text += " " + xid;
        }
    }
    text += "\n  waiting clients: " + std::to_string(pending_.size()) + "\n  orders not done:";
    for (const auto& [name, order] : orders_) {
        if (order.step != Order::Step::done) {
            text += " " + name + " (step " + std::to_string(static_cast<int>(order.step)) + ")";
        }
    }
    return text;
}

} // namespace concordat::simulation
