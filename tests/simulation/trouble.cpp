// The schedule of faults, and their end.

#include "tests/simulation/world.hpp"

#include <algorithm>

namespace concordat::simulation {
namespace {

std::string name_of_node(log::Peer id) {
    return "node" + std::to_string(id);
}

} // namespace

void World::make_trouble() {
    timeline_.after(timeline_.between(100, 1'000), [this] {
        if (faults_on_) {
            one_fault();
            make_trouble();
        }
    });
}

void World::one_fault() {
    using Action = void (*)(World&);
    static constexpr Action actions[] = {
        [](World& world) { world.cut_power_of(world.some_voter()); },
        [](World& world) { world.cut_power_of(world.some_voter()); },
        [](World& world) { world.cut_power_of(world.leader()); },
        [](World& world) { world.kill_node(world.some_voter()); },
        [](World& world) { world.cut_all_power(); },
        [](World& world) { world.crash_participant(); },
        [](World& world) { world.crash_participant(); },
        [](World& world) { world.cut_network(false); },
        [](World& world) { world.cut_network(true); },
        [](World& world) { world.pause_node(); },
        [](World& world) { world.pause_node(); },
        [](World& world) { world.slow_disk(); },
        [](World& world) { world.fill_disk(); },
        [](World& world) { world.fail_disk(); },
        [](World& world) { world.damage_disk(Fault::flipped_bit); },
        [](World& world) { world.damage_disk(Fault::truncated_file); },
        [](World& world) { world.jump_clock(); },
        [](World& world) { world.transfer_leadership(); },
        [](World& world) { world.change_weather(); },
        [](World& world) { world.change_weather(); },
        [](World& world) {
            if (world.may_change_group() && world.voters_.size() < most_members) {
                world.changes_.push_back({world.new_node({}), {}, Fault::voter_added});
                world.start_node(*world.changes_.back().add);
            }
        },
        [](World& world) {
            if (world.may_change_group() && world.voters_.size() > first_members) {
                world.changes_.push_back({{}, world.some_voter(), Fault::voter_removed});
            }
        },
        [](World& world) {
            if (world.may_change_group()) {
                const log::Peer old = world.some_voter();
                world.changes_.push_back(
                    {world.new_node({}), old, Fault::node_replaced, world.timeline_.chance(500)});
                world.start_node(*world.changes_.back().add);
            }
        },
    };
    actions[timeline_.pick(std::size(actions))](*this);
}

void World::cut_power_of(log::Peer id) {
    if (id == 0 || !node(id).is_up()) {
        return;
    }
    timeline_.inject(Fault::crash, name_of_node(id));
    node(id).cut_power();
    timeline_.after(timeline_.between(50, 2'500), [this, id] { start_node(id); });
}

void World::cut_all_power() {
    timeline_.inject(Fault::power_cut, "all nodes");
    for (const auto& one : nodes_) {
        cut_power_of(one->id());
    }
}

/// kill -9: the system keeps what the process gave it.
void World::kill_node(log::Peer id) {
    if (node(id).is_up()) {
        timeline_.inject(Fault::kill, name_of_node(id));
        node(id).kill();
        timeline_.after(timeline_.between(50, 1'500), [this, id] { start_node(id); });
    }
}

void World::crash_participant() {
    const char* name = participant_names[timeline_.pick(std::size(participant_names))];
    Participant& victim = *participants_.at(name);
    if (victim.is_up()) {
        timeline_.inject(Fault::participant_crash, name);
        victim.crash();
        timeline_.after(timeline_.between(50, 3'000), [&victim] { victim.start(); });
    }
}

void World::cut_network(bool one_way) {
    const log::Peer victim = some_voter();
    timeline_.inject(one_way ? Fault::one_way_partition : Fault::partition, name_of_node(victim));
    const bool outwards = timeline_.chance(500);
    for (const auto& other : nodes_) {
        if (other->id() != victim && timeline_.chance(800)) {
            cuts_[{victim, other->id()}] = !one_way || outwards;
            cuts_[{other->id(), victim}] = !one_way || !outwards;
        }
    }
    timeline_.after(timeline_.between(200, 3'000), [this] { cuts_.clear(); });
}

void World::pause_node() {
    const log::Peer victim = some_voter();
    if (node(victim).is_up()) {
        timeline_.inject(Fault::pause, name_of_node(victim));
        node(victim).pause(timeline_.between(100, 3'000));
    }
}

void World::slow_disk() {
    const log::Peer victim = timeline_.chance(500) && leader() != 0 ? leader() : some_voter();
    timeline_.inject(Fault::slow_disk, name_of_node(victim));
    node(victim).disk().set_slowness(timeline_.between(50, 4'000));
    timeline_.after(timeline_.between(500, 5'000),
                    [this, victim] { node(victim).disk().set_slowness(0); });
}

void World::fill_disk() {
    const log::Peer victim = timeline_.chance(500) && leader() != 0 ? leader() : some_voter();
    timeline_.inject(Fault::disk_full, name_of_node(victim));
    node(victim).disk().fill();
    timeline_.after(timeline_.between(500, 5'000),
                    [this, victim] { node(victim).disk().free_space(); });
}

void World::fail_disk() {
    const log::Peer victim = some_voter();
    if (node(victim).is_up()) {
        timeline_.inject(Fault::disk_error, name_of_node(victim));
        node(victim).disk().fail_next_write();
    }
}

/// Only while the group can do without this disk for good.
void World::damage_disk(Fault kind) {
    const log::Peer victim = some_voter();
    const bool all_well = std::ranges::all_of(voters_, [this](const log::VotingMember& voter) {
        return knows_that_it_is_voter(voter.id);
    });
    if (!may_change_group() || !all_well) {
        return;
    }
    node(victim).kill();
    timeline_.after(timeline_.between(50, 1'500), [this, victim] { start_node(victim); });
    if (node(victim).disk().can_be_damaged()) {
        timeline_.inject(kind, name_of_node(victim));
        if (kind == Fault::flipped_bit) {
            node(victim).disk().flip_a_bit();
        } else {
            node(victim).disk().truncate_a_file();
        }
    }
}

void World::jump_clock() {
    const log::Peer victim = some_voter();
    timeline_.inject(Fault::clock_jump, name_of_node(victim));
    const std::chrono::milliseconds by{timeline_.between(1'000, 10'000'000)};
    node(victim).jump(timeline_.chance(500) ? by : -by);
}

void World::transfer_leadership() {
    if (const log::Peer id = leader(); id != 0) {
        timeline_.inject(Fault::leadership_transfer, name_of_node(id));
        node(id).transfer_leadership();
    }
}

void World::change_weather() {
    weather_.loss_permille = timeline_.chance(500) ? 0 : static_cast<unsigned>(timeline_.pick(150));
    weather_.duplication_permille = static_cast<unsigned>(timeline_.pick(100));
    weather_.max_delay = timeline_.between(2, 120);
    weather_.max_disk_delay = timeline_.chance(700) ? 4 : timeline_.between(5, 150);
}

void World::heal() {
    faults_on_ = false;
    timeline_.tell("-", "world", "heals");
    cuts_.clear();
    weather_ = Weather{};
    for (log::Peer id = 1; id <= nodes_.size(); ++id) {
        node(id).disk().free_space();
        node(id).disk().set_slowness(0);
        start_node(id);
        node(id).pause(0);
    }
    for (auto& [name, participant] : participants_) {
        participant->start();
    }
}

} // namespace concordat::simulation
