#include "coordinator/http/problem.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>

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

std::string content_of(const std::string& path) {
    std::ifstream file(std::string(CONCORDAT_SOURCE_DIR "/") + path);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Code, status, effect and retryable of every kind stand in the reference and in the contract.
TEST(Problem, is_documented) {
    const std::string reference = content_of("docs/reference/errors.md");
    const std::string contract = content_of("openapi.yaml");
    std::size_t rows = 0;
    for (std::size_t at = reference.find("\n| `"); at != std::string::npos;
         at = reference.find("\n| `", at + 1)) {
        ++rows;
    }
    EXPECT_EQ(rows, problem_kinds().size() + 3) << "three rows explain members";
    for (const ProblemKind& kind : problem_kinds()) {
        const std::string row = "\n| `" + std::string(kind.name) + "` | " +
                                std::to_string(kind.status) + " | " +
                                (kind.effect == Effect::none ? "none" : "unknown") + " | " +
                                (kind.retryable ? "yes" : "no") + " | ";
        EXPECT_NE(reference.find(row), std::string::npos) << row;
        EXPECT_NE(contract.find("- " + std::string(kind.name) + "\n"), std::string::npos)
            << kind.name;
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
