#include "participant-sdk/src/transport/message.hpp"
#include "participant-sdk/src/transport/uri.hpp"

#include <gtest/gtest.h>

namespace concordat::transport {

namespace {

// Base URLs that operators write are taken apart into origin and path.
TEST(BaseUrl, is_parsed_into_origin_and_path) {
    const auto plain = parse_base_url("http://Order.example:8080/base/v2/");
    ASSERT_TRUE(plain.has_value()) << plain.error();
    EXPECT_EQ(plain->origin, (Origin{false, "order.example", 8080}));
    EXPECT_EQ(plain->base_path, "/base/v2");
    const auto tls = parse_base_url("https://[fd00::7]");
    ASSERT_TRUE(tls.has_value()) << tls.error();
    EXPECT_EQ(tls->origin, (Origin{true, "fd00::7", 443}));
    EXPECT_EQ(tls->origin.host_header(), "[fd00::7]:443");
    EXPECT_EQ(tls->base_path, "");
    EXPECT_EQ(parse_base_url("http://a/")->base_path, "");
}

// Whatever could redirect a call elsewhere than the operator reads is refused.
TEST(BaseUrl, is_refused_when_it_is_ambiguous) {
    for (const char* text : {"",
                             "a",
                             "ftp://a",
                             "http:/a",
                             "http://",
                             "http:///x",
                             "http://:80",
                             "http://a:0",
                             "http://a:65536",
                             "http://a:80x",
                             "http://a:",
                             "http://user@a",
                             "http://a b",
                             "http://a?x",
                             "http://a/x?y",
                             "http://a/x#y",
                             "http://a/../b",
                             "http://a/./b",
                             "http://a//b",
                             "http://a/%zz",
                             "http://a/%00",
                             "http://[::1",
                             "http://[::1]80",
                             "http://[x]",
                             "http://[]",
                             "http://a%2eb",
                             "http://a/\n"}) {
        EXPECT_FALSE(parse_base_url(text).has_value()) << text;
    }
    EXPECT_FALSE(parse_base_url("http://a/" + std::string(max_url_bytes, 'a')).has_value());
    EXPECT_FALSE(parse_base_url("http://" + std::string(254, 'a')).has_value());
}

// Decoding is exact, and a broken escape is an error rather than a guess.
TEST(PercentCoding, round_trips_and_refuses_broken_escapes) {
    EXPECT_EQ(percent_decode("a%2Fb%c3%A9+"), "a/b\xc3\xa9+");
    for (const char* text : {"%", "%2", "%2x", "%x2", "%00", "a%"}) {
        EXPECT_FALSE(percent_decode(text).has_value()) << text;
    }
    std::string every;
    for (int code = 1; code < 256; ++code) {
        every.push_back(static_cast<char>(code));
    }
    EXPECT_EQ(percent_decode(percent_encode(every)), every);
    EXPECT_EQ(percent_encode("a b/-._~"), "a%20b%2F-._~");
}

// Query strings decode in order, with limits.
TEST(Query, is_parsed_in_order_within_limits) {
    const auto parsed = parse_query("state=open&q=a+b%26c&flag&&x=1=2");
    ASSERT_TRUE(parsed.has_value());
    const QueryParameters expected{{"state", "open"}, {"q", "a b&c"}, {"flag", ""}, {"x", "1=2"}};
    EXPECT_EQ(*parsed, expected);
    EXPECT_TRUE(parse_query("")->empty());
    EXPECT_FALSE(parse_query("a=%zz").has_value());
    std::string many;
    for (std::size_t index = 0; index <= max_query_parameters; ++index) {
        many += "a=1&";
    }
    EXPECT_FALSE(parse_query(many).has_value());
}

// Header look-up ignores case, keeps order and repetitions.
TEST(Headers, are_found_without_regard_to_case) {
    Headers headers;
    headers.add("Retry-After", "3");
    headers.add("X-A", "1");
    headers.add("x-a", "2");
    EXPECT_EQ(headers.find("RETRY-AFTER"), "3");
    EXPECT_EQ(headers.count("X-a"), 2U);
    EXPECT_EQ(headers.find("X-A"), "1");
    EXPECT_FALSE(headers.contains("X-"));
    headers.set("X-A", "4");
    EXPECT_EQ(headers.count("x-A"), 1U);
    EXPECT_EQ(headers.find("x-a"), "4");
    EXPECT_EQ(headers.size(), 2U);
}

// The target splits at the first question mark.
TEST(Request, splits_its_target) {
    Request request;
    request.target = "/a/b?c=d?e";
    EXPECT_EQ(request.path(), "/a/b");
    EXPECT_EQ(request.query(), "c=d?e");
    request.target = "/a";
    EXPECT_EQ(request.path(), "/a");
    EXPECT_EQ(request.query(), "");
}

} // namespace

} // namespace concordat::transport
