#pragma once

// The story of one seed for a human reader: transaction by transaction, what its client asked, what
// the log said, what every participant did, and what went wrong in between.

#include "tests/simulation/faults.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace concordat::simulation {

struct StoryRequest {
    std::uint64_t seed = 1;
    std::optional<std::string> xid; ///< only this transaction; else all, and the world's own lines
    Bug bug = Bug::none;
};

/// The same request gives the same text. A violation is the story's last line.
[[nodiscard]] std::string tell_story(const StoryRequest& request);

/// Name of a bug as in its declaration.
[[nodiscard]] std::string_view name_of(Bug bug);
[[nodiscard]] std::optional<Bug> bug_named(std::string_view name);

} // namespace concordat::simulation
