#include "coordinator/core/timer_queue.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace concordat::core {
namespace {

Instant at(std::int64_t nanoseconds) {
    return Instant{Duration{nanoseconds}};
}

TimerEvent named(std::uint64_t name) {
    return {TimerEvent::Kind::wait_limit, BranchNumber{}, nullptr, RequestToken{name}};
}

// Timers fire by time, and in the order of their making when they are due together.
TEST(TimerQueue, fires_in_order_of_time_then_of_making) {
    TimerQueue queue;
    static_cast<void>(queue.add(at(5), named(1)));
    static_cast<void>(queue.add(at(3), named(2)));
    static_cast<void>(queue.add(at(5), named(3)));
    EXPECT_EQ(queue.next(), at(3));
    EXPECT_EQ(queue.pop_due(at(2)), std::nullopt);
    EXPECT_EQ(queue.pop_due(at(9))->token, RequestToken{2});
    EXPECT_EQ(queue.pop_due(at(9))->token, RequestToken{1});
    EXPECT_EQ(queue.pop_due(at(9))->token, RequestToken{3});
    EXPECT_EQ(queue.next(), std::nullopt);
}

// A cancelled timer never fires, its handle is none afterwards, cancelling none is harmless.
TEST(TimerQueue, forgets_what_is_cancelled) {
    TimerQueue queue;
    TimerQueue::Handle handle = queue.add(at(1), named(1));
    queue.cancel(handle);
    EXPECT_EQ(handle, 0U);
    queue.cancel(handle);
    EXPECT_EQ(queue.size(), 0U);
    EXPECT_EQ(queue.pop_due(at(9)), std::nullopt);
}

// Against a sorted model: any mix of adding, cancelling and firing gives the same timers.
TEST(TimerQueue, agrees_with_a_sorted_model_under_random_use) {
    std::mt19937_64 random(11);
    TimerQueue queue;
    std::map<std::pair<Instant, std::uint64_t>, TimerQueue::Handle> model;
    std::int64_t now = 0;
    for (std::uint64_t name = 1; name < 20'000; ++name) {
        const auto what = random() % 4;
        if (what < 2) {
            const Instant due = at(now + static_cast<std::int64_t>(random() % 500));
            model[{due, name}] = queue.add(due, named(name));
        } else if (what == 2 && !model.empty()) {
            auto place = model.begin();
            std::advance(place, static_cast<std::ptrdiff_t>(random() % model.size()));
            queue.cancel(place->second);
            model.erase(place);
        } else {
            now += static_cast<std::int64_t>(random() % 50);
            while (const auto event = queue.pop_due(at(now))) {
                ASSERT_FALSE(model.empty());
                ASSERT_EQ(model.begin()->first.second, event->token.value());
                model.erase(model.begin());
            }
            ASSERT_TRUE(model.empty() || model.begin()->first.first > at(now));
        }
        ASSERT_EQ(queue.size(), model.size());
    }
}

} // namespace
} // namespace concordat::core
