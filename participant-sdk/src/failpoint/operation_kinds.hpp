#pragma once

// Names of operations on a branch, for the failpoints of both sides. Empty but in test builds.

#include "participant-sdk/src/failpoint/failpoint.hpp"

#if defined(CONCORDAT_FAILPOINTS)

#    include <array>
#    include <cstddef>
#    include <type_traits>

namespace concordat::failpoint {

/// Of the wire's and of the core's Operation, whose values agree.
template <class Operation>
    requires std::is_enum_v<Operation>
[[nodiscard]] std::string_view kind_of(Operation operation) noexcept {
    constexpr std::array<std::string_view, 6> kinds{"prepare", "pre_commit", "commit",
                                                    "abort",   "one_phase",  "learn"};
    return kinds[static_cast<std::size_t>(operation)];
}

template <class Requests>
[[nodiscard]] Kinds kinds_of(const Requests& requests) {
    Kinds kinds;
    for (const auto& request : requests) {
        kinds.push_back(kind_of(request.operation));
    }
    return kinds;
}

} // namespace concordat::failpoint

#endif
