// concordat_load: puts load on a coordinator and says what it did.
//
// It hosts the two participants itself, registers them as bench-0 and bench-1, runs a closed or an
// open loop against the nodes given with --url, and prints a table on standard output, or JSON with
// --json. Exit code: 0 when every transaction committed, 1 when some did not, 2 on wrong usage, 3
// when the coordinator cannot be reached.
#include "tests/bench/load_generator/driver.hpp"
#include "tests/bench/load_generator/observation.hpp"
#include "tests/bench/load_generator/options.hpp"
#include "tests/bench/load_generator/participants.hpp"
#include "tests/bench/load_generator/report.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <cstddef>
#include <expected>
#include <fstream>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

namespace concordat::bench {

namespace {

constexpr std::chrono::seconds leader_deadline{20};

// A cluster that has just started has no leader yet: the first registration waits for one.
std::expected<void, std::string> register_participant(transport::Client& client,
                                                      const std::vector<transport::Origin>& origins,
                                                      const std::string& name,
                                                      const std::string& base_url) {
    const auto deadline = std::chrono::steady_clock::now() + leader_deadline;
    std::string last = "no answer";
    for (std::size_t turn = 0; std::chrono::steady_clock::now() < deadline; ++turn) {
        transport::OutboundRequest request;
        request.method = "PUT";
        request.target = "/v1/participants/" + name;
        request.body = R"({"base_url":")" + base_url + R"(","max_concurrent_calls":256})";
        const auto answer = exchange(client, origins[turn % origins.size()], std::move(request));
        if (answer && (answer->status == 200 || answer->status == 201 || answer->status == 204)) {
            return {};
        }
        if (answer && answer->status >= 400 && answer->status < 500) {
            return std::unexpected("participant " + name + " refused: " + answer->body);
        }
        last = answer ? "status " + std::to_string(answer->status) : answer.error();
        std::this_thread::sleep_for(std::chrono::milliseconds{50});
    }
    return std::unexpected("participant " + name + " could not be registered: " + last);
}

void add_flags(CLI::App& app, Options& options) {
    app.add_option("--url", options.urls, "base URL of a coordinator node; repeatable")->required();
    app.add_option("--pid", options.coordinator_pids, "process whose CPU time is counted");
    app.add_option("--clients", options.clients, "closed loop: clients");
    app.add_option("--rate", options.rate, "open loop: transactions per second");
    app.add_option("--max-outstanding", options.max_outstanding, "open loop: limit in flight");
    app.add_option("--seconds", options.seconds, "measured window");
    app.add_option("--warm-up", options.warm_up_seconds, "seconds before it");
    app.add_option("--branches", options.branches, "branches per transaction");
    app.add_option("--payload-bytes", options.payload_bytes, "payload per branch");
    app.add_option("--threads", options.threads, "io threads of this program");
    app.add_flag("!--no-batch", options.batch, "participants take single operations only");
    app.add_option("--label", options.label, "name of the run in the report");
    app.add_option("--json", options.json_path, "file for the JSON report; - prints it");
}

bool write_report(const Report& report) {
    const std::string& path = report.options.json_path;
    if (path == "-") {
        std::cout << as_json(report);
        return true;
    }
    std::cout << as_table(report);
    if (path.empty()) {
        return true;
    }
    std::ofstream file(path);
    file << as_json(report);
    return static_cast<bool>(file.flush());
}

transport::ClientOptions client_options(const Options& options) {
    transport::ClientOptions client;
    const std::size_t wanted = options.rate > 0 ? options.max_outstanding : options.clients;
    client.max_connections_per_origin = options.rate > 0 ? 256 : wanted + 2;
    client.max_queued_per_origin = wanted + 16;
    client.request_timeout = options.request_timeout;
    client.response_body_limit_bytes = std::size_t{8} << 20; // /metrics
    return client;
}

int run(const Options& options) {
    const auto origins = validate(options);
    if (!origins) {
        std::cerr << "concordat_load: " << origins.error() << '\n';
        return 2;
    }
    transport::IoThreads threads(options.threads, "load");
    threads.start();
    NoopParticipants participants(threads, options.batch);
    if (const auto started = participants.start(); !started) {
        std::cerr << "concordat_load: participants cannot listen: " << started.error() << '\n';
        return 3;
    }
    transport::Client client(threads, client_options(options));
    for (std::size_t index = 0; index < NoopParticipants::count; ++index) {
        const auto registered = register_participant(
            client, *origins, "bench-" + std::to_string(index), participants.base_url(index));
        if (!registered) {
            std::cerr << "concordat_load: " << registered.error() << '\n';
            return 3;
        }
    }
    Report report;
    report.options = options;
    ParticipantCounts calls_before;
    Driver driver(threads, client, options, *origins);
    report.result = driver.run(
        [&] {
            calls_before = participants.counts();
            report.before = read_counters(client, *origins, options.coordinator_pids);
        },
        [&] {
            report.after = read_counters(client, *origins, options.coordinator_pids);
            const ParticipantCounts calls = participants.counts();
            report.participants = {.requests = calls.requests - calls_before.requests,
                                   .operations = calls.operations - calls_before.operations};
        });
    client.stop();
    if (!write_report(report)) {
        std::cerr << "concordat_load: cannot write " << options.json_path << '\n';
        return 1;
    }
    return report.result.errors.empty() && report.result.committed > 0 ? 0 : 1;
}

} // namespace

} // namespace concordat::bench

int main(int argc, char** argv) {
    concordat::bench::Options options;
    CLI::App app{"Load generator for a Concordat coordinator, with two no-op participants"};
    concordat::bench::add_flags(app, options);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        const int code = app.exit(error);
        return code == 0 ? 0 : 2;
    }
    return concordat::bench::run(options);
}
