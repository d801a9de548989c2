#include "participant-sdk/relay/partitions.hpp"

#include <gtest/gtest.h>

namespace concordat::relay {
namespace {

using Clock = Partitions::Clock;
using std::chrono::hours;

const Clock::time_point now = Clock::time_point{} + hours(1000);

Partitions three_partitions() {
    Partitions partitions;
    partitions.set_count(3);
    return partitions;
}

TEST(Partitions, the_first_record_travels_alone_until_it_is_acknowledged) {
    // O4: a broker takes any batch of a producer that it does not know there.
    Partitions partitions = three_partitions();
    EXPECT_FALSE(partitions.must_wait(1));
    partitions.sent(1, now);
    EXPECT_TRUE(partitions.must_wait(1));
    EXPECT_FALSE(partitions.must_wait(0)) << "the others have a first record of their own";
    EXPECT_TRUE(partitions.acknowledged(1, now));
    partitions.reported(1);
    for (int record = 0; record < 5; ++record) {
        EXPECT_FALSE(partitions.must_wait(1));
        partitions.sent(1, now);
    }
    EXPECT_FALSE(partitions.acknowledged(1, now)) << "it was open already";
}

TEST(Partitions, nothing_passes_a_record_that_waits) {
    Partitions partitions = three_partitions();
    partitions.sent(1, now);
    partitions.waits(1);
    std::ignore = partitions.acknowledged(1, now);
    partitions.reported(1);
    EXPECT_FALSE(partitions.opening(1)) << "the one that waits may go";
    EXPECT_TRUE(partitions.must_wait(1)) << "those behind it may not";
    EXPECT_FALSE(partitions.must_wait(0));
    partitions.waits_no_more(1);
    EXPECT_FALSE(partitions.must_wait(1));
}

TEST(Partitions, a_failed_first_record_opens_nothing) {
    Partitions partitions = three_partitions();
    partitions.sent(1, now);
    partitions.reported(1);
    EXPECT_FALSE(partitions.must_wait(1)) << "another may try";
    partitions.sent(1, now);
    EXPECT_TRUE(partitions.must_wait(1));
}

TEST(Partitions, a_new_producer_is_unknown_to_the_broker) {
    Partitions partitions = three_partitions();
    partitions.sent(2, now);
    std::ignore = partitions.acknowledged(2, now);
    partitions.reported(2);
    partitions.forget_producer();
    partitions.sent(2, now);
    EXPECT_TRUE(partitions.must_wait(2));
}

TEST(Partitions, brokers_forget_producers_that_are_silent) {
    Partitions partitions = three_partitions();
    partitions.sent(0, now);
    std::ignore = partitions.acknowledged(0, now);
    partitions.reported(0);

    const Clock::time_point soon = now + Partitions::idle_limit / 2;
    partitions.sent(0, soon);
    EXPECT_FALSE(partitions.must_wait(0));
    // On the way for long is not idle: the broker has the records before it.
    const Clock::time_point late = soon + 2 * Partitions::idle_limit;
    partitions.sent(0, late);
    EXPECT_FALSE(partitions.must_wait(0));
    partitions.reported(0);
    partitions.reported(0);
    std::ignore = partitions.acknowledged(0, late);

    partitions.sent(0, late + Partitions::idle_limit);
    EXPECT_TRUE(partitions.must_wait(0));
}

TEST(Partitions, a_topic_may_grow_and_shrink_under_way) {
    Partitions partitions = three_partitions();
    EXPECT_TRUE(partitions.acknowledged(7, now)) << "known to the producer first";
    partitions.set_count(8);
    EXPECT_EQ(partitions.count(), 8);
    partitions.sent(7, now);
    EXPECT_FALSE(partitions.must_wait(7));
    partitions.set_count(2);
    partitions.reported(7);
    EXPECT_LT(partitions.of("key"), 2);
}

} // namespace
} // namespace concordat::relay
