#pragma once

// The names of the wire format's enumerations, in the order of their values; for the encoder and
// the decoder only.

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

namespace concordat::wire {

inline constexpr std::array<std::string_view, 6> operation_names{
    "prepare", "pre-commit", "commit", "abort", "commit-one-phase", "learn"};
inline constexpr std::array<std::string_view, 3> vote_names{"yes", "no", "read_only"};
inline constexpr std::array<std::string_view, 2> outcome_names{"committed", "aborted"};
inline constexpr std::array<std::string_view, 4> state_names{"unknown", "prepared", "committed",
                                                             "aborted"};

template <class Enum, std::size_t N>
std::optional<Enum> value_named(const std::array<std::string_view, N>& names,
                                std::string_view name) noexcept {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
        return std::nullopt;
    }
    return static_cast<Enum>(found - names.begin());
}

} // namespace concordat::wire
