#include "participant-sdk/src/transport/message_parser.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>

namespace concordat::transport::detail {

namespace {

constexpr std::string_view chunked_head =
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

// Feeds the body so that the parser sees it grow by `step` bytes at a time, as a slow peer sends
// it.
std::optional<std::string> parse_in_steps(std::string_view body, std::size_t step) {
    Request request;
    RequestParser parser(request);
    ParseError error;
    EXPECT_EQ(parser.feed(chunked_head, error), chunked_head.size());
    std::size_t used = 0;
    for (std::size_t seen = step; !parser.is_done(); seen += step) {
        const std::size_t end = std::min(seen, body.size());
        used += parser.feed(body.substr(used, end - used), error);
        if ((error && error != boost::beast::http::error::need_more) || seen > body.size() + step) {
            return std::nullopt;
        }
    }
    EXPECT_EQ(used, body.size());
    return request.body;
}

// Beast stops the process on an assertion when a last chunk arrives in pieces of certain sizes; no
// peer may be able to do that.
TEST(MessageParser, takes_chunked_bodies_in_pieces_of_any_size) {
    for (const std::size_t step : {1U, 2U, 3U, 4U, 5U, 6U, 7U, 100U}) {
        EXPECT_EQ(parse_in_steps("0\r\n\r\n", step), "") << step;
        EXPECT_EQ(parse_in_steps("0\r\nA: b\r\n\r\n", step), "") << step;
        EXPECT_EQ(parse_in_steps("3\r\nabc\r\n0\r\n\r\n", step), "abc") << step;
        EXPECT_EQ(parse_in_steps("1;x=y\r\na\r\n1\r\nb\r\n00;z\r\nA: b\r\n\r\n", step), "ab")
            << step;
    }
}

// Broken chunks are an error in every division, too.
TEST(MessageParser, refuses_broken_chunks_in_pieces_of_any_size) {
    for (const std::size_t step : {1U, 2U, 3U, 4U, 5U, 6U, 7U, 100U}) {
        for (const char* body : {"x\r\n\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3\nabc\r\n0\r\n\r\n",
                                 "0\r\nbad line\r\n\r\n", "\r\n0\r\n\r\n", "-0\r\n\r\n\r\n"}) {
            EXPECT_EQ(parse_in_steps(body, step), std::nullopt) << body << " by " << step;
        }
    }
}

} // namespace

} // namespace concordat::transport::detail
