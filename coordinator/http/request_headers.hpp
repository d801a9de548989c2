#pragma once

// The request headers and query parameters that change what a route does: Prefer, Idempotency-Key,
// traceparent, entity tags, and the parameters of reads and lists.
//
// Threading: pure functions, but for the random span id of next_traceparent (thread-local state).
// Errors: complaints, added to the caller's list; nothing has happened.
// Source: RFC 7240 (Prefer), RFC 9110 §8.8.3 and §13 (ETag), W3C Trace Context level 1.

#include "coordinator/core/transaction_coordinator.hpp"
#include "coordinator/http/json_reader.hpp"
#include "participant-sdk/src/transport/message.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::http {

inline constexpr std::size_t max_idempotency_key_bytes = 255;

struct Preferences {
    bool respond_async = false;
    std::optional<core::Duration> wait;
};

/// Unknown preferences are ignored, as RFC 7240 demands; a malformed wait is a complaint.
[[nodiscard]] Preferences parse_prefer(const transport::Headers& headers,
                                       std::vector<Complaint>& complaints);

/// Empty when absent. 1 to 255 visible ASCII characters; surrounding quotes are taken off.
[[nodiscard]] std::string idempotency_key(const transport::Headers& headers,
                                          std::vector<Complaint>& complaints);

/// The same trace with a span of ours as parent; empty when there is no valid traceparent.
[[nodiscard]] std::string next_traceparent(const transport::Headers& headers);

/// `"42"`, the entity tag of a transaction.
[[nodiscard]] std::string entity_tag(core::LogIndex index);
/// True when If-None-Match names this state.
[[nodiscard]] bool matches_entity_tag(const transport::Headers& headers, core::LogIndex index);

/// Fills in the parameters of GET /v1/transactions/{xid}: consistency, wait_index, wait.
void parse_get_query(std::string_view query, core::GetRequest& request,
                     std::vector<Complaint>& complaints);
/// The parameters of GET /v1/transactions: state, decided, participant, older_than, in_doubt,
/// xid_prefix, cursor, limit.
void parse_list_query(std::string_view query, core::ListRequest& request,
                      std::vector<Complaint>& complaints);
/// The one parameter `reason` of DELETE requests, which have no body.
[[nodiscard]] std::string parse_reason_query(std::string_view query,
                                             std::vector<Complaint>& complaints);
/// For routes that take no parameters.
void refuse_query(std::string_view query, std::vector<Complaint>& complaints);

/// The opaque cursor of a list and back; nothing when it was not made here.
[[nodiscard]] std::string make_cursor(std::string_view last_xid);
[[nodiscard]] std::optional<std::string> read_cursor(std::string_view cursor);

[[nodiscard]] std::string_view name_of(core::TransactionState state) noexcept;

} // namespace concordat::http
