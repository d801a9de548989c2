#include "participant-sdk/src/transport/client.hpp"
#include "tests/unit/transport/client_fixture.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
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

// The request arrives as it was given, the answer comes back whole, and the connection is reused.
TEST_F(ClientTest, exchanges_messages_on_one_kept_connection) {
    test::Inbox<Request> received;
    Server server(threads_, {}, [&](Request&& request, Responder respond) {
        Response response{.status = 201,
                          .headers = {},
                          .body = "<" + request.body + ">",
                          .content_type = "text/x"};
        response.headers.add("X-Answer", "1");
        received.put(std::move(request));
        respond(std::move(response));
    });
    ASSERT_TRUE(server.start().has_value());
    client({.max_connections_per_origin = 1});
    for (int round = 0; round < 3; ++round) {
        OutboundRequest request = post("/v1/x?y=1", "payload");
        request.headers.add("traceparent", "00-1");
        request.headers.add("Content-Length", "999"); // not the caller's business
        const auto result = exchange({false, "127.0.0.1", server.port()}, std::move(request));
        ASSERT_TRUE(result.has_value()) << result.error().detail;
        EXPECT_EQ(result->status, 201);
        EXPECT_EQ(result->body, "<payload>");
        EXPECT_EQ(result->content_type, "text/x");
        EXPECT_EQ(result->headers.find("x-answer"), "1");
        EXPECT_FALSE(result->close);
        const auto seen = received.take();
        ASSERT_TRUE(seen.has_value());
        EXPECT_EQ(seen->method, "POST");
        EXPECT_EQ(seen->target, "/v1/x?y=1");
        EXPECT_EQ(seen->headers.find("Host"), "127.0.0.1:" + std::to_string(server.port()));
        EXPECT_EQ(seen->headers.find("traceparent"), "00-1");
        EXPECT_EQ(seen->headers.find("content-type"), "application/json");
    }
    EXPECT_EQ(client_->statistics().connections_opened, 1U);
    EXPECT_TRUE(test::eventually([&] { return client_->statistics().in_flight == 0; }));
}

