#include "coordinator/http/problem.hpp"

#include "coordinator/core/assert.hpp"
#include "participant-sdk/src/wire/json_text.hpp"

#include <algorithm>
#include <array>

namespace concordat::http {
namespace {

using enum ProblemCode;

constexpr std::array<ProblemKind, 27> kinds{{
    {invalid_request, "invalid-request", 400, "The request is malformed", Effect::none, false},
    {unauthenticated, "unauthenticated", 401, "Credentials are missing or wrong", Effect::none,
     false},
    {forbidden, "forbidden", 403, "The caller's role may not do this", Effect::none, false},
    {route_not_found, "route-not-found", 404, "No such resource", Effect::none, false},
    {transaction_not_found, "transaction-not-found", 404, "No such transaction", Effect::none,
     false},
    {participant_not_found, "participant-not-found", 404, "No such participant", Effect::none,
     false},
    {method_not_allowed, "method-not-allowed", 405, "The resource has no such method", Effect::none,
     false},
    {request_timeout, "request-timeout", 408, "The request did not arrive in time", Effect::none,
     true},
    {already_decided, "already-decided", 409, "The transaction has another outcome", Effect::none,
     false},
    {registration_closed, "registration-closed", 409, "The transaction takes no more branches",
     Effect::none, false},
    {participant_in_use, "participant-in-use", 409, "Unfinished transactions name the participant",
     Effect::none, true},
    {transfer_refused, "transfer-refused", 409, "Leadership cannot be handed over now",
     Effect::none, true},
    {xid_closed, "xid-closed", 410, "The transaction ended and was forgotten", Effect::none, false},
    {payload_too_large, "payload-too-large", 413, "The body is larger than the limit", Effect::none,
     false},
    {unsupported_media_type, "unsupported-media-type", 415, "The body must be application/json",
     Effect::none, false},
    {idempotency_key_reused, "idempotency-key-reused", 422,
     "The idempotency key belongs to another request", Effect::none, false},
    {xid_reused, "xid-reused", 422, "The xid belongs to another request", Effect::none, false},
    {unknown_participant, "unknown-participant", 422, "A branch names an unregistered participant",
     Effect::none, false},
    {too_many_branches, "too-many-branches", 422, "The transaction has too many branches",
     Effect::none, false},
    {unsupported_protocol, "unsupported-protocol", 422, "The protocol cannot be used here",
     Effect::none, false},
    {header_too_large, "header-too-large", 431, "The header is larger than the limit", Effect::none,
     false},
    {internal_error, "internal-error", 500, "The coordinator failed", Effect::unknown, false},
    {overloaded, "overloaded", 503, "The coordinator is at one of its limits", Effect::none, true},
    {no_leader, "no-leader", 503, "No leader is known", Effect::none, true},
    {no_quorum, "no-quorum", 503, "The cluster has no quorum", Effect::none, true},
    {not_ready, "not-ready", 503, "The node is not ready for work", Effect::none, true},
    {outcome_unknown, "outcome-unknown", 504, "The effect of the request is unknown",
     Effect::unknown, true},
}};

constexpr bool in_order() {
    for (std::size_t i = 0; i < kinds.size(); ++i) {
        if (static_cast<std::size_t>(kinds[i].code) != i) {
            return false;
        }
    }
    return true;
}
static_assert(in_order());

std::string_view name_of(Effect effect) noexcept {
    switch (effect) {
    case Effect::none:
        return "none";
    case Effect::unknown:
        return "unknown";
    case Effect::applied:
        return "applied";
    }
    return "unknown";
}

std::string_view name_of(Complaint::Place place) noexcept {
    switch (place) {
    case Complaint::Place::body:
        return "pointer";
    case Complaint::Place::query:
        return "parameter";
    case Complaint::Place::header:
        return "header";
    }
    return "pointer";
}

void append_errors(std::string& body, const std::vector<Complaint>& errors) {
    body += ",\"errors\":[";
    for (const Complaint& error : errors) {
        body += &error == errors.data() ? "{\"" : ",{\"";
        body += name_of(error.place);
        body += "\":";
        wire::append_json_string(body, error.where);
        body += ",\"detail\":";
        wire::append_json_string(body, error.detail);
        body += '}';
    }
    body += ']';
}

ProblemCode code_of(core::RejectCode code, bool campaigning) noexcept {
    switch (code) {
    case core::RejectCode::invalid_request:
        return invalid_request;
    case core::RejectCode::transaction_not_found:
        return transaction_not_found;
    case core::RejectCode::already_decided:
        return already_decided;
    case core::RejectCode::registration_closed:
        return registration_closed;
    case core::RejectCode::idempotency_key_reused:
        return idempotency_key_reused;
    case core::RejectCode::xid_reused:
        return xid_reused;
    case core::RejectCode::xid_closed:
        return xid_closed;
    case core::RejectCode::unknown_participant:
        return unknown_participant;
    case core::RejectCode::participant_in_use:
        return participant_in_use;
    case core::RejectCode::participant_not_found:
        return participant_not_found;
    case core::RejectCode::too_many_branches:
        return too_many_branches;
    case core::RejectCode::overloaded:
        return overloaded;
    case core::RejectCode::no_leader:
        return campaigning ? no_quorum : no_leader;
    case core::RejectCode::outcome_unknown:
        return outcome_unknown;
    case core::RejectCode::unsupported_protocol:
        return unsupported_protocol;
    }
    return internal_error;
}

} // namespace

std::span<const ProblemKind> problem_kinds() noexcept {
    return kinds;
}

const ProblemKind& kind_of(ProblemCode code) noexcept {
    const auto index = static_cast<std::size_t>(code);
    CONCORDAT_ASSERT(index < kinds.size());
    return kinds[index];
}

transport::Response render(const Problem& problem) {
    const ProblemKind& kind = kind_of(problem.code);
    transport::Response response;
    response.status = kind.status;
    response.content_type = "application/problem+json";
    std::string& body = response.body;
    body = "{\"type\":\"urn:concordat:problem:";
    body += kind.name;
    body += "\",\"title\":";
    wire::append_json_string(body, kind.title);
    body += ",\"status\":";
    wire::append_json_number(body, static_cast<std::uint64_t>(kind.status));
    body += ",\"code\":\"";
    body += kind.name;
    body += "\",\"effect\":\"";
    body += name_of(problem.effect.value_or(kind.effect));
    body += "\",\"retryable\":";
    body += kind.retryable ? "true" : "false";
    if (!problem.detail.empty()) {
        body += ",\"detail\":";
        wire::append_json_string(body, problem.detail);
    }
    if (!problem.xid.empty()) {
        body += ",\"xid\":";
        wire::append_json_string(body, problem.xid);
    }
    if (!problem.errors.empty()) {
        append_errors(body, problem.errors);
    }
    body += '}';
    if (kind.retryable) {
        const auto wait = std::chrono::ceil<std::chrono::seconds>(
            problem.retry_after.value_or(std::chrono::seconds{1}));
        response.headers.add("Retry-After",
                             std::to_string(std::max<std::int64_t>(wait.count(), 1)));
    }
    if (kind.status == 401) {
        response.headers.add("WWW-Authenticate", "Bearer realm=\"concordat\"");
    }
    return response;
}

Problem problem_of(const core::Rejected& rejected, bool campaigning) {
    Problem problem;
    problem.code = code_of(rejected.code, campaigning);
    problem.detail = rejected.detail;
    if (rejected.xid) {
        problem.xid = rejected.xid->value();
    }
    problem.retry_after = rejected.retry_after;
    return problem;
}

} // namespace concordat::http
