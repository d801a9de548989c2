// The consensus engine alone: three or five nodes, many more elections per second than the world
// has, and a check of every applied entry against one history.

#include "tests/simulation/mutants/scenes.hpp"
#include "tests/unit/log/consensus_cluster.hpp"

#include <iterator>

namespace concordat::mutants {
namespace {

using log::test::ConsensusCluster;
using log::test::Violation;

constexpr log::Milliseconds fault_phase = 15'000;
constexpr log::Milliseconds healing_phase = 5'000;
constexpr log::test::ClusterFaults calm{
    .max_delay = 10, .max_disk_delay = 5, .snapshot_every = 30, .trailing = 5};

/// A crash and a start in one moment: what was not synced may be gone, the others hardly notice.
void blink(ConsensusCluster& cluster, log::Peer id) {
    if (cluster.is_up(id)) {
        cluster.crash(id);
        cluster.start(id);
    }
}

void one_fault(ConsensusCluster& cluster) {
    const log::Peer victim = 1 + cluster.random(cluster.size());
    switch (cluster.random(6)) {
    case 0:
        cluster.crash(victim);
        break;
    case 1: // power cut
        for (log::Peer id = 1; id <= cluster.size(); ++id) {
            blink(cluster, id);
        }
        break;
    case 2:
    case 3:
        cluster.cut(victim, 1 + cluster.random(cluster.size()), true);
        break;
    case 4:
        cluster.transfer();
        break;
    default:
        for (log::Peer from = 1; from <= cluster.size(); ++from) {
            cluster.start(from);
            for (log::Peer to = 1; to <= cluster.size(); ++to) {
                cluster.cut(from, to, false);
            }
        }
        break;
    }
}

/// The network and the disks for the next while.
void change_weather(ConsensusCluster& cluster) {
    constexpr log::Milliseconds delays[] = {5, 25, 120, 400};
    constexpr log::Milliseconds disk_delays[] = {2, 20, 20, 200};
    log::test::ClusterFaults weather = calm;
    weather.loss = cluster.random(3) == 0 ? 0.15 : 0;
    weather.duplication = cluster.random(2) == 0 ? 0.1 : 0;
    weather.max_delay = delays[cluster.random(std::size(delays))];
    weather.max_disk_delay = disk_delays[cluster.random(std::size(disk_delays))];
    cluster.set_faults(weather);
}

} // namespace

void run_group(std::uint64_t seed) {
    ConsensusCluster cluster{seed % 2 == 0 ? 5U : 3U, seed, calm};
    log::Milliseconds next_fault = 500;
    std::uint64_t submitted = 0;
    while (cluster.now() < fault_phase) {
        cluster.run_until(cluster.now() + 1 + cluster.random(12));
        cluster.submit("command " + std::to_string(submitted++));
        if (cluster.leader() == 0 && cluster.random(10) == 0) {
            blink(cluster, 1 + cluster.random(cluster.size())); // in the middle of an election
        }
        if (cluster.now() >= next_fault) {
            next_fault = cluster.now() + 50 + cluster.random(700);
            one_fault(cluster);
            change_weather(cluster);
        }
    }
    cluster.heal();
    cluster.set_faults(calm);
    cluster.run_until(cluster.now() + healing_phase);
    if (!cluster.submit("last") && !cluster.submit("last")) {
        throw Violation("I5: no leader after the faults were healed" + cluster.describe());
    }
    cluster.run_until(cluster.now() + healing_phase);
    if (!cluster.all_applied_the_same()) {
        throw Violation("I5: the nodes did not converge" + cluster.describe());
    }
}

} // namespace concordat::mutants