// Many requests from many threads to a real server all come back with their own answer.
TEST_F(ClientTest, keeps_answers_apart_under_load) {
    Server server(threads_, {}, [](Request&& request, Responder respond) {
        respond({.status = 200, .headers = {}, .body = request.body});
    });
    ASSERT_TRUE(server.start().has_value());
    client({.max_connections_per_origin = 7, .max_queued_per_origin = 10'000});
    constexpr int senders = 4;
    constexpr int each = 500;
    std::atomic<int> right{0};
    test::Inbox<int> done;
    std::vector<std::thread> sending;
    for (int sender = 0; sender < senders; ++sender) {
        sending.emplace_back([&, sender] {
            for (int index = 0; index < each; ++index) {
                // Some bodies are larger than what is copied behind the head.
                const std::string body = std::to_string(sender) + ":" + std::to_string(index) +
                                         std::string(index % 50 == 0 ? 20'000 : 10, 'x');
                client_->send({false, "127.0.0.1", server.port()}, post("/", body),
                              [&, body](Client::Result result) {
                                  right += result && result->body == body ? 1 : 0;
                                  if (right == senders * each || !result) {
                                      done.put(1);
                                  }
                              });
            }
        });
    }
    for (std::thread& thread : sending) {
        thread.join();
    }
    EXPECT_TRUE(done.take().has_value());
    EXPECT_EQ(right, senders * each);
    EXPECT_LE(client_->statistics().connections_opened, 7U);
    client_.reset();
    server.stop();
}

// A body without length ends with the connection; a chunked one with its last chunk, even byte by
// byte.
TEST_F(ClientTest, understands_every_framing_of_answers) {
    const std::vector<std::pair<std::string, std::string>> answers{
        {"HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end"},
        {"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold", "old"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\nT: "
         "u\r\n\r\n",
         "abc"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""},
        {"HTTP/1.1 204 No Content\r\n\r\n", ""},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n"
         "Content-Length: 4\r\n\r\nreal",
         "real"},
    };
    client();
    for (const auto& [answer, body] : answers) {
        ScriptedServer server([&answer = answer](RawSocket& socket, std::size_t) {
            socket.receive_until("\r\n\r\n");
            for (const char byte : answer) {
                socket.send({&byte, 1});
            }
        });
        const auto result = exchange(server.origin(), get("/"));
        ASSERT_TRUE(result.has_value())
            << answer << name(result.error().kind) << result.error().detail;
        EXPECT_EQ(result->body, body);
        EXPECT_FALSE(result->headers.contains("T"));
    }
}

// Answers that are not HTTP, or HTTP that can be read in two ways, are errors of unknown effect.
TEST_F(ClientTest, refuses_garbage) {
    client({.request_timeout = 5s});
    for (const char* garbage :
         {"garbage\r\n\r\n", "\r\n\r\n", "HTTP/1.1 200 OK\n\n", "SSH-2.0-x\r\n\r\n",
          "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 xyz OK\r\n\r\n",
          "HTTP/1.1 101 Switching\r\n\r\n", "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
          "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyzxyz\r\n"}) {
        ScriptedServer server([&](RawSocket& socket, std::size_t) {
            socket.receive_until("\r\n\r\n");
            socket.send(garbage);
            socket.receive(); // the client closes
        });
        SCOPED_TRACE(garbage);
        expect_error(exchange(server.origin(), post("/", "x")), Kind::bad_response,
                     Effect::unknown);
    }
}

// An answer beyond the cap is refused by its announcement or as soon as the bytes exceed it.
TEST_F(ClientTest, refuses_answers_larger_than_the_cap) {
    client({.response_body_limit_bytes = 64 * 1024});
    const std::string ten_megabytes(10 * 1024 * 1024, 'x');
    const std::string announced =
        "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(ten_megabytes.size()) + "\r\n\r\n";
    const std::string endless = "HTTP/1.1 200 OK\r\n\r\n";
    const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na00000\r\n";
    const std::string head = "HTTP/1.1 200 OK\r\nX: ";
    for (const std::string& start : {announced, endless, chunked, head}) {
        ScriptedServer server([&](RawSocket& socket, std::size_t) {
            socket.receive_until("\r\n\r\n");
            socket.send(start);
            socket.send(ten_megabytes); // false as soon as the client has closed
        });
        SCOPED_TRACE(start);
        expect_error(exchange(server.origin(), get("/")), Kind::response_too_large,
                     Effect::unknown);
    }
}

// A connection that nobody accepts, or to a port without a listener, fails without effect.
TEST_F(ClientTest, reports_a_refused_connection) {
    std::uint16_t port = 0;
    {
        const ScriptedServer gone([](RawSocket&, std::size_t) {});
        port = gone.port();
    }
    client();
    expect_error(exchange({false, "127.0.0.1", port}, get("/")), Kind::connect_failed,
                 Effect::none);
}

// A name that does not exist fails without effect; localhost resolves without a name server.
TEST_F(ClientTest, resolves_names) {
    ScriptedServer server([](RawSocket& socket, std::size_t) {
        socket.receive_until("\r\n\r\n");
        socket.send(ok_answer);
    });
    client();
    const auto result = exchange({false, "localhost", server.port()}, get("/"));
    ASSERT_TRUE(result.has_value()) << result.error().detail;
    EXPECT_EQ(result->body, "ok");
    expect_error(exchange({false, "no-such-host.invalid", 80}, get("/")), Kind::connect_failed,
                 Effect::none);
}

// The address check sees what a name resolved to, and refusal means no connection is made.
TEST_F(ClientTest, connects_only_to_allowed_addresses) {
    ScriptedServer server([](RawSocket& socket, std::size_t) {
        socket.receive_until("\r\n\r\n");
        socket.send(ok_answer);
    });
    client({.allow_address = [](const std::string& ip) { return !ip.starts_with("127."); }});
    expect_error(exchange(server.origin(), get("/")), Kind::address_refused, Effect::none);
    EXPECT_EQ(server.connections(), 0U);
    client({.allow_address = [](const std::string& ip) { return ip == "127.0.0.1"; }});
    EXPECT_TRUE(exchange(server.origin(), get("/")).has_value());
    EXPECT_TRUE(exchange({false, "localhost", server.port()}, get("/")).has_value());
}

// A peer that never answers costs exactly the request's own time-out.
TEST_F(ClientTest, times_out_a_hanging_peer) {
    ScriptedServer* hanging = nullptr;
    ScriptedServer server([&](RawSocket& socket, std::size_t) {
        socket.receive_until("\r\n\r\n");
        hanging->hang();
    });
    hanging = &server;
    client({.request_timeout = 60s});
    OutboundRequest request = get("/");
    request.timeout = 50ms;
    expect_error(exchange(server.origin(), std::move(request)), Kind::timed_out, Effect::unknown);
    EXPECT_TRUE(test::eventually([&] { return client_->statistics().connections_open == 0; }));
}

// Requests that only waited in the queue when their time was over had no effect.
TEST_F(ClientTest, times_out_queued_requests_without_effect) {
    ScriptedServer* hanging = nullptr;
    ScriptedServer server([&](RawSocket& socket, std::size_t) {
        socket.receive_until("\r\n\r\n");
        hanging->hang();
    });
    hanging = &server;
    client({.max_connections_per_origin = 1, .request_timeout = 60s});
    Calls first;
    client_->send(server.origin(), get("/first"), first.callback());
    OutboundRequest request = get("/queued");
    request.timeout = 50ms;
    expect_error(exchange(server.origin(), std::move(request)), Kind::timed_out, Effect::none);
    EXPECT_EQ(first.size(), 0U);
    client_->stop();
    expect_error(first.take(), Kind::stopped, Effect::unknown);
}

// The queue of an origin is bounded: the next request fails at once, and other origins go on.
TEST_F(ClientTest, isolates_a_hanging_origin) {
    ScriptedServer* hanging = nullptr;
    ScriptedServer stuck([&](RawSocket& socket, std::size_t) {
        socket.receive_until("\r\n\r\n");
        hanging->hang();
    });
    hanging = &stuck;
    ScriptedServer healthy([](RawSocket& socket, std::size_t) {
        while (!socket.receive_until("\r\n\r\n").empty() && socket.send(ok_answer)) {
        }
    });
    client({.max_connections_per_origin = 1, .max_queued_per_origin = 2, .request_timeout = 60s});
    for (int index = 0; index < 3; ++index) {
        client_->send(stuck.origin(), get("/"), calls_.callback());
    }
    Calls fourth;
    client_->send(stuck.origin(), get("/"), fourth.callback());
    expect_error(fourth.take(), Kind::queue_full, Effect::none);
    // The first has left the queue once its connection stands.
    EXPECT_TRUE(test::eventually([&] { return client_->statistics().queued == 2; }));
    Calls others;
    for (int index = 0; index < 20; ++index) {
        client_->send(healthy.origin(), get("/"), others.callback());
        const auto result = others.take();
        // The healthy origin's own queue is bounded too, but one at a time never fills it.
        ASSERT_TRUE(result.has_value()) << result.error().detail;
    }
    EXPECT_EQ(calls_.size(), 0U);
    client_->stop();
    EXPECT_EQ(calls_.size(), 3U);
}

} // namespace

} // namespace concordat::transport
