// The HTTP/1.1 client: keep-alive pools, one per origin.
//
// What: sends requests to origins over pooled connections and calls back with the answer or with an
// error that says what is known about its effect. No redirects, no cookies, no proxies.
// Why bounded per origin: an origin that hangs fills its own connections and its own queue and
// gets queue_full at once; requests to other origins are not delayed.
//
// Threading: send() from any thread. The callback runs exactly once, on an io thread (when send()
// was called on an io thread, usually on that same one), never inside send(). It must not block.
// Ownership: the IoThreads must outlive the client. stop() completes every outstanding callback
// before it returns; the destructor calls it.
// Errors: TransportError. An HTTP error status is not an error here: it is a Response.
#pragma once

#include "participant-sdk/src/transport/io_threads.hpp"
#include "participant-sdk/src/transport/message.hpp"
#include "participant-sdk/src/transport/uri.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace concordat::transport {

struct TransportError {
    enum class Kind : std::uint8_t {
        invalid_request,    // the request itself cannot be sent; effect none
        queue_full,         // too many requests wait for this origin; effect none
        connect_failed,     // no connection could be made, or the name not resolved; effect none
        address_refused,    // the name resolved only to forbidden addresses; effect none
        timed_out,          // effect none while it waited, unknown once bytes were written
        reset,              // the connection broke; effect none if surely nothing was written
        bad_response,       // not HTTP/1.x; effect unknown
        response_too_large, // effect unknown
        stopped,            // stop() or cancel(); effect none while it waited, unknown otherwise
    };
    enum class Effect : std::uint8_t {
        none,    // the peer has not acted on the request
        unknown, // it may have
    };

    Kind kind;
    Effect effect;
    std::string detail; // one sentence for logs, without secrets
};

[[nodiscard]] std::string_view name(TransportError::Kind kind) noexcept;

struct ClientOptions {
    std::size_t max_connections_per_origin = 64;
    std::size_t max_queued_per_origin = 1024; // requests that wait for a connection
    std::chrono::milliseconds connect_timeout{3000};
    std::chrono::milliseconds request_timeout{
        10000};                                    // when the request names none; queueing included
    std::chrono::milliseconds idle_timeout{20000}; // shorter than the servers' own
    std::size_t response_header_limit_bytes = 8 * 1024;
    std::size_t response_body_limit_bytes = 64 * 1024;
    // Sends a request that is marked idempotent once more, on a fresh connection, when a reused
    // connection was closed by the peer before any byte of the answer came.
    bool retry_on_stale_connection = true;
    std::size_t resolver_threads = 2; // started when the first host name (not an IP) is used
    // Asked for every resolved address ("10.0.0.7", "fd00::7"); empty allows all. On an io thread.
    std::function<bool(const std::string& ip)> allow_address;
};

struct OutboundRequest {
    std::string method = "POST";
    std::string target = "/"; // origin form, already escaped
    Headers headers;          // Host and Content-Length are added by the client
    std::string body;
    std::string content_type = "application/json"; // sent with a non-empty body; "" sends none
    std::chrono::milliseconds timeout{0};          // 0: ClientOptions::request_timeout
    bool idempotent = true;
};

struct ClientStatistics {
    std::uint64_t connections_opened = 0;
    std::uint64_t connections_open = 0;
    std::uint64_t requests = 0;  // accepted by send()
    std::uint64_t in_flight = 0; // callbacks outstanding, waiting ones included
    std::uint64_t queued = 0;    // waiting for a connection
    std::uint64_t errors = 0;
    std::uint64_t stale_retries = 0;
};

class Client {
public:
    using Result = std::expected<Response, TransportError>;
    using Callback = std::move_only_function<void(Result)>;

    Client(IoThreads& threads, ClientOptions options);
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    void send(const Origin& origin, OutboundRequest request, Callback callback);
    // Completes what is outstanding for this origin with `stopped` and closes its connections.
    void cancel(const Origin& origin);
    // Completes everything with `stopped`; later send() calls get `stopped` as well. Blocks until
    // all callbacks have run; not from an io thread. Idempotent.
    void stop();

    [[nodiscard]] ClientStatistics statistics() const noexcept;

private:
    struct State;
    std::shared_ptr<State> state_;
};

} // namespace concordat::transport
