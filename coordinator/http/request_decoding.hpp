#pragma once

// Request bodies to requests of the core.
//
// What: strict decoders (unknown members, repeated members and wrong types are complaints with JSON
// pointers) that cut each branch's payload out of the body as raw text, and the digest that decides
// "same body".
//
// Threading: pure functions. Errors: all complaints found; the request had no effect.

#include "coordinator/core/transaction_coordinator.hpp"
#include "coordinator/http/json_reader.hpp"

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::http {

inline constexpr std::size_t max_metadata_entries = 32;
inline constexpr std::size_t max_metadata_key_bytes = 64;
inline constexpr std::size_t max_metadata_value_bytes = 512;
inline constexpr std::size_t max_reason_bytes = 1024;

template <class Value>
using Decoded = std::expected<Value, std::vector<Complaint>>;

/// {protocol?, mode?, branches, timeout?, metadata?, wait_for?}. The number of branches is the
/// core's to judge, but more than `max_branches_read` are not read.
inline constexpr std::size_t max_branches_read = 1024;
[[nodiscard]] Decoded<core::BeginRequest> decode_begin(std::string_view body);

/// {participant, payload, timeout?}
[[nodiscard]] Decoded<core::BranchSpec> decode_branch(std::string_view body);

/// {wait_for?} for commit; {wait_for?, reason?, by_operator?} for abort. An empty body is {}.
struct DecideBody {
    core::WaitFor wait_for = core::WaitFor::decision;
    std::string reason;
    bool by_operator = false;
};
[[nodiscard]] Decoded<DecideBody> decode_commit(std::string_view body);
[[nodiscard]] Decoded<DecideBody> decode_abort(std::string_view body);

/// {reason?}; an empty body is {}.
[[nodiscard]] Decoded<std::string> decode_reason(std::string_view body);

/// {base_url, tls_name?, call_timeout?, max_concurrent_calls?}
[[nodiscard]] Decoded<core::ParticipantDefinition> decode_participant(std::string_view body);

/// {to?, reason?}; an empty body is {}.
struct TransferBody {
    std::optional<core::NodeId> to;
    std::string reason;
};
[[nodiscard]] Decoded<TransferBody> decode_transfer(std::string_view body);

/// {ballot: {round, proposer}, capability} for promise; and value for accept. A participant
/// proposes, so round and proposer are at least 1; both fit the numbers of the participants' own
/// ballots (32 and 16 bits).
inline constexpr std::size_t max_capability_bytes = 256;
struct BallotBody {
    core::Ballot ballot;
    core::Outcome value = core::Outcome::aborted; ///< accept only
    std::string capability;
};
[[nodiscard]] Decoded<BallotBody> decode_promise(std::string_view body);
[[nodiscard]] Decoded<BallotBody> decode_accept(std::string_view body);

/// SHA-256 over everything in a submission that makes it this transaction and no other: protocol,
/// mode, timeout, metadata and every branch with its payload's exact text. How the client wants to
/// wait is not part of it.
[[nodiscard]] core::Digest digest_of(const core::BeginRequest& request);

} // namespace concordat::http
