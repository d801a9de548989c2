#include "participant-sdk/src/transport/timer.hpp"
#include "tests/unit/transport/server_fixture.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

namespace concordat::transport {

namespace {

using namespace std::chrono_literals;
using test::body_of;
using test::RawSocket;
using test::request;
using test::ServerTest;
using test::text;

// Events reach the peer as they are written, chunked, and the connection lives on after the end.
TEST_F(ServerTest, streams_events) {
    test::Inbox<std::shared_ptr<StreamWriter>> streams;
    serve({}, [&](Request&& received, Responder respond) {
        if (received.target == "/events") {
            Response head = text("");
            head.content_type = "text/event-stream";
            streams.put(std::make_shared<StreamWriter>(respond.stream(std::move(head))));
        } else {
            respond(text("after"));
        }
    });
    RawSocket socket = connect();
    socket.send(request("/events"));
    const std::string head = socket.receive_until("\r\n\r\n");
    EXPECT_NE(head.find("Transfer-Encoding: chunked\r\n"), std::string::npos);
    EXPECT_NE(head.find("Content-Type: text/event-stream\r\n"), std::string::npos);
    const auto writer = streams.take();
    ASSERT_TRUE(writer.has_value());
    EXPECT_EQ((*writer)->write("data: 1\n\n"), StreamWriter::Result::accepted);
    EXPECT_EQ(socket.receive_until("\n\n\r\n"), "9\r\ndata: 1\n\n\r\n");
    EXPECT_EQ((*writer)->write("data: 2\n\n"), StreamWriter::Result::accepted);
    (*writer)->close();
    EXPECT_NE(socket.receive_until("0\r\n\r\n").find("data: 2\n\n"), std::string::npos);
    EXPECT_EQ((*writer)->write("late"), StreamWriter::Result::closed);
    socket.send(request("/"));
    EXPECT_EQ(body_of(socket.receive_response()), "after");
}

// A slow reader fills the bounded buffer and no more; when it goes away the writer is told.
TEST_F(ServerTest, bounds_a_stream_and_reports_its_end) {
    test::Inbox<std::shared_ptr<StreamWriter>> streams;
    serve({.stream_buffer_bytes = 10'000}, [&](Request&&, Responder respond) {
        streams.put(std::make_shared<StreamWriter>(respond.stream(text(""))));
    });
    RawSocket socket = RawSocket::connect(server_->port(), 4096);
    socket.send(request("/events"));
    socket.receive_until("\r\n\r\n");
    const auto writer = streams.take();
    ASSERT_TRUE(writer.has_value());
    EXPECT_EQ((*writer)->write(std::string(10'001, 'x')), StreamWriter::Result::full);
    const std::string event(5'000, 'x');
    EXPECT_TRUE(
        test::eventually([&] { return (*writer)->write(event) == StreamWriter::Result::full; }));
    test::Inbox<int> ends;
    (*writer)->on_closed([&] { ends.put(1); });
    socket.reset();
    EXPECT_TRUE(ends.take().has_value());
    EXPECT_TRUE((*writer)->closed());
    EXPECT_EQ((*writer)->write("x"), StreamWriter::Result::closed);
}

// Stopping lets the request in flight be answered, ends streams and idle connections, and accepts
// nothing more.
TEST_F(ServerTest, stops_gracefully) {
    test::Inbox<std::shared_ptr<Responder>> waiting;
    test::Inbox<std::shared_ptr<StreamWriter>> streams;
    serve({}, [&](Request&& received, Responder respond) {
        if (received.target == "/events") {
            streams.put(std::make_shared<StreamWriter>(respond.stream(text(""))));
        } else {
            waiting.put(std::make_shared<Responder>(std::move(respond)));
        }
    });
    RawSocket idle = connect();
    RawSocket events = connect();
    RawSocket busy = connect();
    events.send(request("/events"));
    busy.send(request("/busy") + request("/pipelined"));
    const auto responder = waiting.take();
    const auto writer = streams.take();
    ASSERT_TRUE(responder.has_value() && writer.has_value());
    test::Inbox<int> ends;
    (*writer)->on_closed([&] { ends.put(1); });
    std::thread stopper([&] { server_->stop(60s); });
    EXPECT_EQ(idle.receive(), "");
    EXPECT_TRUE(events.receive_to_end().ends_with("0\r\n\r\n"));
    EXPECT_TRUE(ends.take().has_value());
    events.close();
    (**responder)(text("last"));
    const std::string answer = busy.receive_to_end();
    EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos) << answer;
    EXPECT_EQ(body_of(answer), "last");
    busy.close();
    stopper.join();
    EXPECT_EQ(server_->statistics().connections_open, 0U);
}

// When the grace is over, what is left is cut off, and a late answer does nothing.
TEST_F(ServerTest, cuts_off_what_outlives_the_grace) {
    test::Inbox<std::shared_ptr<Responder>> waiting;
    serve({}, [&](Request&&, Responder respond) {
        waiting.put(std::make_shared<Responder>(std::move(respond)));
    });
    RawSocket socket = connect();
    socket.send(request("/"));
    const auto responder = waiting.take();
    ASSERT_TRUE(responder.has_value());
    server_->stop(10ms);
    EXPECT_EQ(socket.receive(), "");
    (**responder)(text("late"));
    server_.reset();
    threads_.stop();
}

// A Responder may outlive server and threads.
TEST(Responder, does_nothing_after_everything_is_gone) {
    test::Inbox<std::shared_ptr<Responder>> waiting;
    {
        IoThreads threads(1);
        threads.start();
        Server server(threads, {}, [&](Request&&, Responder respond) {
            waiting.put(std::make_shared<Responder>(std::move(respond)));
        });
        ASSERT_TRUE(server.start().has_value());
        RawSocket socket = RawSocket::connect(server.port());
        socket.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
        ASSERT_TRUE(test::eventually([&] { return waiting.size() == 1; }));
    }
    const auto responder = waiting.take();
    ASSERT_TRUE(responder.has_value());
    (**responder)({});
}

// Timers run once, are replaced by a new start, and do not run after cancel on their thread.
TEST(Timer, runs_the_function_of_the_last_start_once) {
    IoThreads threads(1);
    threads.start();
    Timer timer(threads, 0);
    test::Inbox<int> fired;
    timer.start(60s, [&] { fired.put(1); });
    timer.start(1ms, [&] { fired.put(2); });
    EXPECT_EQ(fired.take(), 2);
    timer.start(1ms, [&] { fired.put(3); });
    EXPECT_EQ(fired.take(), 3);
    threads.post(0, [&] {
        timer.start(1ms, [&] { fired.put(4); });
        timer.cancel();
        timer.start(2ms, [&] { fired.put(5); });
    });
    EXPECT_EQ(fired.take(), 5);
    EXPECT_EQ(fired.size(), 0U);
    timer.start(60s, [&] { fired.put(6); });
}

} // namespace

} // namespace concordat::transport
