#pragma once

// Errors of the HTTP API: RFC 9457 problem documents, one table of codes.
//
// What: every 4xx and 5xx answer, those of the HTTP parser included, is built here, with a stable
// `code`, the `effect` the request had and whether the same request may be sent again.
// Why one table: a client acts on code, effect and retryable; docs/reference/errors.md and
// openapi.yaml list the same codes, which a test compares.
//
// Threading: pure functions.

#include "coordinator/core/transaction_coordinator.hpp"
#include "coordinator/http/json_reader.hpp"
#include "participant-sdk/src/transport/message.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::http {

enum class ProblemCode : std::uint8_t {
    invalid_request,
    unauthenticated,
    forbidden,
    route_not_found,
    transaction_not_found,
    participant_not_found,
    method_not_allowed,
    request_timeout,
    already_decided,
    registration_closed,
    participant_in_use,
    transfer_refused,
    xid_closed,
    payload_too_large,
    unsupported_media_type,
    idempotency_key_reused,
    xid_reused,
    unknown_participant,
    too_many_branches,
    unsupported_protocol,
    header_too_large,
    internal_error,
    overloaded,
    no_leader,
    no_quorum,
    not_ready,
    outcome_unknown,
};

/// What the refused request did to the transaction: nothing, nobody knows, all of it.
enum class Effect : std::uint8_t { none, unknown, applied };

struct ProblemKind {
    ProblemCode code;
    std::string_view name; ///< in the body: "no-leader"
    int status;
    std::string_view title;
    Effect effect;
    bool retryable; ///< the same request may succeed later, without a change
};

/// All kinds, in the order of ProblemCode.
[[nodiscard]] std::span<const ProblemKind> problem_kinds() noexcept;
[[nodiscard]] const ProblemKind& kind_of(ProblemCode code) noexcept;

struct Problem {
    ProblemCode code = ProblemCode::internal_error;
    std::string detail{};
    std::string xid{};
    std::vector<Complaint> errors{};
    std::optional<core::Duration> retry_after{}; ///< retryable kinds get one second when absent
    std::optional<Effect> effect{};              ///< when it differs from the kind's
};

/// The answer, with Retry-After and, for 401, WWW-Authenticate.
[[nodiscard]] transport::Response render(const Problem& problem);

/// What the core refused. `campaigning`: this node is looking for a quorum, so a missing leader
/// means that there is none to be had now.
[[nodiscard]] Problem problem_of(const core::Rejected& rejected, bool campaigning);

} // namespace concordat::http
