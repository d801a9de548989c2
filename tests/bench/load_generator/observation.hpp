// What the coordinator spent: CPU from /proc, fsyncs from its own /metrics.
//
// Threading: plain functions. Errors: a process or a counter that is not there reads as nothing,
// and the report leaves the figure out instead of inventing one.
#pragma once

#include "participant-sdk/src/transport/client.hpp"
#include "participant-sdk/src/transport/uri.hpp"

#include <chrono>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::bench {

// User plus system time of all threads since the process started (clock ticks: 10 ms steps).
[[nodiscard]] std::optional<std::chrono::nanoseconds> cpu_time_of(int pid);

// One blocking HTTP exchange; a sentence when no answer came.
[[nodiscard]] std::expected<transport::Response, std::string>
exchange(transport::Client& client, const transport::Origin& origin,
         transport::OutboundRequest request);

// Sum of all series of `metric` in a Prometheus text exposition.
[[nodiscard]] std::optional<double> metric_in(std::string_view exposition, std::string_view metric);

struct CoordinatorCounters {
    std::vector<std::optional<std::chrono::nanoseconds>> cpu; // by pid
    std::vector<std::optional<double>> fsyncs;                // by origin
};

[[nodiscard]] CoordinatorCounters read_counters(transport::Client& client,
                                                const std::vector<transport::Origin>& origins,
                                                const std::vector<int>& pids);

} // namespace concordat::bench
