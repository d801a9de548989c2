// What the relay tells about itself: counters, gauges and its present state.
//
// Threading: every member may be used from any thread. Ownership: outlives the threads that use it.
// Units: seconds and rows, as the metric names say.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace concordat::relay {

// A latency histogram with fixed bounds; recording is wait-free.
class LatencyHistogram {
public:
    static constexpr std::array<double, 20> bounds_seconds{
        0.001, 0.002, 0.003, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025,
        0.05,  0.1,   0.25,  0.5,   1,     5,     30,   300,   3600, 86400};

    void record(double seconds) noexcept;
    [[nodiscard]] std::array<std::uint64_t, bounds_seconds.size() + 1> counts() const noexcept;
    [[nodiscard]] double sum_seconds() const noexcept;

private:
    std::array<std::atomic<std::uint64_t>, bounds_seconds.size() + 1> counts_{};
    std::atomic<std::uint64_t> sum_microseconds_{0};
};

struct Telemetry {
    std::atomic<std::uint64_t> rows_read{0};
    std::atomic<std::uint64_t> rows_published{0};
    std::atomic<std::uint64_t> rows_deleted{0};
    std::atomic<std::uint64_t> deletes_refused{0}; // acknowledged, but not deleted under this lease
    std::atomic<std::uint64_t> rows_late{0};       // visible only after the position had passed
    std::atomic<std::uint64_t> rows_swept{0};      // found by a sweep only
    std::atomic<std::uint64_t> rows_dead{0};
    std::atomic<std::uint64_t> keys_parked{0};
    std::atomic<std::uint64_t> producer_resets{0};
    std::atomic<std::uint64_t> polls{0};
    std::atomic<std::uint64_t> poll_microseconds{0};
    std::atomic<std::uint64_t> last_poll_microseconds{0};

    std::atomic<std::size_t> rows_in_memory{0};
    std::atomic<std::size_t> rows_at_kafka{0}; // sent and not acknowledged
    std::atomic<std::size_t> open_transactions{0};
    std::atomic<std::int64_t> position{0};
    std::atomic<std::int64_t> floor{0};
    std::atomic<bool> database_connected{false};
    std::atomic<bool> producer_ready{false};
    std::atomic<bool> stopping{false};
    std::atomic<std::int64_t> last_acknowledgement_ms{0}; // steady clock

    // From the monitor, by its last look at counters and tables; -1: not known.
    std::atomic<double> published_per_second{-1};
    std::atomic<std::int64_t> pending_rows{-1};
    std::atomic<std::int64_t> oldest_pending_ms{-1};
    std::atomic<std::int64_t> parked_now{-1};
    std::atomic<std::int64_t> dead_now{-1};

    LatencyHistogram age_at_acknowledgement;

    // Sentences for /readyz and the status route; empty: no trouble.
    void set_trouble(const std::string& subject, const std::string& text);
    [[nodiscard]] std::map<std::string, std::string> troubles() const;

private:
    mutable std::mutex mutex_;
    std::map<std::string, std::string> troubles_; // at most one per subject
};

} // namespace concordat::relay
