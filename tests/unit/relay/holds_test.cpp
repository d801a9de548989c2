#include "participant-sdk/relay/holds.hpp"

#include <gtest/gtest.h>

namespace concordat::relay {
namespace {

TEST(Holds, holds_a_parked_key_and_no_other) {
    // The same key under another topic, and rows without a key, go on.
    Holds holds;
    holds.park({.topic = "t", .key = "k", .row_id = 10});
    EXPECT_TRUE(holds.holds("t", "k", 11));
    EXPECT_FALSE(holds.holds("u", "k", 12));
    EXPECT_FALSE(holds.holds("t", "l", 13));
    EXPECT_FALSE(holds.holds("t", std::nullopt, 14));
}

TEST(Holds, goes_back_to_the_lowest_row_that_was_dropped) {
    // An earlier row of the key may have been given up after the key was parked.
    Holds holds;
    holds.park({.topic = "t", .key = "k", .row_id = 10});
    EXPECT_TRUE(holds.holds("t", "k", 7));
    EXPECT_FALSE(holds.replace_parked({{.topic = "t", .key = "k", .row_id = 10}}));
    EXPECT_EQ(holds.replace_parked({}), 7);
    EXPECT_FALSE(holds.holds("t", "k", 12));
}

TEST(Holds, releases_a_topic_with_its_lowest_row) {
    // A missing topic holds all its rows until it appears.
    Holds holds;
    holds.hold_topic("t", 20);
    EXPECT_TRUE(holds.holds("t", std::nullopt, 15));
    EXPECT_EQ(holds.held_topics(), std::vector<std::string>{"t"});
    EXPECT_EQ(holds.release_topic("t"), 15);
    EXPECT_EQ(holds.release_topic("t"), std::nullopt);
}

TEST(Holds, holds_the_topic_when_there_are_too_many_parked_keys) {
    // Memory is bounded: beyond the limit the whole topic waits.
    Holds holds;
    for (std::size_t i = 0; i < Holds::parked_key_limit; ++i) {
        holds.park({.topic = "t", .key = std::to_string(i), .row_id = 1});
    }
    holds.park({.topic = "u", .key = "one too many", .row_id = 5});
    EXPECT_EQ(holds.parked_keys(), Holds::parked_key_limit);
    EXPECT_TRUE(holds.holds("u", "any", 6));
}

} // namespace
} // namespace concordat::relay
