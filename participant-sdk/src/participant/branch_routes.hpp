#pragma once

// The request targets of the participant contract.

#include "participant-sdk/src/wire/participant_contract.hpp"

#include <concordat/identifiers.hpp>

#include <cstdint>
#include <optional>
#include <string_view>

namespace concordat::participant {

struct BranchRoute {
    enum class Kind : std::uint8_t { operation, status, promise, accept, batch };
    Kind kind = Kind::batch;
    std::optional<BranchKey> key; ///< all but batch
    wire::Operation operation = wire::Operation::prepare;
    std::string_view method = "POST"; ///< the only one that is allowed
};

/// Nothing when the path names nothing of the contract.
[[nodiscard]] std::optional<BranchRoute> branch_route(std::string_view path);

} // namespace concordat::participant
