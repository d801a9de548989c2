// The HTTP/1.1 server.
//
// What: accepts connections, enforces every limit, hands complete requests to one handler and
// writes the answers in order. Each connection is a state machine on one io thread with buffers
// that live as long as the connection.
//
// Threading: the handler runs on the connection's io thread and must not block; it may answer at
// once or keep the Responder and answer later from any thread. Requests of one connection are
// handled one after the other (pipelined ones wait in the read buffer); different connections run
// in parallel.
// Ownership: the IoThreads must outlive the server. After stop() returned, no handler and no
// stream callback runs any more; Responders that are still held do nothing.
// Errors: everything that fails before a handler (framing, sizes, time-outs) is rendered through
// the ErrorFormatter, answered, and the connection is closed. No handler has seen such a request:
// it had no effect.
#pragma once

#include "participant-sdk/src/transport/framing_filter.hpp"
#include "participant-sdk/src/transport/io_threads.hpp"
#include "participant-sdk/src/transport/message.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace concordat::transport {

namespace detail {
class Exchange;
struct StreamState;
} // namespace detail

struct ServerOptions {
    std::string address = "127.0.0.1"; // IP to bind
    std::uint16_t port = 0;            // 0: chosen by the system, see Server::port()
    int backlog = 1024;

    std::size_t header_limit_bytes = 8 * 1024;
    std::size_t body_limit_bytes = 256 * 1024;
    FramingLimits framing;

    std::chrono::milliseconds header_timeout{5000};   // from the first byte of a head to its last
    std::chrono::milliseconds body_grace{5000};       // a body may always take this long ...
    std::size_t body_minimum_bytes_per_second = 1024; // ... plus its received bytes at this rate
    std::chrono::milliseconds idle_timeout{30000};    // between requests, and before the first
    std::chrono::milliseconds write_timeout{30000};   // without progress in writing an answer

    std::size_t max_connections = 4096;
    std::size_t max_connections_per_address = 1024;
    std::size_t stream_buffer_bytes = 64 * 1024; // unsent bytes of one event stream
};

// A failure that the transport itself answers.
struct ProtocolError {
    enum class Kind : std::uint8_t {
        bad_framing,          // 400
        header_too_large,     // 431
        body_too_large,       // 413
        header_timeout,       // 408
        body_timeout,         // 408
        too_many_connections, // 503
        unanswered,           // 500: the handler dropped its Responder, or threw
    };
    Kind kind;
    int status;
    std::string_view detail; // a sentence; valid during the call
};
// Must not throw. Without one, errors have an empty body.
using ErrorFormatter = std::function<Response(const ProtocolError&)>;

// One event stream (server-sent events): chunks of bytes, written as they come.
// Threading: any thread, one at a time. Dropping it closes the stream.
class StreamWriter {
public:
    enum class Result : std::uint8_t {
        accepted,
        full,   // the unsent bytes would exceed the buffer: nothing was taken
        closed, // the peer or the server has ended the stream
    };

    StreamWriter() = default;
    explicit StreamWriter(std::shared_ptr<detail::StreamState> state) noexcept;
    StreamWriter(StreamWriter&&) noexcept = default;
    StreamWriter& operator=(StreamWriter&& other) noexcept;
    ~StreamWriter(); // close()

    Result write(std::string_view bytes);
    // Ends the stream after what was accepted.
    void close();
    [[nodiscard]] bool closed() const;
    // Called once on the connection's io thread when the peer or the server ends the stream; at
    // once, on the calling thread, if that has happened already. Not called after close().
    void on_closed(std::move_only_function<void()> callback);

private:
    std::shared_ptr<detail::StreamState> state_;
};

// The obligation to answer one request, exactly once, from any thread. Dropped without an answer
// it answers 500. When the peer has gone, answers are discarded.
class Responder {
public:
    Responder() = default;
    Responder(std::shared_ptr<detail::Exchange> exchange, std::uint64_t number) noexcept;
    Responder(Responder&&) noexcept = default;
    Responder& operator=(Responder&& other) noexcept;
    ~Responder();

    // Uses the Responder up. A second call is a bug and stops the process.
    void operator()(Response response);
    // Sends the head of `response` (its body is ignored) and leaves the body open.
    [[nodiscard]] StreamWriter stream(Response response);
    // True until answered.
    [[nodiscard]] explicit operator bool() const noexcept { return exchange_ != nullptr; }

private:
    std::shared_ptr<detail::Exchange> exchange_;
    std::uint64_t number_ = 0;
};

using Handler = std::function<void(Request&&, Responder)>;

struct ServerStatistics {
    std::uint64_t connections_accepted = 0;
    std::uint64_t connections_refused = 0; // by a cap
    std::uint64_t connections_open = 0;
    std::uint64_t requests = 0;
    std::uint64_t protocol_errors = 0; // answered by the transport
    std::uint64_t timeouts = 0;
};

class Server {
public:
    Server(IoThreads& threads, ServerOptions options, Handler handler,
           ErrorFormatter formatter = {});
    ~Server(); // stop() without grace
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    // Binds and listens. Error: a sentence; nothing is listening.
    [[nodiscard]] std::expected<void, std::string> start();
    [[nodiscard]] std::uint16_t port() const noexcept;

    // Stops accepting, ends streams and idle connections, lets requests in flight be answered until
    // the grace is over, then closes what is left. Blocks; not from an io thread. Idempotent.
    void stop(std::chrono::milliseconds grace = std::chrono::milliseconds{0});

    [[nodiscard]] ServerStatistics statistics() const noexcept;

private:
    struct State;
    std::shared_ptr<State> state_;
};

} // namespace concordat::transport
