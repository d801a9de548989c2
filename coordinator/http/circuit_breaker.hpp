#pragma once

// Holds calls back from a participant that has stopped answering.
//
//   closed ──failures in a row──▶ open ──open time over──▶ one probe ──success──▶ closed
//                                   ▲                          │
//                                   └────────failure───────────┘
//
// Why: a hung participant would otherwise collect calls that each wait for their time-out, and its
// recovery would be met by all of them at once.
//
// Threading: any thread (a mutex inside). Source: Nygard, Release It!, ch. 5.

#include <chrono>
#include <cstdint>
#include <mutex>

namespace concordat::http {

class CircuitBreaker {
public:
    using Clock = std::chrono::steady_clock;

    CircuitBreaker(std::uint32_t failures, std::chrono::milliseconds open_time) noexcept
        : failures_(failures), open_time_(open_time) {}

    /// True when a call may be made now. When the circuit is open, that call is the probe and its
    /// result must be reported.
    [[nodiscard]] bool allow(Clock::time_point now);
    void succeeded();
    void failed(Clock::time_point now);

private:
    const std::uint32_t failures_;
    const std::chrono::milliseconds open_time_;
    std::mutex mutex_;
    std::uint32_t in_a_row_ = 0;
    Clock::time_point open_until_{};
    bool probing_ = false;
};

} // namespace concordat::http
