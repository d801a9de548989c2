#include "tests/unit/transport/client_fixture.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <future>

namespace concordat::transport {

namespace {

using namespace std::chrono_literals;
using test::Calls;
using test::ClientTest;
using test::Effect;
using test::get;
using test::Kind;
using test::ok_answer;
using test::post;
using test::RawSocket;
using test::ScriptedServer;

// A connection that breaks in the middle of an answer is a reset of unknown effect.
TEST_F(ClientTest, reports_a_reset_in_the_middle) {
    client();
    for (const char* part : {"HTTP/1.1 2", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
                             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"}) {
        for (const bool hard : {false, true}) {
            ScriptedServer server([&](RawSocket& socket, std::size_t) {
                socket.receive_until("\r\n\r\n");
                socket.send(part);
                if (hard) {
                    socket.reset();
                }
            });
            SCOPED_TRACE(part);
            expect_error(exchange(server.origin(), post("/", "x")), Kind::reset, Effect::unknown);
            EXPECT_EQ(server.connections(), 1U);
        }
    }
}

// A fresh connection that ends without an answer is not retried: the peer may have acted.
TEST_F(ClientTest, does_not_retry_on_a_fresh_connection) {
    ScriptedServer server([](RawSocket& socket, std::size_t) { socket.receive_until("\r\n\r\n"); });
    client();
    expect_error(exchange(server.origin(), post("/", "x")), Kind::reset, Effect::unknown);
    EXPECT_EQ(server.connections(), 1U);
}

// A reused connection that the peer ends before any byte of the answer: an idempotent request goes
// once more on a fresh connection, another one reports the reset.
TEST_F(ClientTest, retries_idempotent_requests_on_a_stale_connection) {
    const auto one_answer_then_close = [](RawSocket& socket, std::size_t) {
        socket.receive_until("\r\n\r\n");
        socket.send(ok_answer);
        socket.receive_until("\r\n\r\n"); // the second request is read and never answered
    };
    for (const bool idempotent : {true, false}) {
        ScriptedServer server(one_answer_then_close);
        client({.max_connections_per_origin = 1});
        ASSERT_TRUE(exchange(server.origin(), get("/1")).has_value());
        OutboundRequest second = post("/2", "");
        second.idempotent = idempotent;
        const auto result = exchange(server.origin(), std::move(second));
        if (idempotent) {
            ASSERT_TRUE(result.has_value()) << result.error().detail;
            EXPECT_EQ(client_->statistics().stale_retries, 1U);
            EXPECT_EQ(server.connections(), 2U);
        } else {
            expect_error(result, Kind::reset, Effect::unknown);
            EXPECT_EQ(server.connections(), 1U);
        }
        client_.reset();
    }
    ScriptedServer server(one_answer_then_close);
    client({.max_connections_per_origin = 1, .retry_on_stale_connection = false});
    ASSERT_TRUE(exchange(server.origin(), get("/1")).has_value());
    expect_error(exchange(server.origin(), get("/2")), Kind::reset, Effect::unknown);
    client_.reset();
}

// Once a byte of the answer has come the peer has surely acted: a break after it is never retried.
TEST_F(ClientTest, does_not_retry_after_the_answer_has_begun) {
    ScriptedServer server([](RawSocket& socket, std::size_t) {
        socket.receive_until("\r\n\r\n");
        socket.send(ok_answer);
        socket.receive_until("\r\n\r\n");
        socket.send("HTTP/1.1 200 OK\r\nContent-Le");
    });
    client({.max_connections_per_origin = 1});
    ASSERT_TRUE(exchange(server.origin(), get("/1")).has_value());
    expect_error(exchange(server.origin(), get("/2")), Kind::reset, Effect::unknown);
    EXPECT_EQ(server.connections(), 1U);
}

// A connection that the peer ends while it is idle leaves the pool before anyone uses it.
TEST_F(ClientTest, drops_idle_connections_that_the_peer_ended) {
    ScriptedServer server([](RawSocket& socket, std::size_t) {
        socket.receive_until("\r\n\r\n");
        socket.send(ok_answer);
    });
    client();
    for (std::size_t round = 1; round <= 3; ++round) {
        ASSERT_TRUE(exchange(server.origin(), get("/")).has_value());
        ASSERT_TRUE(test::eventually([&] { return client_->statistics().connections_open == 0; }));
        EXPECT_EQ(server.connections(), round);
    }
    EXPECT_EQ(client_->statistics().stale_retries, 0U);
}

// Bytes that nobody asked for end the connection: they could pass for the next answer.
TEST_F(ClientTest, never_reads_an_answer_that_came_too_early) {
    ScriptedServer server([](RawSocket& socket, std::size_t) {
        while (!socket.receive_until("\r\n\r\n").empty()) {
            socket.send(std::string{ok_answer} +
                        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
        }
    });
    client({.max_connections_per_origin = 1});
    for (int round = 0; round < 5; ++round) {
        const auto result = exchange(server.origin(), get("/"));
        ASSERT_TRUE(result.has_value()) << result.error().detail;
        EXPECT_EQ(result->body, "ok");
    }
}

// The same when the bytes come while the connection is already idle again.
TEST_F(ClientTest, closes_an_idle_connection_that_speaks_unasked) {
    std::promise<void> answered;
    ScriptedServer server([&](RawSocket& socket, std::size_t connection) {
        socket.receive_until("\r\n\r\n");
        socket.send(ok_answer);
        if (connection == 0) {
            answered.get_future().wait();
            socket.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
        }
        socket.receive();
    });
    client({.max_connections_per_origin = 1});
    ASSERT_TRUE(exchange(server.origin(), get("/")).has_value());
    answered.set_value();
    EXPECT_TRUE(test::eventually([&] { return client_->statistics().connections_open == 0; }));
    const auto result = exchange(server.origin(), get("/"));
    ASSERT_TRUE(result.has_value()) << result.error().detail;
    EXPECT_EQ(result->body, "ok");
    client_.reset();
}

// Idle connections are closed before the server's own idle time-out would.
TEST_F(ClientTest, closes_idle_connections_in_time) {
    ScriptedServer server([](RawSocket& socket, std::size_t) {
        socket.receive_until("\r\n\r\n");
        socket.send(ok_answer);
        socket.receive();
    });
    client({.idle_timeout = 30ms});
    ASSERT_TRUE(exchange(server.origin(), get("/")).has_value());
    EXPECT_TRUE(test::eventually([&] { return client_->statistics().connections_open == 0; }));
}

// An early refusal of a large upload is delivered although the upload was not finished.
TEST_F(ClientTest, delivers_an_answer_that_comes_before_the_request_is_sent) {
    Server server(threads_, {.body_limit_bytes = 1000},
                  [](Request&&, Responder respond) { respond({}); });
    ASSERT_TRUE(server.start().has_value());
    client();
    const auto result =
        exchange({false, "127.0.0.1", server.port()}, post("/", std::string(8 * 1024 * 1024, 'x')));
    if (result.has_value()) {
        EXPECT_EQ(result->status, 413);
    } else {
        // The server cuts off what is beyond its patience; the client then knows no outcome.
        expect_error(result, Kind::reset, Effect::unknown);
    }
}

// What cannot stand in a request never reaches the wire.
TEST_F(ClientTest, refuses_malformed_requests) {
    client();
    const Origin nowhere{false, "127.0.0.1", 1};
    OutboundRequest injected = get("/");
    injected.headers.add("X-A", "b\r\nHost: c");
    OutboundRequest name_injected = get("/");
    name_injected.headers.add("X A", "b");
    OutboundRequest type_injected = post("/", "x");
    type_injected.content_type = "a\r\nb: c";
    OutboundRequest method = get("/");
    method.method = "GE T";
    for (OutboundRequest& request :
         std::vector<OutboundRequest>{injected, name_injected, type_injected, method, get("x"),
                                      get("/a b"), get("/\r\n"), get("")}) {
        expect_error(exchange(nowhere, std::move(request)), Kind::invalid_request, Effect::none);
    }
    expect_error(exchange({true, "127.0.0.1", 1}, get("/")), Kind::invalid_request, Effect::none);
}

// A redirect is an answer like any other: it is not followed.
TEST_F(ClientTest, does_not_follow_redirects) {
    ScriptedServer server([](RawSocket& socket, std::size_t) {
        socket.receive_until("\r\n\r\n");
        socket.send("HTTP/1.1 307 T\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n");
    });
    client();
    const auto result = exchange(server.origin(), get("/"));
    ASSERT_TRUE(result.has_value());
    EXPECT_EQ(result->status, 307);
    EXPECT_EQ(server.connections(), 1U);
}

// Stopping completes what is in flight, what waits, and what is sent later.
TEST_F(ClientTest, completes_everything_when_stopped) {
    ScriptedServer* hanging = nullptr;
    ScriptedServer server([&](RawSocket& socket, std::size_t) {
        socket.receive_until("\r\n\r\n");
        hanging->hang();
    });
    hanging = &server;
    client({.max_connections_per_origin = 2, .request_timeout = 60s});
    for (int index = 0; index < 10; ++index) {
        client_->send(server.origin(), get("/"), calls_.callback());
    }
    ASSERT_TRUE(test::eventually([&] { return server.connections() == 2; }));
    client_->stop();
    ASSERT_EQ(calls_.size(), 10U);
    int unknown = 0;
    for (int index = 0; index < 10; ++index) {
        const auto result = calls_.take();
        ASSERT_FALSE(result.has_value());
        EXPECT_EQ(result.error().kind, Kind::stopped);
        unknown += result.error().effect == Effect::unknown ? 1 : 0;
    }
    EXPECT_LE(unknown, 2);
    EXPECT_EQ(client_->statistics().in_flight, 0U);
    expect_error(exchange(server.origin(), get("/")), Kind::stopped, Effect::none);
}

// Cancelling one origin completes its requests and leaves the others alone.
TEST_F(ClientTest, cancels_one_origin) {
    ScriptedServer* hanging = nullptr;
    ScriptedServer server([&](RawSocket& socket, std::size_t) {
        socket.receive_until("\r\n\r\n");
        hanging->hang();
    });
    hanging = &server;
    ScriptedServer healthy([](RawSocket& socket, std::size_t) {
        socket.receive_until("\r\n\r\n");
        socket.send(ok_answer);
        socket.receive();
    });
    client({.request_timeout = 60s});
    client_->send(server.origin(), get("/"), calls_.callback());
    ASSERT_TRUE(test::eventually([&] { return server.connections() == 1; }));
    client_->cancel(server.origin());
    const auto cancelled = calls_.take();
    ASSERT_FALSE(cancelled.has_value());
    EXPECT_EQ(cancelled.error().kind, Kind::stopped);
    EXPECT_TRUE(exchange(healthy.origin(), get("/")).has_value());
    client_.reset();
}

// send() from inside a callback works and does not run callbacks inside send().
TEST_F(ClientTest, allows_sending_from_a_callback) {
    Server server(threads_, {}, [](Request&& request, Responder respond) {
        respond({.status = 200, .headers = {}, .body = request.target});
    });
    ASSERT_TRUE(server.start().has_value());
    const Origin origin{false, "127.0.0.1", server.port()};
    client();
    test::Inbox<int> done;
    std::atomic<bool> nested{false};
    static thread_local bool inside_send = false;
    std::function<void(int)> next = [&](int left) {
        inside_send = true;
        // Some fail before anything is sent: those callbacks must wait for the loop as well.
        client_->send(left % 10 == 5 ? Origin{true, "x", 1} : origin, get("/"),
                      [&, left](const Client::Result&) {
                          nested = nested || inside_send;
                          if (left == 0) {
                              done.put(1);
                          } else {
                              next(left - 1);
                          }
                      });
        inside_send = false;
    };
    next(200);
    EXPECT_TRUE(done.take().has_value());
    EXPECT_FALSE(nested);
    client_.reset();
}

// Connections of an origin never exceed its limit, whatever the number of io threads.
TEST_F(ClientTest, respects_the_connection_limit) {
    std::atomic<int> open{0};
    std::atomic<int> most{0};
    ScriptedServer server([&](RawSocket& socket, std::size_t) {
        most = std::max<int>(most, ++open);
        while (!socket.receive_until("\r\n\r\n").empty() && socket.send(ok_answer)) {
        }
        --open;
    });
    client({.max_connections_per_origin = 3});
    for (int index = 0; index < 300; ++index) {
        client_->send(server.origin(), get("/"), calls_.callback());
    }
    for (int index = 0; index < 300; ++index) {
        const auto result = calls_.take();
        ASSERT_TRUE(result.has_value()) << result.error().detail;
    }
    EXPECT_LE(most, 3);
    EXPECT_LE(client_->statistics().connections_open, 3U);
    client_.reset();
}

} // namespace

} // namespace concordat::transport
