#pragma once

// Runs mutants until something notices them, each in a process of its own: a mutant may end its
// process by an assertion, or never come back.
//
// Threading: none; the calling process must have one thread, because it forks.

#include "tests/simulation/mutants/scenes.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace concordat::mutants {

struct HuntLimits {
    std::size_t jobs = 2;       ///< processes at a time
    std::uint64_t runs = 2'000; ///< of one mutant
    double seconds = 300;       ///< for one mutant, on a busy machine
    std::uint64_t survey = 0;   ///< > 0: that many runs, each catch is printed
};

/// How the hunt for one mutant ended.
struct Catch {
    bool caught = false;
    std::string what; ///< the broken check; "assertion: …", "signal …", "stuck: …" for processes
    std::uint64_t seed = 0;
    std::uint64_t runs = 0;
    double seconds = 0;
};

/// By the mutant's number. `report` hears of each as soon as its hunt has ended.
[[nodiscard]] std::map<int, Catch>
hunt(const std::vector<const Mutant*>& mutants, const HuntLimits& limits,
     const std::function<void(const Mutant&, const Catch&)>& report);
/// Seeds 1 to `count` without any mutant.
[[nodiscard]] Catch run_clean(Scene scene, std::uint64_t count, const HuntLimits& limits);
/// One run in this process: what was noticed, empty if nothing was.
[[nodiscard]] std::string outcome_of(const Mutant& mutant, std::uint64_t seed);

} // namespace concordat::mutants
