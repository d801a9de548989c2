#include "coordinator/http/time_text.hpp"

#include <gtest/gtest.h>

namespace concordat::http {
namespace {

using namespace std::chrono_literals;

// Times are RFC 3339 in UTC with milliseconds.
TEST(TimeText, writes_times) {
    std::string out;
    append_time(out, core::WallTime{1769846400007ms});
    EXPECT_EQ(out, "\"2026-01-31T08:00:00.007Z\"");
}

// Durations have a number and a unit, and survive being written and read.
TEST(TimeText, reads_and_writes_durations) {
    EXPECT_EQ(parse_duration("250ms"), 250ms);
    EXPECT_EQ(parse_duration("0s"), 0s);
    EXPECT_EQ(parse_duration("90m"), 90min);
    for (const char* bad :
         {"", "s", "10", "-1s", "+1s", "1 s", "1.5s", "1d", "9000h", "99999999999999999999s"}) {
        EXPECT_FALSE(parse_duration(bad)) << bad;
    }
    EXPECT_EQ(format_duration(1h), "1h");
    EXPECT_EQ(format_duration(90s), "90s");
    EXPECT_EQ(format_duration(1500ms), "1500ms");
    EXPECT_EQ(format_duration(0ms), "0ms");
}

} // namespace
} // namespace concordat::http
