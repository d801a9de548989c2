#include "tests/bench/load_generator/report.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <cstddef>
#include <iterator>

namespace concordat::bench {

namespace {

double milliseconds(std::chrono::nanoseconds duration) {
    return std::chrono::duration<double, std::milli>(duration).count();
}

template <class Value, class Difference>
std::vector<std::optional<double>> per_transaction(const std::vector<std::optional<Value>>& before,
                                                   const std::vector<std::optional<Value>>& after,
                                                   std::uint64_t transactions,
                                                   Difference difference) {
    std::vector<std::optional<double>> result;
    for (std::size_t index = 0; index < before.size() && index < after.size(); ++index) {
        if (!before[index] || !after[index] || transactions == 0) {
            result.emplace_back();
            continue;
        }
        result.emplace_back(difference(*before[index], *after[index]) /
                            static_cast<double>(transactions));
    }
    return result;
}

std::string joined(const std::vector<std::optional<double>>& values) {
    std::string text;
    for (const auto& value : values) {
        text += text.empty() ? "" : " / ";
        text += value ? fmt::format("{:.3f}", *value) : std::string("?");
    }
    return text.empty() ? "not measured" : text;
}

nlohmann::json as_array(const std::vector<std::optional<double>>& values) {
    auto array = nlohmann::json::array();
    for (const auto& value : values) {
        array.push_back(value ? nlohmann::json(*value) : nlohmann::json(nullptr));
    }
    return array;
}

} // namespace

Figures figures_of(const Report& report) {
    Figures figures;
    const double window = std::chrono::duration<double>(report.result.window).count();
    const std::uint64_t committed = report.result.committed;
    if (window > 0) {
        figures.per_second = static_cast<double>(committed) / window;
    }
    figures.cpu_milliseconds =
        per_transaction(report.before.cpu, report.after.cpu, committed,
                        [](std::chrono::nanoseconds from, std::chrono::nanoseconds to) {
                            return milliseconds(to - from);
                        });
    figures.fsyncs = per_transaction(report.before.fsyncs, report.after.fsyncs, committed,
                                     [](double from, double to) { return to - from; });
    if (committed > 0) {
        figures.http_exchanges_per_transaction =
            static_cast<double>(report.participants.requests) / static_cast<double>(committed);
    }
    return figures;
}

std::string as_table(const Report& report) {
    const Figures figures = figures_of(report);
    const Options& options = report.options;
    const Histogram& latency = report.result.latency;
    std::string text;
    auto out = std::back_inserter(text);
    if (options.rate > 0) {
        fmt::format_to(out, "{}: open loop, {} transactions/s wanted, {:.1f} s\n", options.label,
                       options.rate, options.seconds);
    } else {
        fmt::format_to(out, "{}: closed loop, {} clients, {:.1f} s\n", options.label,
                       options.clients, options.seconds);
    }
    fmt::format_to(out, "  committed            {:>12}   {:.0f}/s\n", report.result.committed,
                   figures.per_second);
    fmt::format_to(out, "  latency ms           p50 {:.2f}  p90 {:.2f}  p99 {:.2f}  max {:.2f}\n",
                   milliseconds(latency.quantile(0.50)), milliseconds(latency.quantile(0.90)),
                   milliseconds(latency.quantile(0.99)), milliseconds(latency.maximum()));
    fmt::format_to(out, "  CPU ms/transaction   {} (one value per --pid)\n",
                   joined(figures.cpu_milliseconds));
    fmt::format_to(out, "  fsyncs/transaction   {} (one value per --url)\n",
                   joined(figures.fsyncs));
    fmt::format_to(out, "  participant calls    {:.2f} HTTP exchanges per transaction\n",
                   figures.http_exchanges_per_transaction);
    fmt::format_to(out, "  refused, tried again {:>12}\n", report.result.refused);
    if (options.rate > 0) {
        fmt::format_to(out, "  arrivals not sent    {:>12}\n", report.result.not_sent);
    }
    for (const auto& [what, count] : report.result.errors) {
        fmt::format_to(out, "  error: {:<20} {:>6}\n", what, count);
    }
    return text;
}

std::string as_json(const Report& report) {
    const Figures figures = figures_of(report);
    const Options& options = report.options;
    const Histogram& latency = report.result.latency;
    nlohmann::json json;
    json["label"] = options.label;
    json["loop"] = options.rate > 0 ? "open" : "closed";
    json["clients"] = options.clients;
    json["wanted_per_second"] = options.rate;
    json["branches"] = options.branches;
    json["payload_bytes"] = options.payload_bytes;
    json["batch"] = options.batch;
    json["seconds"] = std::chrono::duration<double>(report.result.window).count();
    json["committed"] = report.result.committed;
    json["per_second"] = figures.per_second;
    json["latency_ms"] = {{"mean", milliseconds(latency.mean())},
                          {"p50", milliseconds(latency.quantile(0.50))},
                          {"p90", milliseconds(latency.quantile(0.90))},
                          {"p99", milliseconds(latency.quantile(0.99))},
                          {"p999", milliseconds(latency.quantile(0.999))},
                          {"max", milliseconds(latency.maximum())}};
    json["cpu_ms_per_transaction"] = as_array(figures.cpu_milliseconds);
    json["fsyncs_per_transaction"] = as_array(figures.fsyncs);
    json["participant_exchanges_per_transaction"] = figures.http_exchanges_per_transaction;
    json["refused"] = report.result.refused;
    json["not_sent"] = report.result.not_sent;
    json["errors"] = report.result.errors;
    return json.dump(2) + "\n";
}

} // namespace concordat::bench
