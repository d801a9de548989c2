// What a Responder and a StreamWriter know of the connection behind them.
#pragma once

#include "participant-sdk/src/transport/message.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

namespace concordat::transport::detail {

struct StreamState;

// One server connection, seen from any thread. `number` counts the requests of the connection, so
// that an answer can never meet another request.
class Exchange {
public:
    Exchange() = default;
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;
    virtual ~Exchange() = default;

    virtual void respond(std::uint64_t number, Response response) = 0;
    // The Responder died without an answer.
    virtual void abandon(std::uint64_t number) = 0;
    virtual std::shared_ptr<StreamState> open_stream(std::uint64_t number, Response response) = 0;
    // Bytes or the end wait in the stream's state.
    virtual void stream_ready(std::uint64_t number) = 0;
};

// Shared by the writer's thread and the connection's.
struct StreamState {
    std::mutex mutex;
    std::shared_ptr<Exchange> exchange; // until closed
    std::uint64_t number = 0;
    std::size_t limit_bytes = 0;
    std::string pending;
    bool announced = false; // the connection has been told and has not looked yet
    bool finished = false;  // by the writer
    bool closed = false;    // by the peer or the server
    std::move_only_function<void()> on_closed;
};

} // namespace concordat::transport::detail
