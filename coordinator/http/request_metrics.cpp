#include "coordinator/http/request_metrics.hpp"

#include "coordinator/http/routes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace concordat::http {
namespace {

constexpr std::string_view responses_name = "concordat_http_responses_total";
constexpr std::string_view duration_name = "concordat_http_request_duration_seconds";

std::string heading(std::string_view name, std::string_view type, std::string_view help) {
    return fmt::format("# HELP {0} {2}\n# TYPE {0} {1}\n", name, type, help);
}

} // namespace

void RequestMetrics::count(const Route* route, int status,
                           std::chrono::nanoseconds duration) noexcept {
    const std::size_t index =
        route == nullptr
            ? max_routes - 1
            : std::min(static_cast<std::size_t>(route - routes().data()), max_routes - 1);
    Counters& counters = counters_[index];
    const auto* found = std::find(statuses.begin(), statuses.end(), status);
    // A status that is not in the table can only come from a forwarded answer.
    const auto bucket = found == statuses.end()
                            ? statuses.size() - 1
                            : static_cast<std::size_t>(found - statuses.begin());
    counters.answered[bucket].fetch_add(1, std::memory_order_relaxed);
    counters.nanoseconds.fetch_add(static_cast<std::uint64_t>(duration.count()),
                                   std::memory_order_relaxed);
}

std::string RequestMetrics::text() const {
    std::string responses =
        heading(responses_name, "counter", "Answers by route, method and status.");
    std::string durations =
        heading(duration_name, "summary", "Time from a complete request to its answer.");
    const auto table = routes();
    for (std::size_t index = 0; index < max_routes; ++index) {
        const Counters& counters = counters_[index];
        const bool has_route = index < table.size();
        const std::string labels =
            fmt::format("route=\"{}\",method=\"{}\"", has_route ? table[index].pattern : "other",
                        has_route ? table[index].method : "other");
        std::uint64_t total = 0;
        for (std::size_t bucket = 0; bucket < statuses.size(); ++bucket) {
            const auto count = counters.answered[bucket].load(std::memory_order_relaxed);
            total += count;
            if (count != 0) {
                fmt::format_to(std::back_inserter(responses), "{}{{{},code=\"{}\"}} {}\n",
                               responses_name, labels, statuses[bucket], count);
            }
        }
        if (total != 0) {
            const double seconds =
                static_cast<double>(counters.nanoseconds.load(std::memory_order_relaxed)) / 1e9;
            fmt::format_to(std::back_inserter(durations),
                           "{0}_sum{{{1}}} {2:.6f}\n{0}_count{{{1}}} {3}\n", duration_name, labels,
                           seconds, total);
        }
    }
    return responses + durations;
}

} // namespace concordat::http
