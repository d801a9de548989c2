#include "tests/bench/load_generator/observation.hpp"

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <future>
#include <iterator>
#include <memory>
#include <sstream>
#include <utility>

namespace concordat::bench {

std::optional<std::chrono::nanoseconds> cpu_time_of(int pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    // The name in parentheses may contain anything; fields count from the last ')'.
    const std::size_t name_end = text.rfind(')');
    if (name_end == std::string::npos) {
        return std::nullopt;
    }
    std::istringstream fields(text.substr(name_end + 1));
    std::string skipped;
    for (int field = 3; field < 14; ++field) {
        fields >> skipped;
    }
    std::int64_t user = 0;
    std::int64_t system = 0;
    if (!(fields >> user >> system)) {
        return std::nullopt;
    }
    const std::int64_t ticks_per_second = sysconf(_SC_CLK_TCK);
    return std::chrono::nanoseconds{(user + system) * (1'000'000'000 / ticks_per_second)};
}

std::expected<transport::Response, std::string> exchange(transport::Client& client,
                                                         const transport::Origin& origin,
                                                         transport::OutboundRequest request) {
    auto promise = std::make_shared<std::promise<transport::Client::Result>>();
    auto answer = promise->get_future();
    client.send(origin, std::move(request), [promise](transport::Client::Result result) {
        promise->set_value(std::move(result));
    });
    transport::Client::Result result = answer.get();
    if (!result) {
        return std::unexpected(std::string(transport::name(result.error().kind)) + ": " +
                               result.error().detail);
    }
    return std::move(*result);
}

std::optional<double> metric_in(std::string_view exposition, std::string_view metric) {
    std::optional<double> sum;
    while (!exposition.empty()) {
        const std::size_t end = exposition.find('\n');
        const std::string_view line = exposition.substr(0, end);
        exposition.remove_prefix(end == std::string_view::npos ? exposition.size() : end + 1);
        if (!line.starts_with(metric) || line.size() == metric.size()) {
            continue;
        }
        const char next = line[metric.size()];
        const std::size_t space = line.rfind(' ');
        if ((next == ' ' || next == '{') && space != std::string_view::npos) {
            sum =
                sum.value_or(0) + std::strtod(std::string(line.substr(space + 1)).c_str(), nullptr);
        }
    }
    return sum;
}

CoordinatorCounters read_counters(transport::Client& client,
                                  const std::vector<transport::Origin>& origins,
                                  const std::vector<int>& pids) {
    CoordinatorCounters counters;
    for (const int pid : pids) {
        counters.cpu.push_back(cpu_time_of(pid));
    }
    for (const transport::Origin& origin : origins) {
        transport::OutboundRequest request;
        request.method = "GET";
        request.target = "/metrics";
        const auto answer = exchange(client, origin, std::move(request));
        counters.fsyncs.push_back(answer && answer->status == 200
                                      ? metric_in(answer->body, "concordat_log_fsyncs_total")
                                      : std::nullopt);
    }
    return counters;
}

} // namespace concordat::bench
