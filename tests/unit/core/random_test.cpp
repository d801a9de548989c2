#include "coordinator/core/random.hpp"

#include <gtest/gtest.h>

#include <set>

namespace concordat::core {
namespace {

using namespace std::chrono_literals;

// The back-off doubles up to its cap and is spread over the whole interval from zero.
TEST(FullJitter, stays_below_the_doubled_and_capped_limit) {
    JitterSource source(1);
    const auto largest = [&](std::uint32_t tries) {
        Duration most{};
        for (int i = 0; i < 2'000; ++i) {
            const Duration delay = full_jitter(source, 50ms, 5s, tries);
            EXPECT_GE(delay, Duration::zero());
            most = std::max(most, delay);
        }
        return most;
    };
    EXPECT_LE(largest(0), 50ms);
    EXPECT_GT(largest(0), 45ms);
    EXPECT_LE(largest(3), 400ms);
    EXPECT_GT(largest(3), 360ms);
    EXPECT_LE(largest(1'000'000), 5s);
    EXPECT_GT(largest(1'000'000), 4'500ms);
}

// A limit of zero and a cap below the first interval must neither divide by zero nor wait longer.
TEST(FullJitter, obeys_tiny_limits) {
    JitterSource source(1);
    EXPECT_EQ(full_jitter(source, 0ms, 0ms, 3), Duration::zero());
    EXPECT_LE(full_jitter(source, 50ms, 1ms, 3), 1ms);
    EXPECT_EQ(source.up_to(-1ms), Duration::zero());
}

// Capabilities never repeat within a source, differ between seeds, and are replayed by the seed.
TEST(CapabilitySource, gives_distinct_and_reproducible_secrets) {
    CapabilitySource source(7);
    CapabilitySource same(7);
    CapabilitySource other(8);
    std::set<std::string> seen;
    for (int i = 0; i < 10'000; ++i) {
        const std::string capability = source.next();
        EXPECT_EQ(capability.size(), 32U);
        EXPECT_EQ(capability, same.next());
        EXPECT_NE(capability, other.next());
        EXPECT_TRUE(seen.insert(capability).second);
    }
    EXPECT_NE(source.next_number(), 0U);
}

} // namespace
} // namespace concordat::core
