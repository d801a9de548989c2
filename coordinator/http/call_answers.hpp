#pragma once

// The meaning of a participant's answer.
//
// What: HTTP status, headers and body of one answer, or of one part of a batch, become the
// alternative of CallResult that the core reacts to.
// Why so suspicious: participants are written by others. Whatever is not exactly an answer of the
// contract is Unknown, and the core asks again; nothing is ever read as consent by accident.
//
// Threading: pure functions.

#include "coordinator/core/transaction_coordinator.hpp"
#include "participant-sdk/src/transport/message.hpp"
#include "participant-sdk/src/wire/participant_contract.hpp"

#include <chrono>
#include <optional>
#include <string_view>
#include <vector>

namespace concordat::http {

using CallAnswer = decltype(core::CallResult::answer);

[[nodiscard]] CallAnswer answer_from(core::Operation operation, const wire::BranchAnswer& answer);

/// The answer to a single call.
[[nodiscard]] CallAnswer answer_from(core::Operation operation,
                                     const transport::Response& response);

/// The answers to a batch, in its order; `operations` says what was asked.
[[nodiscard]] std::vector<CallAnswer>
answers_from_batch(const std::vector<core::Operation>& operations,
                   const transport::Response& response);

/// Retry-After in seconds; HTTP dates and nonsense are nothing.
[[nodiscard]] std::optional<std::chrono::milliseconds>
retry_after(const transport::Headers& headers);

} // namespace concordat::http
