#include "coordinator/core/call_scheduler.hpp"

#include <gtest/gtest.h>

#include <array>

namespace concordat::core {
namespace {

class CallScheduling : public ::testing::Test {
protected:
    CallScheduling() {
        scheduler.set_limit(a, 2);
        scheduler.set_limit(b, 1);
        for (QueuedCall& call : calls) {
            call.lane = &scheduler.lane(a);
        }
        other.lane = &scheduler.lane(b);
    }
    const ParticipantName a{"a"};
    const ParticipantName b{"b"};
    CallScheduler scheduler;
    std::array<QueuedCall, 4> calls;
    QueuedCall other;
};

// A participant never has more calls in flight than its cap; a freed slot lets the next one go.
TEST_F(CallScheduling, obeys_the_cap_of_a_participant) {
    for (QueuedCall& call : calls) {
        scheduler.enqueue(call, false);
    }
    EXPECT_EQ(scheduler.take(), &calls[0]);
    EXPECT_EQ(scheduler.take(), &calls[1]);
    EXPECT_EQ(scheduler.take(), nullptr);
    EXPECT_EQ(scheduler.queued(), 2U);
    scheduler.finished(scheduler.lane(a));
    EXPECT_EQ(scheduler.take(), &calls[2]);
    EXPECT_EQ(scheduler.take(), nullptr);
}

// A full lane does not hold up another one, and ready lanes take turns.
TEST_F(CallScheduling, lets_other_participants_pass) {
    for (QueuedCall& call : calls) {
        scheduler.enqueue(call, false);
    }
    scheduler.enqueue(other, false);
    EXPECT_EQ(scheduler.take(), &calls[0]);
    EXPECT_EQ(scheduler.take(), &other);
    EXPECT_EQ(scheduler.take(), &calls[1]);
    EXPECT_EQ(scheduler.take(), nullptr);
}

// What ends a branch goes before what starts one.
TEST_F(CallScheduling, prefers_urgent_calls) {
    scheduler.enqueue(calls[0], false);
    scheduler.enqueue(calls[1], true);
    EXPECT_EQ(scheduler.take(), &calls[1]);
    EXPECT_EQ(scheduler.take(), &calls[0]);
}

// A cancelled call is never taken, wherever it stood in its queue.
TEST_F(CallScheduling, drops_cancelled_calls) {
    for (QueuedCall& call : calls) {
        scheduler.enqueue(call, false);
    }
    scheduler.cancel(calls[0]);
    scheduler.cancel(calls[2]);
    scheduler.cancel(calls[2]);
    EXPECT_EQ(scheduler.queued(), 2U);
    EXPECT_EQ(scheduler.take(), &calls[1]);
    EXPECT_EQ(scheduler.take(), &calls[3]);
    EXPECT_EQ(scheduler.take(), nullptr);
}

// A raised cap is used at once, a cap of zero still lets one call through.
TEST_F(CallScheduling, follows_a_changed_cap) {
    for (QueuedCall& call : calls) {
        scheduler.enqueue(call, false);
    }
    static_cast<void>(scheduler.take());
    static_cast<void>(scheduler.take());
    EXPECT_EQ(scheduler.take(), nullptr);
    scheduler.set_limit(a, 3);
    EXPECT_EQ(scheduler.take(), &calls[2]);
    scheduler.set_limit(b, 0);
    scheduler.enqueue(other, false);
    EXPECT_EQ(scheduler.take(), &other);
}

} // namespace
} // namespace concordat::core
