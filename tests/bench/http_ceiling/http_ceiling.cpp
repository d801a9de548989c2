// The HTTP-only ceiling of the benchmark.
//
// What: the five HTTP exchanges of a two-phase commit over two participants, with the project's
// HTTP library and nothing else: client → front, front → A and B "prepare" in parallel, the answer
// to the client, front → A and B "commit" in parallel. No log, no transaction state, no JSON is
// parsed. Why: no coordinator on this machine and over this library can be faster. Ratios to this
// figure, taken in the same minute, say how much of the machine the real thing leaves to HTTP.
// Fair: request targets and bodies have the sizes of the real ones (POST /v1/transactions,
// participant contract), connections are kept alive, the loop is closed with a fixed number of
// clients.
#include "participant-sdk/src/transport/client.hpp"
#include "participant-sdk/src/transport/server.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace transport = concordat::transport;
using Clock = std::chrono::steady_clock;

struct Options {
    std::size_t clients = 64;
    double seconds = 5;
    double warm_up_seconds = 0.5;
    std::size_t threads = 2;
    std::size_t payload_bytes = 100;
    std::string json;
};

transport::Response json_answer(int status, std::string body) {
    return {.status = status, .headers = {}, .body = std::move(body)};
}

transport::ServerOptions server_options(const Options& options) {
    transport::ServerOptions server;
    server.max_connections = server.max_connections_per_address = options.clients * 4 + 64;
    return server;
}

// Two participants that say yes to everything, with an answer of the contract's shape.
class Participants {
public:
    Participants(transport::IoThreads& threads, const Options& options) {
        for (auto& server : servers_) {
            server = std::make_unique<transport::Server>(
                threads, server_options(options),
                [](transport::Request&& request, transport::Responder respond) {
                    const bool prepare = request.target.ends_with("/prepare");
                    respond(json_answer(200, prepare ? R"({"status":200,"vote":"yes"})"
                                                     : R"({"status":200})"));
                });
        }
    }
    bool start() {
        return std::all_of(servers_.begin(), servers_.end(),
                           [](const auto& server) { return server->start().has_value(); });
    }
    [[nodiscard]] transport::Origin origin(std::size_t index) const {
        return {false, "127.0.0.1", servers_.at(index)->port()};
    }
    void stop() {
        for (const auto& server : servers_) {
            server->stop();
        }
    }

private:
    std::array<std::unique_ptr<transport::Server>, 2> servers_;
};

// Stands where the coordinator stands: a server towards clients, a client towards participants.
class Front {
public:
    Front(transport::IoThreads& threads, const Options& options, const Participants& participants)
        : client_(threads, client_options(options)),
          server_(threads, server_options(options),
                  [this](transport::Request&& /*request*/, transport::Responder respond) {
                      begin(std::move(respond));
                  }) {
        const std::string filler(options.payload_bytes, 'x');
        for (std::size_t index = 0; index < origins_.size(); ++index) {
            origins_.at(index) = participants.origin(index);
            payloads_.at(index) =
                fmt::format(R"(,"epoch":1,"attempt":1,"protocol":"2pc","participant":"bench-{}",)"
                            R"("payload":{{"filler":"{}"}}}})",
                            index, filler);
        }
    }
    bool start() { return server_.start().has_value(); }
    [[nodiscard]] transport::Origin origin() const { return {false, "127.0.0.1", server_.port()}; }
    [[nodiscard]] std::uint64_t exchanges() const noexcept { return exchanges_; }
    [[nodiscard]] std::uint64_t failures() const noexcept { return failures_; }
    void stop() {
        server_.stop();
        client_.stop();
    }

private:
    struct Transaction {
        transport::Responder respond;
        std::string xid;
        std::atomic<int> missing_votes{2};
    };

    static transport::ClientOptions client_options(const Options& options) {
        transport::ClientOptions client;
        client.max_connections_per_origin = std::max<std::size_t>(options.clients, 2);
        client.max_queued_per_origin = options.clients * 4 + 64;
        return client;
    }

