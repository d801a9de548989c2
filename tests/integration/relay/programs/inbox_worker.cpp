// A service that consumes through the SDK's inbox: every record becomes one row in "effect".
//
//   inbox_worker --bootstrap B --url URL --topic T... [--consumer NAME] [--fail-value V]
//                [--fail-times N] [--no-retry] [--dead-letter TOPIC] [--attempts N] [--batch N]
//                [--retry-ms MS]
//
// A record whose value is V fails N times (with an exception, after it has written its effect) and
// succeeds then; with N below 0 it fails for ever. Runs until SIGTERM, then prints its counts as
// JSON. Events go to stderr as "kind detail" lines.
// Table (made by the test): effect (consumer, message_id, topic, part, off, key, value, at).

#include <concordat/inbox.hpp>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <pqxx/pqxx>
#include <signal.h>

#include <array>
#include <cstdio>
#include <stdexcept>
#include <thread>

namespace {

struct Plan {
    std::string fail_value;
    std::string fail_prefix;
    int fail_times = 0;
    bool no_retry = false;
};

class Effect {
public:
    explicit Effect(Plan plan, std::string consumer)
        : plan_(std::move(plan)), consumer_(std::move(consumer)) {}

    std::expected<void, concordat::inbox::HandlerError>
    operator()(pqxx::transaction_base& work, const concordat::inbox::Record& record) {
        const std::string value(record.payload.value_or(""));
        work.exec_params("INSERT INTO effect (consumer, message_id, topic, part, off, key, value) "
                         "VALUES ($1, $2, $3, $4, $5, $6, $7)",
                         consumer_, record.message_id, std::string(record.topic), record.partition,
                         record.offset, std::string(record.key.value_or("")), value);
        const bool hit = (!plan_.fail_value.empty() && value == plan_.fail_value) ||
                         (!plan_.fail_prefix.empty() && value.starts_with(plan_.fail_prefix));
        if (hit && plan_.fail_times != 0) {
            if (plan_.no_retry) {
                return std::unexpected(
                    concordat::inbox::HandlerError{.detail = "will never work", .retry = false});
            }
            if (plan_.fail_times > 0) {
                --plan_.fail_times;
            }
            throw std::runtime_error("told to fail");
        }
        return {};
    }

private:
    Plan plan_;
    std::string consumer_;
};

void report(const concordat::inbox::Event& event) {
    static constexpr std::array names{"assigned", "revoked", "retrying", "dead_lettered",
                                      "trouble"};
    fmt::print(stderr, "{} {}\n", names.at(static_cast<std::size_t>(event.kind)), event.detail);
    std::fflush(stderr);
}

} // namespace

int main(int argc, char** argv) {
    concordat::inbox::Options options;
    options.consumer = "worker";
    options.first_retry = std::chrono::milliseconds(50);
    options.longest_retry = std::chrono::milliseconds(500);
    options.on_event = report;
    Plan plan;
    CLI::App app{"Consumes through the inbox."};
    app.add_option("--bootstrap", options.bootstrap_servers)->required();
    app.add_option("--url", options.conninfo)->required();
    app.add_option("--topic", options.topics)->required();
    app.add_option("--consumer", options.consumer);
    app.add_option("--fail-value", plan.fail_value);
    app.add_option("--fail-prefix", plan.fail_prefix);
    app.add_option("--fail-times", plan.fail_times);
    app.add_flag("--no-retry", plan.no_retry);
    app.add_option("--dead-letter", options.dead_letter_topic);
    app.add_option("--attempts", options.max_attempts);
    app.add_option("--batch", options.batch_records);
    int retry_ms = 0;
    app.add_option("--retry-ms", retry_ms);
    CLI11_PARSE(app, argc, argv);
    if (!options.dead_letter_topic.empty()) {
        options.on_failure = concordat::inbox::OnFailure::dead_letter;
    }
    options.kafka_properties["session.timeout.ms"] = "6000";
    if (retry_ms > 0) {
        options.first_retry = options.longest_retry = std::chrono::milliseconds(retry_ms);
    }

    sigset_t signals;
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);

    const std::string consumer_name = options.consumer;
    auto consumer = concordat::inbox::Consumer::create(options, Effect(plan, consumer_name));
    if (!consumer) {
        fmt::print(stderr, "{}\n", consumer.error().detail);
        return 2;
    }
    std::thread watch([&] {
        int received = 0;
        ::sigwait(&signals, &received);
        (*consumer)->stop();
    });
    const auto done = (*consumer)->run();
    if (!done) {
        fmt::print(stderr, "{}\n", done.error().detail);
        ::pthread_kill(watch.native_handle(), SIGTERM);
    }
    watch.join();
    const auto counts = (*consumer)->statistics();
    fmt::print("{{\"handled\":{},\"duplicates\":{},\"failures\":{},\"dead_lettered\":{}}}\n",
               counts.handled, counts.duplicates, counts.failures, counts.dead_lettered);
    return done ? 0 : 1;
}
