// The decision log by itself: encoding, one node, three nodes in one process, with real files and
// real connections. Figures are for comparison within one run.

#include "coordinator/log/command_codec.hpp"
#include "tests/unit/log/node_harness.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <vector>

namespace concordat::log {
namespace {

std::vector<core::Command> one_transaction() {
    core::Begin begin;
    begin.xid = core::Xid{"g0-17-4711"};
    const auto payload = std::make_shared<const std::string>(100, 'p');
    begin.branches = {{core::ParticipantName{"orders"}, payload, std::nullopt},
                      {core::ParticipantName{"stock"}, payload, std::nullopt}};
    begin.digest = std::string(32, 'd');
    core::Decide decide;
    decide.xid = begin.xid;
    return {begin, decide, core::End{begin.xid, {}}};
}

void encode_transaction(benchmark::State& state) {
    const auto commands = one_transaction();
    for (auto _ : state) {
        benchmark::DoNotOptimize(encode_commands(commands));
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(encode_transaction);

void decode_transaction(benchmark::State& state) {
    const std::string bytes = encode_commands(one_transaction());
    for (auto _ : state) {
        benchmark::DoNotOptimize(decode_commands(bytes));
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(decode_transaction);

/// Appends with `window` entries in flight, each of `packed` commands; counts commands.
void append_and_apply(benchmark::State& state) {
    test::Group group{static_cast<std::size_t>(state.range(0)), [](Options& options) {
                          options.election_timeout = std::chrono::seconds{1};
                          options.heartbeat_interval = std::chrono::milliseconds{50};
                      }};
    const auto window = static_cast<std::size_t>(state.range(1));
    const std::vector<std::string> packed(static_cast<std::size_t>(state.range(2)), "g0-17-4711");
    group.start_all();
    const std::size_t leader = group.leader();
    test::TestNode& node = group.node(leader);
    std::vector<std::chrono::steady_clock::time_point> started;
    std::vector<double> latencies_us;
    std::size_t seen = node.machine().xids().size() / packed.size();
    for (auto _ : state) {
        // One iteration is one applied entry.
        while (started.size() - latencies_us.size() < window && node.append(packed)) {
            started.push_back(std::chrono::steady_clock::now());
        }
        const std::size_t wanted = seen + latencies_us.size() + 1;
        group.run_until([&] { return node.machine().xids().size() / packed.size() >= wanted; });
        latencies_us.push_back(std::chrono::duration<double, std::micro>(
                                   std::chrono::steady_clock::now() - started[latencies_us.size()])
                                   .count());
    }
    std::ranges::sort(latencies_us);
    state.SetItemsProcessed(state.iterations() * state.range(2));
    state.counters["p50_us"] = latencies_us[latencies_us.size() / 2];
    state.counters["p99_us"] = latencies_us[latencies_us.size() * 99 / 100];
    state.counters["fsyncs"] = static_cast<double>(node.log().status().fsyncs);
}
BENCHMARK(append_and_apply)
    ->ArgNames({"nodes", "window", "packed"})
    ->Args({1, 1, 1})
    ->Args({1, 64, 1})
    ->Args({3, 1, 1})
    ->Args({3, 64, 1})
    ->Args({3, 64, 64})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond)
    ->MinTime(0.5);

} // namespace
} // namespace concordat::log

BENCHMARK_MAIN();
