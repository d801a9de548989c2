// Runs of the whole system under faults. CONCORDAT_SEED=<first> and CONCORDAT_SEEDS=<count> choose
// them; a failure prints the seed that replays it.

#include "tests/simulation/story_teller.hpp"
#include "tests/simulation/world.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>

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

/// What the suite as a whole must have injected of every kind, per 2,000 seeds.
constexpr std::uint64_t least_injections = 1'000;
constexpr std::uint64_t full_run = 2'000;
constexpr double least_hours = 100;

struct Sums {
    Milliseconds simulated = 0;
    std::size_t committed = 0;
    std::size_t aborted = 0;
    FaultCounts faults;
    double seconds = 0; ///< of processor time
};

void print(const Sums& sums, std::uint64_t first, std::uint64_t count) {
    std::printf("%llu runs from seed %llu: %.1f simulated hours in %.0f s of processor time "
                "(%.0f x real time), %zu committed, %zu aborted, 0 violations\n",
                static_cast<unsigned long long>(count), static_cast<unsigned long long>(first),
                static_cast<double>(sums.simulated) / 3.6e6, sums.seconds,
                static_cast<double>(sums.simulated) / 1000 / sums.seconds, sums.committed,
                sums.aborted);
    std::printf("%-28s %12s\n", "injected", "times");
    for (std::size_t kind = 0; kind < fault_kinds; ++kind) {
        const auto fault = static_cast<Fault>(kind);
        std::printf("%-28s %12llu\n", std::string(name_of(fault)).c_str(),
                    static_cast<unsigned long long>(sums.faults.of(fault)));
    }
}

// Under every kind of fault every invariant holds, and when the faults heal everything that was
// begun comes to its end. The table shows that every kind was really injected.
TEST(Simulation, keeps_its_promises_under_all_faults) {
    std::uint64_t first = from_environment("CONCORDAT_SEED", 1);
    std::uint64_t count = from_environment("CONCORDAT_SEEDS", is_sanitized() ? 20 : full_run);
    // The test command runs two halves side by side.
    if (const std::uint64_t half = from_environment("CONCORDAT_HALF", 0); half != 0 && count > 1) {
        count /= 2;
        first += (half - 1) * count;
    }
    Sums sums;
    const std::clock_t started = std::clock();
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        try {
            const Figures figures = World(seed, Bug::none).run();
            sums.simulated += figures.simulated;
            sums.committed += figures.committed;
            sums.aborted += figures.aborted;
            sums.faults += figures.faults;
        } catch (const Violation& violation) {
            FAIL() << violation.what() << "\nseed " << seed << "; replay: CONCORDAT_SEED=" << seed
                   << " CONCORDAT_SEEDS=1 build/release/bin/simulation_test "
                      "--gtest_filter='Simulation.keeps*'"
                   << "\nits story: build/release/bin/simulation_story --seed " << seed;
        }
    }
    sums.seconds = static_cast<double>(std::clock() - started) / CLOCKS_PER_SEC;
    print(sums, first, count);
    // A simulator in which nothing happens finds nothing.
    EXPECT_GT(sums.committed, count * 100);
    EXPECT_GT(sums.aborted, count * 50);
    if (count >= full_run / 2) { // fewer are a sample
        EXPECT_GE(static_cast<double>(sums.simulated) / 3.6e6 * full_run,
                  least_hours * static_cast<double>(count));
        for (std::size_t kind = 0; kind < fault_kinds; ++kind) {
            EXPECT_GE(sums.faults.of(static_cast<Fault>(kind)) * full_run, least_injections * count)
                << name_of(static_cast<Fault>(kind));
        }
    }
}

// The same seed gives the same run, event by event; otherwise no failure could be replayed.
TEST(Simulation, repeats_a_run_exactly) {
    for (const std::uint64_t seed : {7U, 8U, 9U}) {
        EXPECT_EQ(World(seed, Bug::none).run().fingerprint,
                  World(seed, Bug::none).run().fingerprint);
    }
    EXPECT_NE(World(7, Bug::none).run().fingerprint, World(8, Bug::none).run().fingerprint);
}

// The story of a seed is the same text every time, and can be told of one transaction alone.
TEST(Story, is_told_of_a_seed_or_of_one_transaction) {
    const std::string all = tell_story({.seed = 3, .xid = {}, .bug = Bug::none});
    EXPECT_EQ(all, tell_story({.seed = 3, .xid = {}, .bug = Bug::none}));
    EXPECT_NE(all.find("the run ends well"), std::string::npos);
    const std::size_t name = all.find("transaction ") + std::string_view{"transaction "}.size();
    const std::string first = all.substr(name, all.find('\n', name) - name);

    const std::string one = tell_story({.seed = 3, .xid = first, .bug = Bug::none});
    EXPECT_TRUE(one.starts_with("transaction " + first + "\n")) << one.substr(0, 200);
    EXPECT_EQ(one.find("transaction ", 1), std::string::npos) << "another one's";
    EXPECT_NE(one.find("begin"), std::string::npos);
    EXPECT_NE(one.find("told_"), std::string::npos);
}

class SimulationBugs : public testing::TestWithParam<Bug> {};

// Each rule of the protocols, broken on purpose, is noticed within a few runs.
TEST_P(SimulationBugs, are_noticed) {
    const std::uint64_t limit = 300;
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
