// Every seeded bug must be noticed, by one of the checks that its entry in the catalogue names.
//
//   mutants_test                                   all of them, two at a time
//   mutants_test --gtest_filter='*/<name>'         one of them
//   CONCORDAT_MUTANT=<name> CONCORDAT_SEED=<n> mutants_test
//                                                  one run in this process, for a debugger
//
// CONCORDAT_JOBS=<n> changes how many run at a time, CONCORDAT_SURVEY=<n> does not stop at the
// first catch but says what the first n seeds are caught by.

#include "tests/simulation/mutants/hunt.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

namespace concordat::mutants {
namespace {

constexpr std::uint64_t least_clean_seeds = 12;

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr || *text == '\0' ? otherwise : std::strtoull(text, nullptr, 10);
}

HuntLimits limits() {
    HuntLimits limits;
    limits.jobs = from_environment("CONCORDAT_JOBS", limits.jobs);
    limits.survey = from_environment("CONCORDAT_SURVEY", 0);
    return limits;
}

bool will_run(const testing::TestInfo& test, const Mutant& mutant) {
    return test.should_run() && std::string{test.name()} == "are_caught/" + mutant.name;
}

/// Those that the filter leaves.
std::vector<const Mutant*> wanted() {
    std::vector<const Mutant*> chosen;
    const testing::UnitTest& unit = *testing::UnitTest::GetInstance();
    for (int i = 0; i < unit.total_test_suite_count(); ++i) {
        const testing::TestSuite& suite = *unit.GetTestSuite(i);
        for (int j = 0; j < suite.total_test_count(); ++j) {
            for (const Mutant& mutant : all_mutants()) {
                if (will_run(*suite.GetTestInfo(j), mutant)) {
                    chosen.push_back(&mutant);
                }
            }
        }
    }
    return chosen;
}

std::string replay_command(const Mutant& mutant, std::uint64_t seed) {
    return "CONCORDAT_MUTANT=" + mutant.name + " CONCORDAT_SEED=" + std::to_string(seed) +
           " build/release/bin/mutants_test";
}

void print(const Mutant& mutant, const Catch& found) {
    if (!found.caught) {
        std::printf("%s (%s)\n  NOT CAUGHT in %llu runs of %s, %.1f s\n", mutant.name.c_str(),
                    mutant.rule.c_str(), static_cast<unsigned long long>(found.runs),
                    name_of(mutant.scene), found.seconds);
    } else {
        std::printf("%s (%s)\n  caught by: %s\n  at seed %llu of %s, after %llu runs, in %.1f s\n"
                    "  replay: %s\n",
                    mutant.name.c_str(), mutant.rule.c_str(), found.what.c_str(),
                    static_cast<unsigned long long>(found.seed), name_of(mutant.scene),
                    static_cast<unsigned long long>(found.runs), found.seconds,
                    replay_command(mutant, found.seed).c_str());
    }
    std::fflush(stdout);
}

/// By number; filled before the first test of a mutant.
std::map<int, Catch>& catches() {
    static std::map<int, Catch> found = hunt(wanted(), limits(), print);
    return found;
}

bool is_expected(const Mutant& mutant, const std::string& what) {
    return std::ranges::any_of(mutant.caught_by,
                               [&](const std::string& text) { return what.starts_with(text); });
}

class SeededBugs : public testing::TestWithParam<Mutant> {};

// The mutant is noticed, and by a check that is meant for it.
TEST_P(SeededBugs, are_caught) {
    const Mutant& mutant = GetParam();
    const Catch& found = catches().at(mutant.number);
    ASSERT_TRUE(found.caught) << mutant.name << " (" << mutant.rule << ") was not noticed in "
                              << found.runs << " runs: " << mutant.breaks;
    EXPECT_TRUE(is_expected(mutant, found.what))
        << mutant.name << " was caught by another check than the catalogue says: " << found.what;
}

std::string test_name(const testing::TestParamInfo<Mutant>& mutant) {
    return mutant.param.name;
}

INSTANTIATE_TEST_SUITE_P(Rules, SeededBugs, testing::ValuesIn(all_mutants()), test_name);

// Without a mutant the same seeds are clean: it was the mutant that was noticed, nothing else.
TEST(Mutants, none_is_noticed_at_the_same_seeds) {
    std::map<Scene, std::uint64_t> last;
    for (const Scene scene : scenes) {
        last[scene] = least_clean_seeds;
    }
    for (const Mutant* mutant : wanted()) {
        last[mutant->scene] = std::max(last[mutant->scene], catches().at(mutant->number).seed);
    }
    for (const auto& [scene, count] : last) {
        const Catch found = run_clean(scene, count, limits());
        EXPECT_FALSE(found.caught)
            << name_of(scene) << ", seed " << found.seed << ": " << found.what;
        EXPECT_EQ(found.runs, count) << name_of(scene);
        std::printf("%s: seeds 1 to %llu are clean\n", name_of(scene),
                    static_cast<unsigned long long>(count));
    }
}

// There are enough of them that a gap in the checks would show.
TEST(Mutants, are_many) {
    EXPECT_GE(all_mutants().size(), 25U);
}

} // namespace

void PrintTo(const Mutant& mutant, std::ostream* out) {
    *out << mutant.name;
}

/// For a developer: one run of one mutant in this process.
int replay(const char* name) {
    const auto mutant = std::ranges::find(all_mutants(), std::string{name}, &Mutant::name);
    if (mutant == all_mutants().end()) {
        std::fprintf(stderr, "there is no mutant %s\n", name);
        return 2;
    }
    const std::string what = outcome_of(*mutant, from_environment("CONCORDAT_SEED", 1));
    std::printf("%s\n", what.empty() ? "nothing is noticed" : what.c_str());
    return what.empty() ? 0 : 1;
}

} // namespace concordat::mutants

int main(int argc, char** argv) {
    if (const char* name = std::getenv("CONCORDAT_MUTANT")) {
        return concordat::mutants::replay(name);
    }
    testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
