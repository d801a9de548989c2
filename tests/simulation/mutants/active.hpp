#pragma once

// The switch of the mutated sources: every seeded bug asks whether it is the one that is on.

namespace concordat::mutants {

/// Number of the mutant that is on; 0: none, the sources behave as they are written.
/// Set before the code under test runs, then only read.
inline int active = 0;

} // namespace concordat::mutants
