// How many transactions per second the transaction core decides on one thread, with a log that
// commits at once and participants that answer at once: the cost of the protocol itself.

#include "coordinator/core/transaction_coordinator.hpp"

#include <benchmark/benchmark.h>

namespace concordat::core {
namespace {

using namespace std::chrono_literals;

class Driver {
public:
    explicit Driver(Protocol protocol) : core_(options()), protocol_(protocol) {
        core_.advance(now_, {});
        core_.became_leader();
        turn();
        for (const char* name : {"orders", "inventory"}) {
            core_.request(RequestToken{++token_},
                          PutParticipantRequest{ParticipantName{name},
                                                {"http://127.0.0.1:8080", "", 10s, 1'000'000},
                                                "bench"});
        }
        turn();
    }

    /// `clients` transactions from BEGIN to the last acknowledgement.
    void round(std::size_t clients) {
        now_ += 1ms;
        core_.advance(now_, {});
        for (std::size_t i = 0; i < clients; ++i) {
            BeginRequest begin;
            begin.protocol = protocol_;
            begin.digest = std::string(32, 'd');
            begin.branches.push_back({orders_, payload_, std::nullopt});
            begin.branches.push_back({inventory_, payload_, std::nullopt});
            core_.request(RequestToken{++token_}, std::move(begin));
        }
        while (turn()) {
        }
    }

    [[nodiscard]] CoordinatorFigures figures() const { return core_.figures(); }

private:
    static CoordinatorOptions options() {
        CoordinatorOptions options;
        options.node = NodeId{1};
        options.seed = 1;
        return options;
    }

    bool turn() {
        Actions actions = core_.take_actions();
        const bool busy = !actions.append.empty() || !actions.calls.empty();
        if (!actions.append.empty()) {
            core_.apply(LogIndex{++index_}, std::move(actions.append));
        }
        for (ParticipantCall& call : actions.calls) {
            if (call.key.operation == Operation::prepare) {
                core_.call_result({std::move(call.key), CallResult::Voted{Vote::yes, {}}});
            } else {
                core_.call_result({std::move(call.key), CallResult::Done{}});
            }
        }
        benchmark::DoNotOptimize(actions.replies.data());
        return busy;
    }

    TransactionCoordinator core_;
    Protocol protocol_;
    Instant now_{1s};
    std::uint64_t index_ = 0;
    std::uint64_t token_ = 0;
    ParticipantName orders_{"orders"};
    ParticipantName inventory_{"inventory"};
    SharedBytes payload_ = std::make_shared<const std::string>(200, 'p');
};

void transactions(benchmark::State& state, Protocol protocol) {
    Driver driver(protocol);
    const auto clients = static_cast<std::size_t>(state.range(0));
    for (auto _ : state) {
        driver.round(clients);
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
    const CoordinatorFigures figures = driver.figures();
    state.counters["committed"] =
        static_cast<double>(figures.decided[0][0] + figures.decided[1][0]);
}

BENCHMARK_CAPTURE(transactions, two_phase, Protocol::two_phase)->Arg(1)->Arg(64)->Arg(1'000);
BENCHMARK_CAPTURE(transactions, three_phase, Protocol::three_phase)->Arg(64);

} // namespace
} // namespace concordat::core

BENCHMARK_MAIN();
