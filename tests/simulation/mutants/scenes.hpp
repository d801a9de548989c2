#pragma once

// The seeded bugs, and where each is hunted: a scene runs the real code from a seed and throws as
// soon as one of its checks is broken. Without a mutant every seed of every scene is clean.
//
// Threading: none. A mutant may end the process or never return: each is run in a process of its
// own.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace concordat::mutants {

enum class Scene : std::uint8_t {
    world, ///< the whole system, tests/simulation
    group, ///< the consensus engine alone, more nodes and more elections
    disk,  ///< a data directory under power cuts, flipped bits and cut files
    core,  ///< one transaction core, server-made xids, short memory, repeated requests
    quorum ///< the SDK's acceptors and proposers of one transaction, any order of messages
};
inline constexpr Scene scenes[] = {Scene::world, Scene::group, Scene::disk, Scene::core,
                                   Scene::quorum};

struct Mutant {
    int number = 0; ///< what `active` is set to
    std::string name;
    std::string rule;
    std::string breaks;
    Scene scene = Scene::world;
    std::vector<std::string> caught_by; ///< beginnings of the texts that may catch it
};

/// Generated from catalogue.py.
[[nodiscard]] const std::vector<Mutant>& all_mutants();

/// One run from one seed; throws a std::exception whose text names the broken check.
void run_scene(Scene scene, std::uint64_t seed);
[[nodiscard]] const char* name_of(Scene scene);

void run_world(std::uint64_t seed);
void run_group(std::uint64_t seed);
void run_disk(std::uint64_t seed);
void run_core(std::uint64_t seed);
void run_quorum(std::uint64_t seed);

} // namespace concordat::mutants
