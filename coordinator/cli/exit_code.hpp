#pragma once

// Exit codes of `concordat`: scripts act on them, so they never change their meaning.

#include <string_view>

namespace concordat::cli {

enum class ExitCode : int {
    ok = 0,
    refused = 1,         ///< the coordinator understood and said no, or the transaction is aborted
    usage = 2,           ///< wrong arguments; nothing was sent
    unreachable = 3,     ///< no server answered; nothing happened
    not_found = 4,       ///< no such transaction or participant
    conflict = 5,        ///< decided otherwise, in use, or closed
    outcome_unknown = 6, ///< sent, but what became of it is not known (yet)
    unhealthy = 7        ///< a server answered that it cannot work now
};

/// Of an HTTP status of the API.
[[nodiscard]] ExitCode exit_code_for(int status) noexcept;

} // namespace concordat::cli
