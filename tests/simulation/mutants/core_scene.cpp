#include "tests/simulation/mutants/scenes.hpp"

namespace concordat::mutants {

void run_core(std::uint64_t) {}

} // namespace concordat::mutants
