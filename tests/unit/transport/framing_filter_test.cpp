#include "participant-sdk/src/transport/framing_filter.hpp"
#include "tests/unit/transport/framing_vectors.hpp"
#include "tests/unit/transport/support.hpp"

#include <gtest/gtest.h>

namespace concordat::transport {

namespace {

using test::framing_vectors;
using test::FramingVector;
using test::request_line;
using test::with_field;

// The filter alone gives every vector its verdict and its reason.
TEST(FramingFilter, gives_the_expected_verdict_on_every_vector) {
    ASSERT_GE(framing_vectors.size(), 60U);
    for (const FramingVector& vector : framing_vectors) {
        const auto verdict = check_framing(vector.head);
        ASSERT_EQ(verdict.has_value(), !vector.error.has_value())
            << vector.name << ": "
            << (verdict ? "accepted" : std::string{describe(verdict.error())});
        if (vector.error) {
            EXPECT_EQ(verdict.error(), *vector.error)
                << vector.name << ": " << describe(verdict.error());
        }
    }
}

// The live server refuses the same vectors with 400 and close, and hands none of them to the
// handler.
TEST(FramingFilter, decides_the_same_in_front_of_the_live_server) {
    IoThreads threads(1);
    threads.start();
    std::atomic<int> handled{0};
    Server server(threads, {}, [&](Request&& request, Responder respond) {
        ++handled;
        respond({.status = 200, .headers = {}, .body = request.body});
    });
    ASSERT_TRUE(server.start().has_value());
    for (const FramingVector& vector : framing_vectors) {
        const int before = handled;
        test::RawSocket socket = test::RawSocket::connect(server.port());
        // Behind a refused head waits a request that must never be seen as one.
        const std::string smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        socket.send(vector.head + vector.body + (vector.error ? smuggled : ""));
        if (vector.error) {
            const std::string all = socket.receive_to_end();
            EXPECT_TRUE(all.starts_with("HTTP/1.1 400 ")) << vector.name << ": " << all;
            EXPECT_NE(all.find("Connection: close\r\n"), std::string::npos) << vector.name;
            EXPECT_EQ(all.find("HTTP/1.1 ", 9), std::string::npos) << vector.name;
            EXPECT_EQ(handled, before) << vector.name;
        } else {
            const std::string answer = socket.receive_response();
            EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 ")) << vector.name << ": " << answer;
            EXPECT_EQ(handled, before + 1) << vector.name;
        }
    }
}

// What the connection needs to know about the body and its own future is read off the head.
TEST(FramingFilter, reports_length_encoding_and_persistence) {
    const auto length = check_framing(with_field("Content-Length: 4711\r\nExpect: 100-continue"));
    ASSERT_TRUE(length.has_value());
    EXPECT_TRUE(length->has_length);
    EXPECT_EQ(length->content_length, 4711U);
    EXPECT_TRUE(length->expects_continue);
    EXPECT_TRUE(length->keep_alive);

    const auto chunked =
        check_framing(with_field("Transfer-Encoding: chunked\r\nConnection: X-A, Close"));
    ASSERT_TRUE(chunked.has_value());
    EXPECT_TRUE(chunked->chunked);
    EXPECT_FALSE(chunked->keep_alive);

    const auto old = check_framing(request_line("GET / HTTP/1.0"));
    ASSERT_TRUE(old.has_value());
    EXPECT_FALSE(old->keep_alive);
    const auto old_kept =
        check_framing("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    ASSERT_TRUE(old_kept.has_value());
    EXPECT_TRUE(old_kept->keep_alive);
}

} // namespace

} // namespace concordat::transport
