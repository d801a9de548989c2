// The slices of the sweep: every id is looked at in each pass, and none takes long.

#include "participant-sdk/relay/sweep.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <limits>

namespace concordat::relay {
namespace {

using std::chrono::milliseconds;

TEST(Sweep, looks_at_every_id_once_in_a_pass) {
    Sweep sweep;
    constexpr std::int64_t limit = 1'000'000;
    for (int pass = 0; pass < 3; ++pass) {
        std::int64_t covered = 0;
        for (Sweep::Slice slice = sweep.next(limit); !slice.empty(); slice = sweep.next(limit)) {
            EXPECT_EQ(slice.after, covered);
            covered = slice.upto;
            sweep.pass(slice, milliseconds(100));
        }
        EXPECT_EQ(covered, limit);
    }
}

TEST(Sweep, stays_until_the_slice_is_passed) {
    // A row found there is looked for a second time.
    Sweep sweep;
    const Sweep::Slice first = sweep.next(10);
    EXPECT_EQ(sweep.next(10).upto, first.upto);
    EXPECT_EQ(sweep.next(10).after, first.after);
}

TEST(Sweep, begins_anew_when_the_limit_goes_back) {
    Sweep sweep;
    sweep.pass(sweep.next(100), milliseconds(1));
    EXPECT_TRUE(sweep.next(50).empty());
    EXPECT_EQ(sweep.next(50).after, 0);
    EXPECT_EQ(sweep.next(50).upto, 50);
}

TEST(Sweep, has_narrower_slices_when_they_take_long_and_wider_ones_when_not) {
    constexpr std::int64_t endless = std::numeric_limits<std::int64_t>::max();
    Sweep sweep;
    const auto width = [&sweep] {
        const Sweep::Slice slice = sweep.next(endless);
        return slice.upto - slice.after;
    };
    EXPECT_EQ(width(), Sweep::first_width);
    sweep.pass(sweep.next(endless), milliseconds(201));
    EXPECT_EQ(width(), Sweep::first_width / 2);
    sweep.pass(sweep.next(endless), milliseconds(100));
    EXPECT_EQ(width(), Sweep::first_width / 2);
    sweep.pass(sweep.next(endless), milliseconds(49));
    EXPECT_EQ(width(), Sweep::first_width);
    sweep.fail();
    EXPECT_EQ(width(), Sweep::first_width / 16);
    for (int i = 0; i < 10; ++i) {
        sweep.fail();
    }
    EXPECT_EQ(width(), Sweep::narrowest);
    // Wide gaps are passed in few steps: ids of years, none of them in the table.
    int steps = 0;
    for (Sweep::Slice slice = sweep.next(endless / 1'000'000); !slice.empty(); ++steps) {
        sweep.pass(slice, milliseconds(1));
        slice = sweep.next(endless / 1'000'000);
    }
    EXPECT_LT(steps, 50);
}

} // namespace
} // namespace concordat::relay
