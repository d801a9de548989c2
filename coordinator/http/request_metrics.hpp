#pragma once

// Counters of answered requests by route and status.
//
// Threading: any thread, relaxed atomics: figures may be a request apart, never torn.

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace concordat::http {

struct Route;

class RequestMetrics {
public:
    /// `route` is null for requests without one.
    void count(const Route* route, int status, std::chrono::nanoseconds duration) noexcept;
    /// concordat_http_responses_total and concordat_http_request_duration_seconds.
    [[nodiscard]] std::string text() const;

    static constexpr std::size_t max_routes = 32;
    static constexpr std::array statuses{200, 201, 202, 204, 304, 400, 401, 403, 404, 405,
                                         408, 409, 410, 413, 415, 422, 431, 500, 503, 504};

private:
    struct Counters {
        std::array<std::atomic<std::uint64_t>, statuses.size()> answered{};
        std::atomic<std::uint64_t> nanoseconds{0};
    };
    std::array<Counters, max_routes> counters_{}; ///< the last one counts what has no route
};

} // namespace concordat::http
