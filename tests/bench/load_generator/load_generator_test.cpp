// The figures of docs/performance.md rest on these two: the histogram and the reading of counters.
#include "tests/bench/load_generator/histogram.hpp"
#include "tests/bench/load_generator/observation.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <random>
#include <vector>

namespace concordat::bench {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// Quantiles of a wide distribution lie at most 1.6 % above the exact ones.
TEST(Histogram, quantiles_are_within_their_bound_when_values_span_decades) {
    std::mt19937_64 random(7);
    std::lognormal_distribution<double> distribution(14.0, 2.0);
    Histogram histogram;
    std::vector<nanoseconds> samples;
    for (int sample = 0; sample < 20'000; ++sample) {
        const nanoseconds value{2'000 + static_cast<nanoseconds::rep>(distribution(random))};
        samples.push_back(value);
        histogram.record(value);
    }
    std::sort(samples.begin(), samples.end());
    for (const double fraction : {0.01, 0.5, 0.9, 0.99, 0.999}) {
        const auto rank = static_cast<std::size_t>(fraction * static_cast<double>(samples.size()));
        const auto exact = static_cast<double>(samples[rank - 1].count());
        const auto reported = static_cast<double>(histogram.quantile(fraction).count());
        EXPECT_GE(reported, exact) << fraction;
        EXPECT_LE(reported, exact * 1.016 + 256) << fraction;
    }
    EXPECT_EQ(histogram.maximum(), samples.back());
}

// A run without a single answer reports zeros and does not divide by them.
TEST(Histogram, reports_zero_when_it_is_empty) {
    const Histogram histogram;
    EXPECT_EQ(histogram.quantile(0.99), nanoseconds{0});
    EXPECT_EQ(histogram.mean(), nanoseconds{0});
}

// Values beyond the range are counted at its edge, and the exact maximum is kept.
TEST(Histogram, clamps_when_a_value_is_out_of_range) {
    Histogram histogram;
    histogram.record(nanoseconds{-5});
    histogram.record(std::chrono::hours{24 * 400});
    EXPECT_EQ(histogram.count(), 2U);
    EXPECT_EQ(histogram.maximum(), std::chrono::hours{24 * 400});
}

// Merging gives what recording everything in one place would give.
TEST(Histogram, equals_one_histogram_when_two_are_merged) {
    Histogram left;
    Histogram right;
    Histogram both;
    for (int value = 1; value <= 1000; ++value) {
        (value % 2 == 0 ? left : right).record(microseconds{value});
        both.record(microseconds{value});
    }
    left.merge(right);
    EXPECT_EQ(left.count(), both.count());
    EXPECT_EQ(left.quantile(0.75), both.quantile(0.75));
    EXPECT_EQ(left.mean(), both.mean());
}

// Only whole metric names count, labels are summed, comments are skipped.
TEST(Metrics, sums_series_when_a_metric_has_labels) {
    const char* exposition = "# TYPE concordat_log_fsyncs_total counter\n"
                             "concordat_log_fsyncs_total{file=\"a\"} 3\n"
                             "concordat_log_fsyncs_total{file=\"b\"} 4\n"
                             "concordat_log_fsyncs_total_other 100\n";
    EXPECT_EQ(metric_in(exposition, "concordat_log_fsyncs_total"), 7.0);
    EXPECT_EQ(metric_in(exposition, "concordat_missing"), std::nullopt);
}

// CPU time of a process grows with the work it does; a process that is not there has none.
TEST(CpuTime, grows_when_the_process_works) {
    const auto before = cpu_time_of(getpid());
    ASSERT_TRUE(before.has_value());
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{60};
    auto now = before;
    while (now == before && std::chrono::steady_clock::now() < deadline) {
        now = cpu_time_of(getpid());
    }
    EXPECT_GT(now, before);
    EXPECT_EQ(cpu_time_of(-1), std::nullopt);
}

} // namespace

} // namespace concordat::bench
