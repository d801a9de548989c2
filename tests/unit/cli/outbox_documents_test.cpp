#include "coordinator/cli/documents.hpp"
#include "coordinator/cli/outbox_documents.hpp"

#include <gtest/gtest.h>

namespace concordat::cli {
namespace {

// A key that people can read is shown as text; any other as what can be typed back.
TEST(OutboxDocuments, shows_bytes_as_text_when_they_are_text) {
    EXPECT_EQ(readable_bytes("61c3bc"), "a\u00fc");
    EXPECT_EQ(readable_bytes(""), "");
    EXPECT_EQ(readable_bytes("ff00"), "\\xff00");
    EXPECT_EQ(readable_bytes("610a"), "\\x610a");
    EXPECT_EQ(readable_bytes("c3"), "\\xc3");
    EXPECT_EQ(readable_bytes("zz"), "\\xzz");
}

// A lag is told in the unit in which people think of it, and as unknown when it is.
TEST(OutboxDocuments, tells_durations) {
    EXPECT_EQ(readable_duration(-1), "unknown");
    EXPECT_EQ(readable_duration(1500), "1.5 s");
    EXPECT_EQ(readable_duration(300'000), "5 min");
    EXPECT_EQ(readable_duration(3 * 3'600'000), "3.0 h");
    EXPECT_EQ(readable_duration(72LL * 3'600'000), "3.0 d");
}

// A change names a key or a row, never both, and always who asks why.
TEST(OutboxDocuments, writes_changes) {
    EXPECT_EQ(change_body({.topic = "order", .key = "k\n", .id = {}}, "ann@host", "it's \"ok\""),
              R"({"by":"ann@host","key_hex":"6b0a","reason":"it's \"ok\"","topic":"order"})");
    EXPECT_EQ(change_body({.topic = {}, .key = {}, .id = 7}, "ann", "r"),
              R"({"by":"ann","id":7,"reason":"r"})");
}

// A relay's problem has no code of the coordinator's list: its own words are shown.
TEST(OutboxDocuments, describes_problems_of_a_relay) {
    ApiAnswer answer;
    answer.status = 403;
    answer.body =
        R"({"type":"about:blank","title":"Forbidden","status":403,"detail":"http.admin is off"})";
    EXPECT_EQ(describe_problem(answer), "Forbidden: http.admin is off");
}

} // namespace
} // namespace concordat::cli
