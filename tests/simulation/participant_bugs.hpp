#pragma once

// The bugs of faults.hpp that belong to a participant: each breaks a rule of the protocols around
// the SDK's own code.

#include "tests/simulation/faults.hpp"
#include "tests/simulation/modelled_postgres.hpp"
#include "tests/simulation/timeline.hpp"

#include <concordat/resource.hpp>

#include <memory>

namespace concordat::simulation {

/// `resource` itself when the bug is none of its kind.
[[nodiscard]] std::shared_ptr<Resource> misbehaving(std::shared_ptr<Resource> resource, Bug bug,
                                                    Timeline& timeline, ModelledPostgres& database);

} // namespace concordat::simulation