    void begin(transport::Responder respond) {
        auto transaction = std::make_shared<Transaction>();
        transaction->respond = std::move(respond);
        transaction->xid =
            fmt::format("01-{:032x}", number_.fetch_add(1, std::memory_order_relaxed));
        for (std::size_t index = 0; index < origins_.size(); ++index) {
            call(index, transaction->xid, "prepare", [this, transaction] { voted(transaction); });
        }
    }

    void voted(const std::shared_ptr<Transaction>& transaction) {
        if (transaction->missing_votes.fetch_sub(1) > 1) {
            return;
        }
        transaction->respond(json_answer(
            200, fmt::format(R"({{"xid":"{}","protocol":"2pc","state":"committed",)"
                             R"("branches":[{{"branch":0,"participant":"bench-0",)"
                             R"("state":"prepared"}},{{"branch":1,"participant":"bench-1",)"
                             R"("state":"prepared"}}]}})",
                             transaction->xid)));
        for (std::size_t index = 0; index < origins_.size(); ++index) {
            call(index, transaction->xid, "commit", [] {});
        }
    }

    template <class Then>
    void call(std::size_t index, const std::string& xid, const char* operation, Then then) {
        transport::OutboundRequest request;
        request.target = fmt::format("/v1/branches/{}/{}/{}", xid, index, operation);
        request.body = fmt::format(R"({{"operation":"{}"{})", operation, payloads_.at(index));
        client_.send(origins_.at(index), std::move(request),
                     [this, then = std::move(then)](const transport::Client::Result& result) {
                         if (!result || result->status != 200) {
                             ++failures_;
                         }
                         exchanges_.fetch_add(1, std::memory_order_relaxed);
                         then();
                     });
    }

    std::array<transport::Origin, 2> origins_;
    std::array<std::string, 2> payloads_;
    std::atomic<std::uint64_t> number_{0};
    std::atomic<std::uint64_t> exchanges_{0};
    std::atomic<std::uint64_t> failures_{0};
    transport::Client client_;
    transport::Server server_;
};

// The closed loop: every client sends its next transaction when the answer to the last has come.
class Load {
public:
    Load(transport::IoThreads& threads, const Options& options, transport::Origin origin)
        : origin_(std::move(origin)),
          client_(threads, client_options(options)),
          latencies_(threads.size()),
          threads_(threads) {
        const std::string filler(options.payload_bytes, 'x');
        body_ = fmt::format(
            R"({{"protocol":"2pc","branches":[{{"participant":"bench-0","payload":{{"filler":"{0}"}}}},)"
            R"({{"participant":"bench-1","payload":{{"filler":"{0}"}}}}]}})",
            filler);
    }
    void start(std::size_t clients) {
        for (std::size_t client = 0; client < clients; ++client) {
            next();
        }
    }
    void measure(bool on) noexcept { measuring_ = on; }
    void stop() {
        stopping_ = true;
        client_.stop();
    }
    [[nodiscard]] std::uint64_t failures() const noexcept { return failures_; }
    // After stop().
    std::vector<std::uint32_t> sorted_latencies_us() {
        std::vector<std::uint32_t> all;
        for (const auto& part : latencies_) {
            all.insert(all.end(), part.begin(), part.end());
        }
        std::sort(all.begin(), all.end());
        return all;
    }

private:
    static transport::ClientOptions client_options(const Options& options) {
        transport::ClientOptions client;
        client.max_connections_per_origin = options.clients;
        client.max_queued_per_origin = options.clients;
        return client;
    }

    void next() {
        transport::OutboundRequest request;
        request.target = "/v1/transactions";
        request.body = body_;
        client_.send(origin_, std::move(request),
                     [this, begun = Clock::now()](const transport::Client::Result& result) {
                         answered(begun, result);
                     });
    }

