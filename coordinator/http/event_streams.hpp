#pragma once

// GET /v1/events: server-sent events.
//
// What: each stream is a subscription of the gateway whose events are written as they come, with a
// comment every few seconds so that both ends notice a dead connection.
// Why a slow reader is cut off: the stream's buffer is bounded, and the core thread waits for
// nobody. The reader reconnects and reads the list for what it missed.
//
// Threading: open() on io threads; events arrive on the core thread. Source: WHATWG HTML §9.2.

#include "coordinator/http/gateway.hpp"
#include "participant-sdk/src/transport/server.hpp"

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

namespace concordat::transport {
class IoThreads;
}

namespace concordat::http {

class EventStreams {
public:
    EventStreams(Gateway& gateway, transport::IoThreads& threads, std::size_t max_streams,
                 std::chrono::milliseconds keep_alive);
    ~EventStreams();
    EventStreams(const EventStreams&) = delete;
    EventStreams& operator=(const EventStreams&) = delete;

    /// False when there are as many streams as allowed; the responder is untouched then.
    [[nodiscard]] bool open(transport::Responder& responder, std::size_t io_thread);
    /// Ends all streams and takes no new ones.
    void stop();

private:
    struct Stream;
    struct Registry;

    transport::IoThreads& threads_;
    const std::chrono::milliseconds keep_alive_;
    std::shared_ptr<Registry> registry_;
};

} // namespace concordat::http
