#pragma once

// Names of requests, results and replies, for the failpoints of the core loop. Empty but in test
// builds.

#include "coordinator/log/failpoint_kinds.hpp"
#include "participant-sdk/src/failpoint/operation_kinds.hpp"

#if defined(CONCORDAT_FAILPOINTS)

#    include "coordinator/core/transaction_coordinator.hpp"

namespace concordat::app {

[[nodiscard]] inline std::string_view kind_of(const core::ClientRequest& request) {
    constexpr std::array<std::string_view, std::variant_size_v<core::ClientRequest>> kinds{
        "begin",
        "enlist",
        "decide",
        "get",
        "list",
        "retry",
        "inquiry",
        "put_participant",
        "remove_participant",
        "list_participants",
        "promise",
        "accept"};
    return kinds[request.index()];
}

[[nodiscard]] inline std::string_view kind_of(const core::Reply& reply) {
    constexpr std::array<std::string_view, std::variant_size_v<core::Reply>> kinds{
        "transaction", "page", "inquiry", "participants", "acknowledged", "rejected", "ballot"};
    return kinds[reply.index()];
}

[[nodiscard]] inline std::string_view kind_of(const core::CallResult& result) {
    return failpoint::kind_of(result.key.operation);
}

} // namespace concordat::app

#endif
