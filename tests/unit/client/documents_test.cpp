#include "participant-sdk/src/client/documents.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace concordat::client {
namespace {

using nlohmann::json;

// Purpose: a submission must say everything that was asked for, and nothing that was not.
TEST(Documents, write_submissions) {
    Submission submission;
    submission.protocol = Protocol::three_phase;
    submission.branches = {{"orders", R"({"a":[1]})", std::chrono::milliseconds(250)},
                           {"stock", ""}};
    submission.timeout = std::chrono::seconds(9);
    submission.metadata = {{"k", "v\"w"}};
    submission.wait_for = WaitFor::completion;
    const json expected = {
        {"protocol", "3pc"},
        {"mode", "submit"},
        {"branches",
         {{{"participant", "orders"}, {"payload", {{"a", {1}}}}, {"timeout", "250ms"}},
          {{"participant", "stock"}, {"payload", nullptr}}}},
        {"timeout", "9000ms"},
        {"metadata", {{"k", "v\"w"}}},
        {"wait_for", "completion"}};
    EXPECT_EQ(json::parse(write_submission(submission, Mode::submit)), expected);
    const json plain = json::parse(write_submission({}, Mode::interactive));
    EXPECT_EQ(plain,
              (json{{"protocol", "2pc"}, {"mode", "interactive"}, {"branches", json::array()}}));
}

// Purpose: payloads travel as the caller's bytes; what is not JSON must be found before sending.
TEST(Documents, check_payloads) {
    EXPECT_EQ(check_payload(""), "");
    EXPECT_EQ(check_payload(R"( {"a": 1.50} )"), "");
    EXPECT_NE(check_payload("{"), "");
    EXPECT_NE(check_payload("1 2"), "");
    EXPECT_NE(write_branch({"p", "{\"a\": 1.50}", {}}).find("{\"a\": 1.50}"), std::string::npos);
}

// Purpose: an answer is understood with members that this version does not know, and refused when
// what it needs is missing.
TEST(Documents, read_transactions) {
    const auto status = read_transaction(
        R"({"xid":"x","state":"committing","outcome":"committed","reason":"all_voted_yes",)"
        R"("log_index":77,"new":{"deep":[1]},"branches":[{"branch":0,"participant":"p",)"
        R"("phase":"committed","attempts":1}]})");
    ASSERT_TRUE(status);
    EXPECT_EQ(status->outcome, Outcome::committed);
    EXPECT_EQ(status->changed_index, 77U);
    ASSERT_EQ(status->branches.size(), 1U);
    EXPECT_EQ(status->branches[0].state, "committed");
    for (const char* bad :
         {"", "{}", R"({"xid":"x"})", R"({"xid":"x","state":"s","outcome":"maybe"})"}) {
        ASSERT_FALSE(read_transaction(bad)) << bad;
        EXPECT_EQ(read_transaction(bad).error().effect, Effect::unknown);
    }
}

// Purpose: without a problem document the effect of a failed request is unknown.
TEST(Documents, read_problems) {
    const ClientError told = read_problem(
        503, R"({"code":"no-leader","effect":"none","retryable":true,"detail":"d","xid":"x"})");
    EXPECT_EQ(told.code, "no-leader");
    EXPECT_EQ(told.effect, Effect::none);
    EXPECT_TRUE(told.retryable);
    EXPECT_EQ(told.http_status, 503);
    const ClientError proxy = read_problem(502, "<html>");
    EXPECT_EQ(proxy.code, "bad-answer");
    EXPECT_EQ(proxy.effect, Effect::unknown);
    EXPECT_TRUE(proxy.retryable);
    EXPECT_FALSE(read_problem(404, "").retryable);
}

} // namespace
} // namespace concordat::client
