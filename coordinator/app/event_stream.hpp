#pragma once

// Fans decisions and state changes out to the subscribers of GET /v1/events as JSON texts.

#include "coordinator/core/commands.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>

namespace concordat::app {

/// Threading: every member from any thread. A sink must only hand over: it runs on the core thread.
class EventStream {
public:
    using Sink = std::function<void(const std::string& event_json)>;

    std::uint64_t subscribe(Sink sink);
    void unsubscribe(std::uint64_t id);
    [[nodiscard]] bool has_subscribers() const noexcept { return count_.load() > 0; }
    /// Publishes commands that people follow (begin, decide, end); others are skipped.
    void publish(core::LogIndex index, const core::Command& command);

private:
    mutable std::mutex mutex_;
    std::map<std::uint64_t, Sink> sinks_;
    std::uint64_t next_id_ = 1;
    std::atomic<std::size_t> count_{0};
};

} // namespace concordat::app
