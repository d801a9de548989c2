// What all connections of one server share.
#pragma once

#include "participant-sdk/src/transport/exchange.hpp"
#include "participant-sdk/src/transport/server.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace concordat::transport::detail {

// A connection, seen from the server. All calls on the connection's loop.
class StoppableConnection : public Exchange {
public:
    // Closes as soon as the request in flight, if any, is answered.
    virtual void begin_stop() = 0;
    virtual void close_now() = 0;
};

struct ServerShared {
    ServerShared(ServerOptions server_options, Handler server_handler,
                 ErrorFormatter error_formatter, std::size_t loops)
        : options(std::move(server_options)),
          handler(std::move(server_handler)),
          formatter(std::move(error_formatter)),
          connections(loops) {}

    // Counts a connection in, unless a cap forbids it.
    [[nodiscard]] bool admit(const std::string& address);
    void depart(const std::string& address);
    // False when the grace was over first.
    [[nodiscard]] bool wait_until_empty(std::chrono::steady_clock::time_point limit);
    void wait_until_empty();

    [[nodiscard]] Response render(const ProtocolError& error) const;

    const ServerOptions options;
    const Handler handler;
    const ErrorFormatter formatter;

    std::atomic<bool> stopping{false};
    std::atomic<std::uint64_t> accepted{0};
    std::atomic<std::uint64_t> refused{0};
    std::atomic<std::uint64_t> requests{0};
    std::atomic<std::uint64_t> protocol_errors{0};
    std::atomic<std::uint64_t> timeouts{0};

    // One registry per loop, touched only on that loop.
    using Registry = std::unordered_map<const Exchange*, std::shared_ptr<StoppableConnection>>;
    std::vector<Registry> connections;

    mutable std::mutex mutex;
    std::condition_variable departed;
    std::size_t open = 0;
    std::map<std::string, std::size_t> open_per_address;
};

} // namespace concordat::transport::detail
