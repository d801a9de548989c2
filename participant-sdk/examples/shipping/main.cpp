// shipping-service: makes one shipment of every order that was placed.
//
// It takes no part in the transaction of an order. It reads the event "order.placed", which the
// order service publishes through its outbox inside that transaction: an order that commits is
// shipped, one that aborts never was an event. The event may arrive twice; the inbox makes its
// effect happen once.

#include <concordat/inbox.hpp>
#include <concordat/postgres.hpp>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <pqxx/pqxx>

#include <csignal>
#include <cstdio>
#include <string>
#include <thread>

namespace inbox = concordat::inbox;
using Json = nlohmann::json;

namespace {

// Nothing here forbids two shipments of one order: it is the inbox that prevents them.
constexpr const char* schema = R"(
CREATE TABLE IF NOT EXISTS shipment (
    number   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id text NOT NULL,
    customer text NOT NULL,
    sku      text NOT NULL,
    quantity bigint NOT NULL CHECK (quantity > 0)
))";

// The effect of one event, in the transaction that also records the event's id. Whatever it throws
// rolls both back, and the event is tried again.
std::expected<void, inbox::HandlerError> ship(pqxx::transaction_base& transaction,
                                              const inbox::Record& record) {
    if (!record.payload) {
        return std::unexpected(inbox::HandlerError{.detail = "no payload", .retry = false});
    }
    const Json order = Json::parse(*record.payload);
    transaction.exec_params(
        "INSERT INTO shipment (order_id, customer, sku, quantity) VALUES ($1, $2, $3, $4)",
        order.at("order").get<std::string>(), order.at("customer").get<std::string>(),
        order.at("sku").get<std::string>(), order.at("quantity").get<std::int64_t>());
    return {};
}

void say(const std::string& text) {
    fmt::print("shipping: {}\n", text);
    std::fflush(stdout);
}

void report(const inbox::Event& event) {
    switch (event.kind) {
    case inbox::Event::Kind::assigned:
        return say("reads " + event.detail);
    case inbox::Event::Kind::revoked:
        return say("no longer reads " + event.detail);
    case inbox::Event::Kind::retrying:
        return say("will try again: " + event.detail);
    case inbox::Event::Kind::dead_lettered:
        return say("put aside: " + event.detail);
    case inbox::Event::Kind::trouble:
        return say("trouble: " + event.detail);
    }
}

inbox::Options read_options(int argc, char** argv) {
    inbox::Options options;
    options.consumer = "shipping"; // part of the identity of what was done
    options.topics = {"outbox.event.order"};
    options.on_event = report;
    CLI::App app("Makes one shipment of every order that was placed.");
    app.add_option("--database", options.conninfo, "PostgreSQL URL")
        ->envname("SERVICE_DATABASE")
        ->required();
    app.add_option("--kafka", options.bootstrap_servers, "host:port of some brokers, by commas")
        ->envname("SERVICE_KAFKA")
        ->required();
    app.add_option("--topic", options.topics, "Kafka topic of the events")
        ->envname("SERVICE_TOPIC")
        ->capture_default_str();
    app.add_option("--name", options.consumer, "name of the consumer; never change it")
        ->envname("SERVICE_NAME")
        ->capture_default_str();
    app.add_option("--batch", options.batch_records, "events handled in one transaction")
        ->capture_default_str();
    app.add_option("--dead-letter-topic", options.dead_letter_topic,
                   "where events go that cannot be handled; without it they block their partition")
        ->envname("SERVICE_DEAD_LETTER_TOPIC");
    unsigned session = 6000;
    app.add_option("--session-timeout-ms", session,
                   "a replica that died is noticed after this long, and others take its partitions")
        ->capture_default_str();
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& end) {
        std::exit(app.exit(end));
    }
    if (!options.dead_letter_topic.empty()) {
        options.on_failure = inbox::OnFailure::dead_letter;
    }
    options.kafka_properties["session.timeout.ms"] = std::to_string(session);
    options.kafka_properties["heartbeat.interval.ms"] = std::to_string(session / 4);
    return options;
}

int fail(const std::string& why) {
    fmt::print(stderr, "shipping: {}\n", why);
    return 1;
}

} // namespace

int main(int argc, char** argv) {
    const inbox::Options options = read_options(argc, argv);
    sigset_t signals; // blocked before any thread exists: all inherit the mask
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);

    if (auto applied = concordat::apply_participant_schema(options.conninfo); !applied) {
        return fail(applied.error().detail);
    }
    try {
        pqxx::connection connection(options.conninfo);
        pqxx::work transaction(connection);
        transaction.exec(schema);
        transaction.commit();
    } catch (const std::exception& error) {
        return fail(error.what());
    }
    auto consumer = inbox::Consumer::create(options, ship);
    if (!consumer) {
        return fail(consumer.error().detail);
    }
    say("waits for " + options.topics.front());

    std::thread ending([&] {
        int signal = 0;
        sigwait(&signals, &signal);
        (*consumer)->stop(); // run() commits what it has in hand and returns
    });
    const auto ended = (*consumer)->run();
    if (!ended) { // it never began: nobody will send a signal
        pthread_kill(ending.native_handle(), SIGTERM);
    }
    ending.join();
    const inbox::Statistics counts = (*consumer)->statistics();
    say(fmt::format("{} shipments, {} events had been handled before", counts.handled,
                    counts.duplicates));
    return ended ? 0 : fail(ended.error().detail);
}
