#include "participant-sdk/src/participant/batch.hpp"

#include <gtest/gtest.h>

#include <future>

namespace concordat::participant {
namespace {

using namespace std::chrono_literals;

wire::BranchAnswer with_status(std::uint16_t status) {
    wire::BranchAnswer answer;
    answer.status = status;
    return answer;
}

// Purpose: a batch whose operations have all ended is answered once, in the order of operations.
TEST(PendingBatch, answers_when_the_last_operation_ends) {
    std::vector<std::string> bodies;
    PendingBatch batch({with_status(503), with_status(503)}, with_status(429),
                       [&](std::string body) { bodies.push_back(body); });
    batch.set(1, with_status(409));
    EXPECT_TRUE(bodies.empty());
    batch.set(0, with_status(200));
    batch.close();
    ASSERT_EQ(bodies.size(), 1U);
    const auto answers = wire::decode_answer_batch(bodies[0]);
    ASSERT_TRUE(answers);
    EXPECT_EQ((*answers)[0].status, 200);
    EXPECT_EQ((*answers)[1].status, 409);
}

// Purpose: an operation that outlasts the patience is told "later" and its late end is ignored.
TEST(BatchPatience, answers_for_operations_that_still_run) {
    std::promise<std::string> promise;
    auto body = promise.get_future();
    BatchPatience patience(10ms);
    const auto batch = std::make_shared<PendingBatch>(
        std::vector{with_status(503), with_status(503)}, with_status(429),
        [&](std::string text) { promise.set_value(std::move(text)); });
    batch->set(0, with_status(200));
    EXPECT_TRUE(batch->begin(1));
    patience.watch(batch);
    ASSERT_EQ(body.wait_for(5s), std::future_status::ready);
    const auto answers = wire::decode_answer_batch(body.get());
    ASSERT_TRUE(answers);
    EXPECT_EQ((*answers)[0].status, 200);
    EXPECT_EQ((*answers)[1].status, 503);
    batch->set(1, with_status(200));
}

// Purpose: an operation that nobody has begun when the batch is answered must not be run any more:
// its repetition would wait behind work that is for nobody.
TEST(PendingBatch, drops_operations_that_were_not_begun_in_time) {
    std::string body;
    PendingBatch batch({with_status(500), with_status(500)}, with_status(503),
                       [&](std::string text) { body = std::move(text); });
    EXPECT_TRUE(batch.begin(0));
    batch.close();
    EXPECT_FALSE(batch.begin(1));
    const auto answers = wire::decode_answer_batch(body);
    ASSERT_TRUE(answers);
    EXPECT_EQ((*answers)[0].status, 500) << "it runs: its effect is unknown";
    EXPECT_EQ((*answers)[1].status, 503) << "nothing was done";
}

// Purpose: a batch that is slow but moves must not be cut short, nor one in which nothing has ended
// yet; one that has stopped moving must.
TEST(PendingBatch, is_closed_when_it_makes_no_more_progress) {
    int answered = 0;
    PendingBatch batch({with_status(503), with_status(503), with_status(503)}, with_status(503),
                       [&](const std::string&) { ++answered; });
    EXPECT_FALSE(batch.close_if_stalled()) << "nothing has ended";
    batch.set(0, with_status(200));
    EXPECT_FALSE(batch.close_if_stalled());
    batch.set(1, with_status(200));
    EXPECT_FALSE(batch.close_if_stalled());
    EXPECT_EQ(answered, 0);
    EXPECT_TRUE(batch.close_if_stalled());
    EXPECT_EQ(answered, 1);
}

// Purpose: a batch in which nothing ever ends is answered all the same.
TEST(BatchPatience, is_not_endless) {
    std::promise<void> answered;
    BatchPatience patience(1ms);
    patience.watch(
        std::make_shared<PendingBatch>(std::vector{with_status(500)}, with_status(503),
                                       [&](const std::string&) { answered.set_value(); }));
    EXPECT_EQ(answered.get_future().wait_for(5s), std::future_status::ready);
}

// Purpose: a stopped watcher must not leave a batch unanswered.
TEST(BatchPatience, answers_what_is_left_when_it_stops) {
    int answered = 0;
    BatchPatience patience(1h);
    const auto make = [&] {
        return std::make_shared<PendingBatch>(std::vector{with_status(503)}, with_status(429),
                                              [&](const std::string&) { ++answered; });
    };
    patience.watch(make());
    patience.stop();
    EXPECT_EQ(answered, 1);
    patience.watch(make());
    EXPECT_EQ(answered, 2);
}

} // namespace
} // namespace concordat::participant
