#include "coordinator/http/call_answers.hpp"

#include <gtest/gtest.h>

namespace concordat::http {
namespace {

using namespace std::chrono_literals;
using core::CallResult;
using core::Operation;

transport::Response response(int status, std::string body, std::string_view retry = {}) {
    transport::Response out;
    out.status = status;
    out.body = std::move(body);
    if (!retry.empty()) {
        out.headers.add("Retry-After", retry);
    }
    return out;
}

template <class Wanted>
bool is(const CallAnswer& answer) {
    return std::holds_alternative<Wanted>(answer);
}

// A vote counts only when the answer says it in so many words.
TEST(CallAnswers, reads_votes) {
    const auto yes =
        answer_from(Operation::prepare, response(200, R"({"status":200,"vote":"yes"})"));
    ASSERT_TRUE(is<CallResult::Voted>(yes));
    EXPECT_EQ(std::get<CallResult::Voted>(yes).vote, core::Vote::yes);
    const auto no = answer_from(Operation::prepare,
                                response(200, R"({"status":200,"vote":"no","reason":"empty"})"));
    EXPECT_EQ(std::get<CallResult::Voted>(no).vote, core::Vote::no);
    EXPECT_EQ(std::get<CallResult::Voted>(no).reason, "empty");
    for (const char* nonsense :
         {"", "yes", "{}", R"({"status":200})", R"({"status":200,"vote":"YES"})",
          R"({"status":500,"vote":"yes"})", R"({"vote":"yes"})", "<html>vote: yes</html>"}) {
        EXPECT_TRUE(
            is<CallResult::Unknown>(answer_from(Operation::prepare, response(200, nonsense))))
            << nonsense;
    }
}

// Success of a second phase is Done, unless the participant reports the opposite outcome.
TEST(CallAnswers, reads_second_phases) {
    EXPECT_TRUE(
        is<CallResult::Done>(answer_from(Operation::commit, response(200, R"({"status":200})"))));
    EXPECT_TRUE(is<CallResult::Refused>(
        answer_from(Operation::commit, response(200, R"({"status":200,"outcome":"aborted"})"))));
    EXPECT_TRUE(is<CallResult::Refused>(
        answer_from(Operation::abort, response(200, R"({"status":200,"outcome":"committed"})"))));
    const auto learnt =
        answer_from(Operation::learn, response(200, R"({"status":200,"outcome":"aborted"})"));
    ASSERT_TRUE(is<CallResult::Decided>(learnt));
    EXPECT_EQ(std::get<CallResult::Decided>(learnt).outcome, core::Outcome::aborted);
    EXPECT_TRUE(is<CallResult::Unknown>(
        answer_from(Operation::commit_one_phase, response(200, R"({"status":200})"))));
}

// 409 is a refusal for good, 425 and 429 are later, 503 only when it says when.
TEST(CallAnswers, separates_refusals_from_later) {
    EXPECT_TRUE(is<CallResult::Refused>(
        answer_from(Operation::prepare, response(409, R"({"status":409,"reason":"tombstone"})"))));
    EXPECT_TRUE(
        is<CallResult::Unknown>(answer_from(Operation::prepare, response(409, "Conflict"))));
    EXPECT_TRUE(is<CallResult::Later>(answer_from(Operation::prepare, response(429, ""))));
    EXPECT_TRUE(is<CallResult::Unknown>(answer_from(Operation::prepare, response(503, ""))));
    const auto header = answer_from(Operation::prepare, response(503, "<busy/>", "2"));
    ASSERT_TRUE(is<CallResult::Later>(header));
    EXPECT_EQ(std::get<CallResult::Later>(header).retry_after, 2s);
    const auto body = answer_from(Operation::prepare,
                                  response(503, R"({"status":503,"retry_after_ms":120})", "2"));
    ASSERT_TRUE(is<CallResult::Later>(body));
    EXPECT_EQ(std::get<CallResult::Later>(body).retry_after, 120ms) << "the finer figure wins";
    EXPECT_TRUE(is<CallResult::Unknown>(answer_from(Operation::prepare, response(500, "{}"))));
    EXPECT_TRUE(is<CallResult::Unknown>(answer_from(Operation::prepare, response(302, ""))));
}

// A batch is read answer by answer; when the numbers differ nothing in it is believed.
TEST(CallAnswers, reads_batches) {
    const std::vector<Operation> two{Operation::prepare, Operation::commit};
    const auto good = answers_from_batch(
        two,
        response(200,
                 R"({"answers":[{"status":200,"vote":"yes"},{"status":503,"retry_after_ms":5}]})"));
    ASSERT_EQ(good.size(), 2U);
    EXPECT_TRUE(is<CallResult::Voted>(good[0]));
    EXPECT_TRUE(is<CallResult::Later>(good[1]));
    for (const auto& bad :
         {response(200, R"({"answers":[{"status":200,"vote":"yes"}]})"), response(200, "[]"),
          response(409, R"({"status":409})"), response(500, "")}) {
        for (const CallAnswer& answer : answers_from_batch(two, bad)) {
            EXPECT_TRUE(is<CallResult::Unknown>(answer)) << bad.body;
        }
    }
    EXPECT_TRUE(is<CallResult::Later>(answers_from_batch(two, response(503, "", "1"))[1]));
}

} // namespace
} // namespace concordat::http
