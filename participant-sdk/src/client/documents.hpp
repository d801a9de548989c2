#pragma once

// The JSON of the coordinator's API, as far as the client needs it.
//
// Threading: pure functions. Errors: a body that cannot be understood is a ClientError "bad-answer"
// whose effect is unknown. Members that this version does not know are skipped.

#include <concordat/client.hpp>

#include <chrono>
#include <string>
#include <string_view>

namespace concordat::client {

enum class Mode : std::uint8_t { submit, interactive };

[[nodiscard]] std::string write_submission(const Submission& submission, Mode mode);
[[nodiscard]] std::string write_branch(const BranchOrder& branch);
[[nodiscard]] std::string write_wait_for(WaitFor wait_for);
[[nodiscard]] std::string write_registration(const ParticipantRegistration& where);
[[nodiscard]] std::string write_duration(std::chrono::milliseconds duration); ///< "250ms"

[[nodiscard]] ClientResult<TransactionStatus> read_transaction(std::string_view body);
/// Of any answer that is not 2xx, also one that some proxy made.
[[nodiscard]] ClientError read_problem(int status, std::string_view body);

/// An error of the caller's own, found before anything is sent; empty = none.
[[nodiscard]] std::string check_payload(std::string_view payload);

} // namespace concordat::client
