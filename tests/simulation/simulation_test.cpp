// Runs of the whole system under faults. CONCORDAT_SEED=<first> and CONCORDAT_SEEDS=<count> choose
// them; a failure prints the seed that replays it.

#include "tests/simulation/world.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>

namespace concordat::simulation {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr || *text == '\0' ? otherwise : std::strtoull(text, nullptr, 10);
}

bool is_sanitized() {
    return from_environment("CONCORDAT_SANITIZED", 0) != 0;
}

/// The violation that a run ends with; empty when it ends well.
std::string violation_of(std::uint64_t seed, Bug bug) {
    try {
        World(seed, bug).run();
        return {};
    } catch (const Violation& violation) {
        return violation.what();
    }
}

// Under crashes, power cuts, partitions, pauses, slow disks, loss and duplication every invariant
// holds, and when the faults heal everything that was begun comes to its end.
TEST(Simulation, keeps_its_promises_under_all_faults) {
    const std::uint64_t first = from_environment("CONCORDAT_SEED", 1);
    const std::uint64_t count = from_environment("CONCORDAT_SEEDS", is_sanitized() ? 100 : 2'000);
    Milliseconds simulated = 0;
    std::size_t committed = 0;
    std::size_t aborted = 0;
    std::size_t crashes = 0;
    const auto started = std::chrono::steady_clock::now();
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        try {
            const Figures figures = World(seed, Bug::none).run();
            simulated += figures.simulated;
            committed += figures.committed;
            aborted += figures.aborted;
            crashes += figures.crashes;
        } catch (const Violation& violation) {
            FAIL() << violation.what() << "\nreplay: CONCORDAT_SEED=" << seed
                   << " CONCORDAT_SEEDS=1 simulation_test --gtest_filter='Simulation.keeps*'";
        }
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
    std::printf("%llu runs from seed %llu, %.1f simulated hours in %.1f s (%.0f x real time), "
                "%zu committed, %zu aborted, %zu crashes\n",
                static_cast<unsigned long long>(count), static_cast<unsigned long long>(first),
                static_cast<double>(simulated) / 3.6e6, took.count(),
                static_cast<double>(simulated) / 1000 / took.count(), committed, aborted, crashes);
    // A simulator in which nothing happens finds nothing.
    EXPECT_GT(committed, count * 10);
    EXPECT_GT(aborted, count * 5);
    EXPECT_GT(crashes, count * 2);
}

// The same seed gives the same run, event by event; otherwise no failure could be replayed.
TEST(Simulation, repeats_a_run_exactly) {
    for (const std::uint64_t seed : {7U, 8U, 9U}) {
        EXPECT_EQ(World(seed, Bug::none).run().fingerprint,
                  World(seed, Bug::none).run().fingerprint);
    }
    EXPECT_NE(World(7, Bug::none).run().fingerprint, World(8, Bug::none).run().fingerprint);
}

class SimulationBugs : public testing::TestWithParam<Bug> {};

// Each rule of the protocols, broken on purpose, is noticed within a few runs.
TEST_P(SimulationBugs, are_noticed) {
    const std::uint64_t limit = 2'000;
    for (std::uint64_t seed = 1; seed <= limit; ++seed) {
        const std::string violation = violation_of(seed, GetParam());
        if (!violation.empty()) {
            std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed),
                        violation.substr(0, violation.find('\n')).c_str());
            // It must be the bug that was noticed, not something that is wrong anyway.
            EXPECT_EQ(violation_of(seed, Bug::none), "");
            return;
        }
    }
    FAIL() << "not noticed in " << limit << " runs";
}

std::vector<Bug> all_bugs() {
    std::vector<Bug> bugs;
    for (int bug = static_cast<int>(Bug::none) + 1; bug <= static_cast<int>(last_bug); ++bug) {
        bugs.push_back(static_cast<Bug>(bug));
    }
    return bugs;
}

INSTANTIATE_TEST_SUITE_P(Rules, SimulationBugs, testing::ValuesIn(all_bugs()));

} // namespace
} // namespace concordat::simulation
