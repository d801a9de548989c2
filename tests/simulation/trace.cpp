#include "tests/simulation/trace.hpp"

namespace concordat::simulation {

std::string_view name_of(Fault fault) {
    static constexpr std::array<std::string_view, fault_kinds> names{
        "delay",
        "loss",
        "duplication",
        "reordering",
        "partition",
        "one-way partition",
        "crash",
        "process killed",
        "torn write",
        "power cut",
        "flipped bit",
        "truncated file",
        "disk full",
        "disk error",
        "slow disk",
        "pause",
        "clock jump",
        "voter added",
        "voter removed",
        "node replaced",
        "leadership transfer",
        "snapshot installed",
        "participant crash",
        "participant late",
        "participant refusal",
        "participant busy",
        "replica crash",
        "replica pause",
        "database crash",
        "backend killed",
        "database connection lost",
        "database answer lost",
        "slow statement",
        "serialization failure",
        "deadlock",
        "failed statement",
        "failure ignored",
        "no room for prepared",
        "database clock jump",
        "client retry",
        "client asks another node",
        "client abort",
        "inquiry to a follower",
        "second decider",
        "xid re-used",
    };
    static_assert(!names.back().empty());
    return names[static_cast<std::size_t>(fault)];
}

FaultCounts& FaultCounts::operator+=(const FaultCounts& other) noexcept {
    for (std::size_t kind = 0; kind < fault_kinds; ++kind) {
        counts_[kind] += other.counts_[kind];
    }
    return *this;
}

} // namespace concordat::simulation
