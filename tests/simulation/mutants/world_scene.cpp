#include "tests/simulation/mutants/scenes.hpp"
#include "tests/simulation/world.hpp"

namespace concordat::mutants {

void run_world(std::uint64_t seed) {
    static_cast<void>(simulation::World(seed, simulation::Bug::none).run());
}

} // namespace concordat::mutants
