#include "coordinator/http/request_headers.hpp"

#include <gtest/gtest.h>

namespace concordat::http {
namespace {

using namespace std::chrono_literals;

transport::Headers with(std::string_view name, std::string_view value) {
    transport::Headers headers;
    headers.add(name, value);
    return headers;
}

// Prefer lists preferences; the ones that are not known are ignored.
TEST(RequestHeaders, reads_preferences) {
    std::vector<Complaint> complaints;
    const auto both =
        parse_prefer(with("prefer", "handling=lenient, wait=10 , respond-async;x=1"), complaints);
    EXPECT_TRUE(both.respond_async);
    EXPECT_EQ(both.wait, 10s);
    EXPECT_TRUE(complaints.empty());
    EXPECT_FALSE(parse_prefer({}, complaints).wait);
    static_cast<void>(parse_prefer(with("Prefer", "wait=soon"), complaints));
    EXPECT_EQ(complaints.size(), 1U);
}

// An idempotency key is one bounded, visible word.
TEST(RequestHeaders, checks_idempotency_keys) {
    std::vector<Complaint> complaints;
    EXPECT_EQ(idempotency_key(with("Idempotency-Key", "\"k-1\""), complaints), "k-1");
    EXPECT_EQ(idempotency_key({}, complaints), "");
    EXPECT_TRUE(complaints.empty());
    for (const std::string& bad : {std::string(), std::string("a b"), std::string(256, 'x')}) {
        complaints.clear();
        EXPECT_EQ(idempotency_key(with("Idempotency-Key", bad), complaints), "");
        EXPECT_EQ(complaints.size(), 1U) << bad;
    }
}

// The trace goes on under a span of ours; a malformed one is dropped, not passed on.
TEST(RequestHeaders, continues_a_trace) {
    const std::string given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const std::string next = next_traceparent(with("traceparent", given));
    EXPECT_EQ(next.substr(0, 36), given.substr(0, 36));
    EXPECT_NE(next.substr(36, 16), given.substr(36, 16));
    EXPECT_EQ(next.substr(52), "-01");
    for (const char* bad : {"", "00-abc", "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"}) {
        EXPECT_EQ(next_traceparent(with("traceparent", bad)), "") << bad;
    }
}

// If-None-Match compares weakly and takes lists.
TEST(RequestHeaders, matches_entity_tags) {
    const core::LogIndex index{42};
    EXPECT_EQ(entity_tag(index), "\"42\"");
    EXPECT_TRUE(matches_entity_tag(with("If-None-Match", "\"41\", W/\"42\""), index));
    EXPECT_TRUE(matches_entity_tag(with("If-None-Match", "*"), index));
    EXPECT_FALSE(matches_entity_tag(with("If-None-Match", "\"421\""), index));
    EXPECT_FALSE(matches_entity_tag({}, index));
}

// Every list parameter reaches the core; wrong, unknown and repeated ones are complaints.
TEST(RequestHeaders, reads_list_parameters) {
    core::ListRequest request;
    std::vector<Complaint> complaints;
    parse_list_query("state=committing&participant=orders&older_than=5m&in_doubt=true&xid_prefix=a&"
                     "decided=false&limit=7&cursor=" +
                         make_cursor("g0-1-9"),
                     request, complaints);
    EXPECT_TRUE(complaints.empty());
    EXPECT_EQ(request.state, core::TransactionState::committing);
    EXPECT_EQ(request.participant->value(), "orders");
    EXPECT_EQ(request.older_than, 5min);
    EXPECT_TRUE(request.in_doubt);
    EXPECT_EQ(request.decided, false);
    EXPECT_EQ(request.limit, 7U);
    EXPECT_EQ(request.after_xid, "g0-1-9");
    for (const char* bad :
         {"state=open", "limit=0", "limit=201", "limit=x", "older_than=5", "participant=A",
          "cursor=zz", "what=1", "limit=1&limit=2", "%zz=1", "xid_prefix=a%20b", "in_doubt=yes"}) {
        complaints.clear();
        parse_list_query(bad, request, complaints);
        EXPECT_EQ(complaints.size(), 1U) << bad;
    }
}

// A read is linearizable unless the client says otherwise.
TEST(RequestHeaders, reads_get_parameters) {
    core::GetRequest request;
    std::vector<Complaint> complaints;
    parse_get_query("", request, complaints);
    EXPECT_FALSE(request.stale_allowed);
    parse_get_query("consistency=stale&wait_index=9&wait=2s", request, complaints);
    EXPECT_TRUE(complaints.empty());
    EXPECT_TRUE(request.stale_allowed);
    EXPECT_EQ(request.wait_index, core::LogIndex{9});
    EXPECT_EQ(request.wait_limit, 2s);
}

} // namespace
} // namespace concordat::http
