// The schedule of faults, and their end.

#include "tests/simulation/world.hpp"

namespace concordat::simulation {

void World::make_trouble() {
    timeline_.after(timeline_.between(100, 1'200), [this] {
        if (faults_on_) {
            one_fault();
            make_trouble();
        }
    });
}

void World::one_fault() {
    switch (timeline_.pick(8)) {
    case 0:
    case 1:
        crash_node(some_node());
        return;
    case 2: // power cut
        for (log::Peer id = 1; id <= node_count; ++id) {
            crash_node(id);
        }
        return;
    case 3:
        crash_participant();
        return;
    case 4:
    case 5:
        cut_somewhere();
        return;
    case 6:
        node(some_node()).pause(timeline_.between(100, 3'000));
        return;
    default:
        change_weather();
        return;
    }
}

void World::crash_node(log::Peer id) {
    if (!node(id).is_up()) {
        return;
    }
    ++crashes_;
    node(id).crash();
    timeline_.after(timeline_.between(50, 2'500), [this, id] { node(id).start(); });
}

void World::crash_participant() {
    Participant& victim = *participants_.at(participant_names[timeline_.pick(4)]);
    if (victim.is_up()) {
        ++crashes_;
        victim.crash();
        timeline_.after(timeline_.between(50, 3'000), [&victim] { victim.start(); });
    }
}

void World::cut_somewhere() {
    const log::Peer victim = some_node();
    const bool one_way = timeline_.chance(400);
    for (log::Peer other = 1; other <= node_count; ++other) {
        if (other != victim && timeline_.chance(800)) {
            cuts_[{victim, other}] = true;
            cuts_[{other, victim}] = !one_way;
        }
    }
    timeline_.after(timeline_.between(200, 3'000), [this] { cuts_.clear(); });
}

void World::change_weather() {
    weather_.loss_permille = timeline_.chance(500) ? 0 : static_cast<unsigned>(timeline_.pick(150));
    weather_.duplication_permille = static_cast<unsigned>(timeline_.pick(100));
    weather_.max_delay = timeline_.between(2, 120);
    weather_.max_disk_delay = timeline_.chance(700) ? 4 : timeline_.between(5, 150);
}

void World::heal() {
    faults_on_ = false;
    cuts_.clear();
    weather_ = Weather{};
    for (auto& one : nodes_) {
        one->start();
        one->pause(0);
    }
    for (auto& [name, participant] : participants_) {
        participant->start();
    }
}

} // namespace concordat::simulation
