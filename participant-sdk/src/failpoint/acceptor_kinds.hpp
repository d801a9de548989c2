#pragma once

// Names of what an acceptor of quorum 3PC stores, for its failpoints. Empty but in test builds.

#include "participant-sdk/src/failpoint/failpoint.hpp"

#if defined(CONCORDAT_FAILPOINTS)

#    include <concordat/resource.hpp>

namespace concordat::failpoint {

/// What makes one state of an acceptor the next one.
[[nodiscard]] inline std::string_view kind_of_step(const AcceptorState& before,
                                                   const AcceptorState& after) {
    if (before.state != after.state) {
        return "refusal"; // asked to promise before it was asked to prepare
    }
    if (before.accepted != after.accepted) {
        return after.accepted == Ballot{} ? "pre_commit" : "accept";
    }
    return "promise";
}

} // namespace concordat::failpoint

#endif
