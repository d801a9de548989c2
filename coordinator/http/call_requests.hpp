#pragma once

// A call of the core as the participant contract spells it. Used by the caller and by the
// simulator, so that both send the same.
//
// Threading: pure.

#include "coordinator/core/transaction_coordinator.hpp"
#include "participant-sdk/src/wire/participant_contract.hpp"

#include <string>
#include <vector>

namespace concordat::http {

/// `coordinators`: base URLs at which the participant may inquire; told with PREPARE only.
[[nodiscard]] wire::BranchRequest branch_request(const core::ParticipantCall& call,
                                                 const std::vector<std::string>& coordinators);

} // namespace concordat::http
