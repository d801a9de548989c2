#include "participant-sdk/src/transport/server.hpp"
#include "participant-sdk/src/transport/timer.hpp"
#include "tests/unit/transport/server_fixture.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <stdexcept>

namespace concordat::transport {

namespace {

using namespace std::chrono_literals;
using test::body_of;
using test::RawSocket;
using test::request;
using test::ServerTest;
using test::text;

// The plainest exchange works, and the connection is used again for the next.
TEST_F(ServerTest, answers_requests_on_a_kept_connection) {
    serve();
    RawSocket socket = connect();
    for (int round = 0; round < 3; ++round) {
        socket.send(request("/a?b", "", "body" + std::to_string(round)));
        const std::string answer = socket.receive_response();
        EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
        EXPECT_NE(answer.find("Content-Type: text/plain\r\n"), std::string::npos);
        EXPECT_NE(answer.find("Date: "), std::string::npos);
        EXPECT_EQ(body_of(answer), "POST /a?b body" + std::to_string(round));
    }
    EXPECT_EQ(server_->statistics().connections_accepted, 1U);
    EXPECT_EQ(server_->statistics().requests, 3U);
}

// Handlers see the peer's address and all header fields.
TEST_F(ServerTest, hands_over_headers_and_remote_address) {
    serve({}, [](Request&& received, Responder respond) {
        respond(text(received.remote_address + " " +
                     std::string{received.headers.find("X-Test").value_or("-")}));
    });
    RawSocket socket = connect();
    socket.send(request("/", "x-test:  v 1 \r\n"));
    EXPECT_EQ(body_of(socket.receive_response()), "127.0.0.1 v 1");
}

// Requests sent in one piece are answered in order, also when answers are ready out of order.
TEST_F(ServerTest, answers_pipelined_requests_in_order) {
    Timer timer(threads_, 0);
    serve({}, [&](Request&& received, Responder respond) {
        if (received.target == "/slow") {
            auto later = std::make_shared<Responder>(std::move(respond));
            timer.start(20ms, [later] { (*later)(text("slow")); });
        } else {
            respond(text(received.target));
        }
    });
    RawSocket socket = connect();
    socket.send(request("/slow") + request("/2", "", "x") + request("/3") +
                "GET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(body_of(socket.receive_response()), "slow");
    EXPECT_EQ(body_of(socket.receive_response()), "/2");
    EXPECT_EQ(body_of(socket.receive_response()), "/3");
    EXPECT_EQ(body_of(socket.receive_response()), "/4");
    EXPECT_EQ(socket.receive(), "");
}

// More pipelined requests than the buffer holds, from a peer that then ends its side, are all
// answered.
TEST_F(ServerTest, answers_a_long_pipeline_of_a_half_closed_peer) {
    serve();
    RawSocket socket = connect();
    std::string pipeline;
    constexpr int count = 2000;
    for (int index = 0; index < count; ++index) {
        pipeline += request("/" + std::to_string(index));
    }
    std::thread sender([&] {
        socket.send(pipeline);
        socket.end_sending();
    });
    RawSocket& receiver = socket;
    for (int index = 0; index < count; ++index) {
        ASSERT_EQ(body_of(receiver.receive_response()), "GET /" + std::to_string(index) + " ");
    }
    sender.join();
    EXPECT_EQ(receiver.receive(), "");
}

// Every byte may come alone, chunked framing included.
TEST_F(ServerTest, accepts_requests_byte_by_byte) {
    serve();
    RawSocket socket = connect();
    const std::string whole = "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                              "5;x=\"y\"\r\nhello\r\n1\r\n!\r\n0\r\nContent-MD5: x\r\n\r\n";
    const std::string empty =
        "POST /e HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    for (const char byte : whole + empty + request("/l", "", "body")) {
        ASSERT_TRUE(socket.send({&byte, 1}));
    }
    EXPECT_EQ(body_of(socket.receive_response()), "POST /c hello!");
    EXPECT_EQ(body_of(socket.receive_response()), "POST /e ");
    EXPECT_EQ(body_of(socket.receive_response()), "POST /l body");
}

// Fields in a trailer must not be able to pose as header fields.
TEST_F(ServerTest, drops_trailer_fields) {
    serve({}, [](Request&& received, Responder respond) {
        respond(text(received.headers.contains("Authorization") ? "forged" : "clean"));
    });
    RawSocket socket = connect();
    socket.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                "1\r\nx\r\n0\r\nAuthorization: admin\r\n\r\n");
    EXPECT_EQ(body_of(socket.receive_response()), "clean");
}

// Malformed chunks are refused with 400, the connection is closed, and no handler runs.
TEST_F(ServerTest, refuses_malformed_chunks) {
    serve();
    for (const char* chunks :
         {"x\r\nabc\r\n0\r\n\r\n", "-1\r\nabc\r\n0\r\n\r\n", "3\nabc\r\n0\r\n\r\n",
          "3\r\nabcd\r\n0\r\n\r\n", "3\r\nabcX\r0\r\n\r\n", "0x3\r\nabc\r\n0\r\n\r\n",
          "10000000000000000\r\nabc\r\n0\r\n\r\n", "3 3\r\nabc\r\n0\r\n\r\n",
          "3\r\nabc\r\n0\r\nContent-Length: 3\r\n\r\n"}) {
        RawSocket socket = connect();
        socket.send(
            std::string{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"} +
            chunks + "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        const std::string all = socket.receive_to_end();
        EXPECT_TRUE(all.starts_with("HTTP/1.1 400 ") || all.starts_with("HTTP/1.1 413 "))
            << chunks << ": " << all;
    }
    EXPECT_EQ(server_->statistics().requests, 0U);
}

// A chunk header that never ends cannot grow beyond the buffer.
TEST_F(ServerTest, refuses_an_endless_chunk_extension) {
    serve();
    RawSocket socket = connect();
    socket.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;" +
                std::string(100'000, 'x'));
    EXPECT_TRUE(socket.receive_to_end().starts_with("HTTP/1.1 400 "));
}

// Sizes at the limit pass, one byte more is refused with the status that says what was too large.
TEST_F(ServerTest, enforces_header_and_body_limits) {
    serve({.header_limit_bytes = 512, .body_limit_bytes = 1000});
    const std::string base = request("/", "X: \r\n");
    const auto padded = [&](std::size_t size) {
        return request("/", "X: " + std::string(size - base.size(), 'x') + "\r\n");
    };
    RawSocket socket = connect();
    socket.send(padded(512));
    EXPECT_TRUE(socket.receive_response().starts_with("HTTP/1.1 200 "));
    socket.send(padded(513));
    EXPECT_TRUE(socket.receive_to_end().starts_with("HTTP/1.1 431 "));

    socket = connect();
    socket.send("GET /" + std::string(600, 'x')); // no end in sight
    EXPECT_TRUE(socket.receive_to_end().starts_with("HTTP/1.1 431 "));

    socket = connect();
    socket.send(request("/", "", std::string(1000, 'b')));
    EXPECT_TRUE(socket.receive_response().starts_with("HTTP/1.1 200 "));
    socket.send(request("/", "", std::string(1001, 'b')));
    const std::string refused = socket.receive_to_end();
    EXPECT_TRUE(refused.starts_with("HTTP/1.1 413 ")) << refused;
    EXPECT_EQ(body_of(refused), "problem: the request body is too large");

    socket = connect();
    socket.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                "3e8\r\n" +
                std::string(1000, 'c') + "\r\n1\r\nx\r\n0\r\n\r\n");
    EXPECT_TRUE(socket.receive_to_end().starts_with("HTTP/1.1 413 "));
    EXPECT_EQ(server_->statistics().requests, 2U);
}

// A refused upload is drained, so that the peer reads the answer instead of a reset.
TEST_F(ServerTest, lets_the_peer_read_the_refusal_of_a_large_upload) {
    serve({.body_limit_bytes = 1000});
    RawSocket socket = connect();
    // Without draining, the connection is reset under the upload.
    EXPECT_TRUE(socket.send(request("/", "", std::string(3'000'000, 'b'))));
    EXPECT_TRUE(socket.receive_to_end().starts_with("HTTP/1.1 413 "));
}

// A client that waits for "100 Continue" gets it, and gets the refusal instead when it is too
// large.
TEST_F(ServerTest, answers_expect_continue) {
    serve({.body_limit_bytes = 1000});
    RawSocket socket = connect();
    socket.send("POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    EXPECT_EQ(socket.receive_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    socket.send("body");
    EXPECT_EQ(body_of(socket.receive_response()), "POST /x body");
    socket.send(
        "POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n");
    EXPECT_TRUE(socket.receive_to_end().starts_with("HTTP/1.1 413 "));
}

// A slowloris head is cut off by the time its last byte is due, however often bytes come.
TEST_F(ServerTest, times_out_a_slow_head) {
    serve({.header_timeout = 100ms, .idle_timeout = 60s});
    RawSocket socket = connect();
    const auto begin = std::chrono::steady_clock::now();
    socket.send("GET / HTTP/1.1\r\nHost: a\r\n");
    std::atomic<bool> over{false};
    std::thread drip([&] {
        while (!over && socket.send("X")) {
            std::this_thread::yield();
        }
    });
    const std::string answer = socket.receive_until("\r\n\r\n");
    over = true;
    drip.join();
    // Dripping fast, the head may reach its size limit first; both end it in time.
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 408 ") || answer.starts_with("HTTP/1.1 431 "))
        << answer;
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

// A head that stops in the middle gets 408 and is counted as a time-out.
TEST_F(ServerTest, times_out_a_head_that_stops) {
    serve({.header_timeout = 50ms, .idle_timeout = 60s});
    RawSocket socket = connect();
    socket.send(request("/first"));
    socket.receive_response();
    socket.send("GET / HT");
    const std::string answer = socket.receive_to_end();
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 408 ")) << answer;
    EXPECT_EQ(server_->statistics().timeouts, 1U);
}

// A body slower than the minimum rate is cut off; one above the rate may take longer than the
// grace.
TEST_F(ServerTest, times_out_a_slow_body_but_not_a_steady_one) {
    serve({.body_grace = 50ms, .body_minimum_bytes_per_second = 1000});
    RawSocket stalled = connect();
    stalled.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
    EXPECT_TRUE(stalled.receive_to_end().starts_with("HTTP/1.1 408 "));

    // 60,000 bytes buy a minute: the last byte may come long after the grace.
    RawSocket steady = connect();
    steady.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60001\r\n\r\n" +
                std::string(60'000, 'b'));
    std::promise<void> later;
    Timer timer(threads_, 0);
    timer.start(200ms, [&] { later.set_value(); });
    later.get_future().wait();
    steady.send("b");
    EXPECT_TRUE(steady.receive_response().starts_with("HTTP/1.1 200 "));
}

// Idle connections are closed without a word, before the first request and after an answer.
TEST_F(ServerTest, closes_idle_connections_silently) {
    serve({.idle_timeout = 50ms});
    RawSocket fresh = connect();
    EXPECT_EQ(fresh.receive(), "");
    RawSocket used = connect();
    used.send(request("/"));
    EXPECT_FALSE(used.receive_response().empty());
    EXPECT_EQ(used.receive(), "");
    EXPECT_TRUE(test::eventually([&] { return server_->statistics().connections_open == 0; }));
}

// A peer that does not read its answer is cut off instead of holding buffers for ever.
TEST_F(ServerTest, cuts_off_a_peer_that_does_not_read) {
    const std::string large(32 * 1024 * 1024, 'x');
    serve({.write_timeout = 100ms}, [&](Request&&, Responder respond) { respond(text(large)); });
    RawSocket socket = RawSocket::connect(server_->port(), 4096);
    socket.send(request("/"));
    EXPECT_TRUE(test::eventually([&] { return server_->statistics().timeouts == 1; }));
    EXPECT_TRUE(test::eventually([&] { return server_->statistics().connections_open == 0; }));
}

// Large answers arrive whole through partial writes.
TEST_F(ServerTest, writes_large_answers_completely) {
    std::string large;
    for (int index = 0; large.size() < 5'000'000; ++index) {
        large += std::to_string(index);
    }
    serve({}, [&](Request&&, Responder respond) { respond(text(large)); });
    RawSocket socket = RawSocket::connect(server_->port(), 8192);
    for (int round = 0; round < 2; ++round) {
        socket.send(request("/"));
        EXPECT_EQ(body_of(socket.receive_response()), large);
    }
}

// Beyond the caps a connection is turned away with 503, and the place becomes free again.
TEST_F(ServerTest, caps_connections_in_all_and_per_address) {
    serve({.max_connections = 10, .max_connections_per_address = 2});
    RawSocket first = connect();
    RawSocket second = connect();
    first.send(request("/"));
    second.send(request("/"));
    first.receive_response();
    second.receive_response();
    RawSocket third = connect();
    EXPECT_TRUE(third.receive_to_end().starts_with("HTTP/1.1 503 "));
    EXPECT_EQ(server_->statistics().connections_refused, 1U);
    first.close();
    ASSERT_TRUE(test::eventually([&] { return server_->statistics().connections_open == 1; }));
    RawSocket fourth = connect();
    fourth.send(request("/"));
    EXPECT_TRUE(fourth.receive_response().starts_with("HTTP/1.1 200 "));
}

// A handler that forgets to answer, or throws, is answered with 500 for it; the next request works.
TEST_F(ServerTest, answers_500_when_the_handler_does_not) {
    serve({}, [](Request&& received, Responder respond) {
        if (received.target == "/drop") {
            return;
        }
        if (received.target == "/throw") {
            throw std::runtime_error("handler");
        }
        if (received.target == "/drop-elsewhere") {
            std::thread([dropped = std::move(respond)] {}).join();
            return;
        }
        respond(text("ok"));
    });
    RawSocket socket = connect();
    for (const char* target : {"/drop", "/throw", "/drop-elsewhere"}) {
        socket.send(request(target));
        const std::string answer = socket.receive_response();
        EXPECT_TRUE(answer.starts_with("HTTP/1.1 500 ")) << target << answer;
    }
    socket.send(request("/"));
    EXPECT_EQ(body_of(socket.receive_response()), "ok");
}

// Header injection through an answer is impossible: the answer becomes a 500.
TEST_F(ServerTest, refuses_to_render_control_characters) {
    serve({}, [](Request&& received, Responder respond) {
        Response response = text("ok");
        response.headers.add("X-Echo", received.target == "/evil" ? "a\r\nSet-Cookie: b" : "a");
        respond(std::move(response));
    });
    RawSocket socket = connect();
    socket.send(request("/evil"));
    const std::string answer = socket.receive_response();
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 500 ")) << answer;
    EXPECT_EQ(answer.find("Set-Cookie"), std::string::npos);
    socket.send(request("/good"));
    EXPECT_NE(socket.receive_response().find("X-Echo: a\r\n"), std::string::npos);
}

// HEAD answers carry the length and no body; 204 carries neither.
TEST_F(ServerTest, omits_bodies_where_http_has_none) {
    serve({}, [](Request&& received, Responder respond) {
        Response response = text("12345");
        response.status = received.target == "/204" ? 204 : 200;
        respond(std::move(response));
    });
    RawSocket socket = connect();
    socket.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    const std::string head = socket.receive_until("\r\n\r\n");
    EXPECT_NE(head.find("Content-Length: 5\r\n"), std::string::npos);
    EXPECT_EQ(body_of(head), "");
    socket.send(request("/204"));
    const std::string none = socket.receive_until("\r\n\r\n");
    EXPECT_TRUE(none.starts_with("HTTP/1.1 204 "));
    EXPECT_EQ(none.find("Content-Length"), std::string::npos);
    socket.send(request("/"));
    EXPECT_EQ(body_of(socket.receive_response()), "12345");
}

// Persistence follows version and Connection field; the handler can end it too.
TEST_F(ServerTest, closes_when_either_side_asks) {
    serve({}, [](Request&& received, Responder respond) {
        Response response = text("x");
        response.close = received.target == "/close";
        respond(std::move(response));
    });
    for (const std::string& closing : {request("/", "Connection: close\r\n"), request("/close"),
                                       std::string{"GET / HTTP/1.0\r\nHost: a\r\n\r\n"}}) {
        RawSocket socket = connect();
        socket.send(closing);
        EXPECT_NE(socket.receive_to_end().find("Connection: close\r\n"), std::string::npos);
    }
    RawSocket old = connect();
    old.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    EXPECT_NE(old.receive_response().find("Connection: keep-alive\r\n"), std::string::npos);
    old.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    EXPECT_FALSE(old.receive_response().empty());
}

// Answers from many foreign threads reach the right connections.
TEST_F(ServerTest, takes_answers_from_any_thread) {
    test::Inbox<std::pair<Request, std::shared_ptr<Responder>>> inbox;
    serve({}, [&](Request&& received, Responder respond) {
        inbox.put({std::move(received), std::make_shared<Responder>(std::move(respond))});
    });
    std::vector<std::thread> workers;
    constexpr int clients = 4;
    constexpr int rounds = 100;
    for (int index = 0; index < clients; ++index) {
        workers.emplace_back([&] {
            for (int round = 0; round < rounds; ++round) {
                auto work = inbox.take();
                ASSERT_TRUE(work.has_value());
                (*work->second)(text(work->first.target));
            }
        });
    }
    std::vector<std::thread> callers;
    for (int index = 0; index < clients; ++index) {
        callers.emplace_back([&, index] {
            RawSocket socket = connect();
            for (int round = 0; round < rounds; ++round) {
                const std::string target =
                    "/" + std::to_string(index) + "/" + std::to_string(round);
                socket.send(request(target));
                ASSERT_EQ(body_of(socket.receive_response()), target);
            }
        });
    }
    for (std::thread& thread : callers) {
        thread.join();
    }
    for (std::thread& thread : workers) {
        thread.join();
    }
}

// Peers that reset at every stage leave nothing behind.
TEST_F(ServerTest, survives_resets_at_every_stage) {
    serve();
    const std::string whole = request("/", "", "0123456789") + request("/2");
    for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
        RawSocket socket = connect();
        socket.send(std::string_view{whole}.substr(0, cut));
        socket.reset();
    }
    EXPECT_TRUE(test::eventually([&] { return server_->statistics().connections_open == 0; }));
    RawSocket socket = connect();
    socket.send(request("/"));
    EXPECT_TRUE(socket.receive_response().starts_with("HTTP/1.1 200 "));
}

// A port in use is an error with the reason, not a crash.
TEST_F(ServerTest, reports_why_it_cannot_listen) {
    serve();
    ServerOptions taken;
    taken.port = server_->port();
    Server second(threads_, taken, [](Request&&, Responder) {});
    const auto result = second.start();
    ASSERT_FALSE(result.has_value());
    EXPECT_NE(result.error().find("Address already in use"), std::string::npos) << result.error();
    ServerOptions wrong;
    wrong.address = "localhost";
    Server third(threads_, wrong, [](Request&&, Responder) {});
    EXPECT_FALSE(third.start().has_value());
}

} // namespace

} // namespace concordat::transport
