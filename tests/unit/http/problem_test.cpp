#include "coordinator/http/problem.hpp"

#include <gtest/gtest.h>

#include <set>

namespace concordat::http {
namespace {

using namespace std::chrono_literals;

// Names are unique, statuses are errors, and what may be repeated says when.
TEST(Problem, has_a_consistent_table) {
    std::set<std::string_view> names;
    for (const ProblemKind& kind : problem_kinds()) {
        EXPECT_TRUE(names.insert(kind.name).second) << kind.name;
        EXPECT_GE(kind.status, 400);
        const auto response = render({.code = kind.code});
        EXPECT_EQ(response.status, kind.status);
        EXPECT_EQ(response.content_type, "application/problem+json");
        EXPECT_EQ(response.headers.contains("Retry-After"), kind.retryable) << kind.name;
    }
}

// The body has everything a program acts on.
TEST(Problem, renders_what_programs_act_on) {
    const auto response = render({.code = ProblemCode::invalid_request,
                                  .detail = "a \"b\"",
                                  .xid = "x-1",
                                  .errors = {{Complaint::Place::body, "/a", "is wrong"},
                                             {Complaint::Place::query, "limit", "is odd"}}});
    EXPECT_EQ(
        response.body,
        R"({"type":"urn:concordat:problem:invalid-request","title":"The request is malformed",)"
        R"("status":400,"code":"invalid-request","effect":"none","retryable":false,)"
        R"("detail":"a \"b\"","xid":"x-1","errors":[{"pointer":"/a","detail":"is wrong"},)"
        R"({"parameter":"limit","detail":"is odd"}]})");
}

// A wait below a second is rounded up: zero would be an invitation to hammer.
TEST(Problem, rounds_retry_after_up) {
    const auto soon = render({.code = ProblemCode::overloaded, .retry_after = 50ms});
    EXPECT_EQ(soon.headers.find("Retry-After"), "1");
    const auto later = render({.code = ProblemCode::overloaded, .retry_after = 2100ms});
    EXPECT_EQ(later.headers.find("Retry-After"), "3");
}

// A lost leader is an unknown outcome; a node in search of a quorum says so.
TEST(Problem, maps_what_the_core_refused) {
    core::Rejected rejected;
    rejected.code = core::RejectCode::outcome_unknown;
    rejected.xid = core::Xid{"x-1"};
    EXPECT_EQ(problem_of(rejected, false).code, ProblemCode::outcome_unknown);
    EXPECT_EQ(problem_of(rejected, false).xid, "x-1");
    rejected.code = core::RejectCode::no_leader;
    EXPECT_EQ(problem_of(rejected, false).code, ProblemCode::no_leader);
    EXPECT_EQ(problem_of(rejected, true).code, ProblemCode::no_quorum);
}

} // namespace
} // namespace concordat::http
