#include "coordinator/cli/documents.hpp"

#include <gtest/gtest.h>

namespace concordat::cli {
namespace {

// Columns are as wide as their widest cell, and lines have no trailing spaces.
TEST(Documents, formats_tables) {
    EXPECT_EQ(format_table({{"A", "LONGER"}, {"value", "x"}, {"y", ""}}),
              "A      LONGER\nvalue  x\ny\n");
    EXPECT_EQ(format_table({}), "");
}

// A payload goes into the body as it was typed.
TEST(Documents, writes_submissions) {
    SubmissionArguments arguments;
    arguments.branches = {{"orders", R"({"a": 1})"}, {"stock", "null"}};
    arguments.protocol = "3pc";
    arguments.metadata = {{"who", "a \"b\""}};
    EXPECT_EQ(
        submission_body(arguments),
        R"({"protocol":"3pc","metadata":{"who":"a \"b\""},"branches":)"
        R"([{"participant":"orders","payload":{"a": 1}},{"participant":"stock","payload":null}]})");
}

// A reason with quotes stays one JSON string.
TEST(Documents, writes_reasons) {
    EXPECT_EQ(reason_body("it's \"stuck\"", {{"by_operator", "true"}}),
              R"({"by_operator":true,"reason":"it's \"stuck\""})");
}

// Facts come from documents of the API and from nothing else.
TEST(Documents, reads_facts) {
    const auto facts =
        transaction_facts(R"({"xid":"x","state":"committed","outcome":"committed"})");
    ASSERT_TRUE(facts);
    EXPECT_TRUE(facts->finished());
    EXPECT_FALSE(transaction_facts("[]"));
    EXPECT_FALSE(transaction_facts("<html>"));
    EXPECT_FALSE(transaction_facts(R"({"state":"committed"})"));
    EXPECT_TRUE(cluster_facts(R"({"role":"follower","leader_id":2})")->has_leader);
    EXPECT_FALSE(cluster_facts(R"({"role":"candidate"})")->has_leader);
}

// A problem is told with what a person needs to act: code, detail, effect, places.
TEST(Documents, describes_problems) {
    ApiAnswer answer;
    answer.status = 400;
    answer.body = R"({"code":"invalid-request","title":"T","detail":"D","effect":"none",)"
                  R"("retryable":false,"errors":[{"pointer":"/a","detail":"is wrong"}]})";
    EXPECT_EQ(describe_problem(answer), "invalid-request: T: D (effect none)\n  /a is wrong");
    answer.body = "<html>";
    answer.status = 502;
    EXPECT_EQ(describe_problem(answer), "HTTP 502");
}

// Scripts act on exit codes: their meaning is fixed.
TEST(Documents, maps_statuses_to_exit_codes) {
    EXPECT_EQ(exit_code_for(200), ExitCode::ok);
    EXPECT_EQ(exit_code_for(422), ExitCode::refused);
    EXPECT_EQ(exit_code_for(404), ExitCode::not_found);
    EXPECT_EQ(exit_code_for(409), ExitCode::conflict);
    EXPECT_EQ(exit_code_for(410), ExitCode::conflict);
    EXPECT_EQ(exit_code_for(503), ExitCode::unhealthy);
    EXPECT_EQ(exit_code_for(504), ExitCode::outcome_unknown);
}

} // namespace
} // namespace concordat::cli
