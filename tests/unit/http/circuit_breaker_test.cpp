#include "coordinator/http/circuit_breaker.hpp"

#include <gtest/gtest.h>

namespace concordat::http {
namespace {

using namespace std::chrono_literals;

// After enough failures in a row calls are held back, then one probe decides.
TEST(CircuitBreaker, opens_and_probes) {
    CircuitBreaker breaker(3, 100ms);
    CircuitBreaker::Clock::time_point now{};
    for (int i = 0; i < 3; ++i) {
        EXPECT_TRUE(breaker.allow(now));
        breaker.failed(now);
    }
    EXPECT_FALSE(breaker.allow(now + 99ms));
    EXPECT_TRUE(breaker.allow(now + 100ms));
    EXPECT_FALSE(breaker.allow(now + 100ms)) << "only one probe at a time";
    breaker.failed(now + 110ms);
    EXPECT_FALSE(breaker.allow(now + 209ms));
    EXPECT_TRUE(breaker.allow(now + 210ms));
    breaker.succeeded();
    EXPECT_TRUE(breaker.allow(now + 210ms));
    EXPECT_TRUE(breaker.allow(now + 210ms));
}

// Failures that successes interrupt never open it.
TEST(CircuitBreaker, counts_only_failures_in_a_row) {
    CircuitBreaker breaker(2, 100ms);
    const CircuitBreaker::Clock::time_point now{};
    for (int i = 0; i < 5; ++i) {
        breaker.failed(now);
        breaker.succeeded();
    }
    EXPECT_TRUE(breaker.allow(now));
}

} // namespace
} // namespace concordat::http