    void answered(Clock::time_point begun, const transport::Client::Result& result) {
        if (stopping_) {
            return;
        }
        if (!result || result->status != 200) {
            ++failures_;
        }
        if (measuring_) {
            const auto took =
                std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begun);
            latencies_[threads_.current().value_or(0)].push_back(
                static_cast<std::uint32_t>(took.count()));
        }
        next();
    }

    transport::Origin origin_;
    std::string body_;
    std::atomic<bool> measuring_{false};
    std::atomic<bool> stopping_{false};
    std::atomic<std::uint64_t> failures_{0};
    transport::Client client_;
    std::vector<std::vector<std::uint32_t>> latencies_; // one per io thread
    transport::IoThreads& threads_;
};

double cpu_seconds() {
    return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

double percentile_ms(const std::vector<std::uint32_t>& sorted, double part) {
    if (sorted.empty()) {
        return 0;
    }
    const auto index = static_cast<std::size_t>(part * static_cast<double>(sorted.size() - 1));
    return sorted[index] / 1000.0;
}

int run(const Options& options) {
    transport::IoThreads threads(options.threads, "ceiling");
    threads.start();
    Participants participants(threads, options);
    if (!participants.start()) {
        fmt::print(stderr, "the participants cannot listen\n");
        return 1;
    }
    Front front(threads, options, participants);
    if (!front.start()) {
        fmt::print(stderr, "the front cannot listen\n");
        return 1;
    }
    Load load(threads, options, front.origin());
    load.start(options.clients);
    std::this_thread::sleep_for(std::chrono::duration<double>(options.warm_up_seconds));

    const auto begin = Clock::now();
    const double cpu_before = cpu_seconds();
    const std::uint64_t exchanges_before = front.exchanges();
    load.measure(true);
    std::this_thread::sleep_for(std::chrono::duration<double>(options.seconds));
    load.measure(false);
    const double elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
    const double cpu = cpu_seconds() - cpu_before;
    const std::uint64_t to_participants = front.exchanges() - exchanges_before;

    load.stop();
    front.stop();
    participants.stop();
    const auto latencies = load.sorted_latencies_us();
    const auto transactions = static_cast<double>(latencies.size());
    const std::string report = fmt::format(
        R"({{"clients":{},"threads":{},"payload_bytes":{},"seconds":{:.3f},"transactions":{},)"
        R"("per_second":{:.1f},"exchanges_per_second":{:.1f},"p50_ms":{:.3f},"p90_ms":{:.3f},)"
        R"("p99_ms":{:.3f},"max_ms":{:.3f},"cpu_ms_per_transaction":{:.4f},"failures":{}}})",
        options.clients, options.threads, options.payload_bytes, elapsed, latencies.size(),
        transactions / elapsed, (transactions + static_cast<double>(to_participants)) / elapsed,
        percentile_ms(latencies, 0.5), percentile_ms(latencies, 0.9),
        percentile_ms(latencies, 0.99), percentile_ms(latencies, 1),
        transactions > 0 ? cpu * 1000 / transactions : 0, load.failures());
    if (options.json.empty() || options.json == "-") {
        fmt::print("{}\n", report);
    } else {
        std::ofstream file(options.json);
        file << report << '\n';
    }
    const bool sound = !latencies.empty() && load.failures() == 0;
    if (!sound) {
        fmt::print(stderr, "{} of {} transactions failed\n", load.failures(), latencies.size());
    }
    return sound ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
    Options options;
    CLI::App app{"The HTTP-only ceiling: the five exchanges of a transaction and nothing else"};
    app.add_option("--clients", options.clients, "clients in the closed loop")
        ->check(CLI::Range(1, 10'000));
    app.add_option("--seconds", options.seconds, "measured time")->check(CLI::Range(0.1, 3600.0));
    app.add_option("--warm-up-seconds", options.warm_up_seconds, "time before it")
        ->check(CLI::Range(0.0, 60.0));
    app.add_option("--threads", options.threads, "io threads for all parts together")
        ->check(CLI::Range(1, 64));
    app.add_option("--payload-bytes", options.payload_bytes, "payload per branch")
        ->check(CLI::Range(0, 100'000));
    app.add_option("--json", options.json, "file for the report, - for standard output");
    CLI11_PARSE(app, argc, argv);
    return run(options);
}
