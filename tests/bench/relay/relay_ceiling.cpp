// What the relay cannot exceed: reading and deleting without Kafka, producing without a database.
//
//   relay_ceiling database CONNINFO           empties the outbox by windows, as the relay would
//   relay_ceiling kafka BOOTSTRAP TOPIC N     sends N records of 200 bytes through the relay's
//   producer
//
// Prints rows per second.

#include "participant-sdk/relay/database.hpp"
#include "participant-sdk/relay/envelope.hpp"
#include "participant-sdk/relay/producer.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

using namespace concordat::relay;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t window_rows = 4000;
constexpr std::size_t records_in_flight = 16'000;

[[noreturn]] void fail(const std::string& text) {
    fmt::print(stderr, "relay_ceiling: {}\n", text);
    std::exit(1);
}

void report(std::int64_t rows, Clock::time_point started) {
    const std::chrono::duration<double> elapsed = Clock::now() - started;
    fmt::print("{:.0f}\n", static_cast<double>(rows) / elapsed.count());
}

Connection connect(const std::string& conninfo) {
    const std::vector<std::string> settings{"enable_seqscan = off", "enable_bitmapscan = off",
                                            "plan_cache_mode = force_generic_plan", "jit = off",
                                            "synchronous_commit = off"};
    auto opened = Connection::open(conninfo, std::chrono::seconds(60), settings);
    if (!opened) {
        fail(opened.error().detail);
    }
    return std::move(*opened);
}

Result execute(Connection& connection, const char* sql, const Parameters& parameters) {
    auto done = connection.execute(sql, parameters);
    if (!done) {
        fail(done.error().detail);
    }
    return std::move(*done);
}

// Until the statement that was sent, if any, is done.
void await(Connection& connection) {
    while (connection.busy()) {
        const auto advanced = connection.advance();
        if (!advanced) {
            fail(advanced.error().detail);
        }
        if (!advanced->has_value()) {
            pollfd wait{.fd = connection.socket(),
                        .events =
                            static_cast<short>(POLLIN | (connection.wants_write() ? POLLOUT : 0)),
                        .revents = 0};
            ::poll(&wait, 1, -1);
        }
    }
}

void empty_database(const std::string& conninfo) {
    Connection reader = connect(conninfo);
    Connection deleter = connect(conninfo);
    std::vector<std::int16_t> all;
    for (std::int16_t bucket = 0; bucket < 64; ++bucket) {
        all.push_back(bucket);
    }
    const Result bounds =
        execute(reader, "SELECT min(id), max(id) FROM concordat_outbox", Parameters());
    const std::int64_t last = bounds.int64(0, 1);
    std::int64_t rows = 0;
    const auto started = Clock::now();
    for (std::int64_t after = bounds.int64(0, 0) - 1; after < last; after += window_rows) {
        const Result window =
            execute(reader,
                    "SELECT bucket, id, event_id, created_at, topic, key, type, headers, payload "
                    "FROM concordat_outbox WHERE bucket = ANY($1) AND id > $2 AND id <= $3",
                    Parameters().int16_array(all).int64(after).int64(after + window_rows));
        std::vector<std::int16_t> buckets;
        std::vector<std::int64_t> ids;
        for (int row = 0; row < window.rows(); ++row) {
            buckets.push_back(window.int16(row, 0));
            ids.push_back(window.int64(row, 1));
        }
        rows += window.rows();
        await(deleter);
        const auto sent = deleter.send(
            "DELETE FROM concordat_outbox WHERE ctid = ANY (ARRAY("
            "SELECT found.at FROM unnest($1::smallint[], $2::bigint[]) AS d (bucket, id) "
            "CROSS JOIN LATERAL (SELECT ctid AS at FROM concordat_outbox o "
            "WHERE o.bucket = d.bucket AND o.id = d.id OFFSET 0) found))",
            Parameters().int16_array(buckets).int64_array(ids));
        if (!sent) {
            fail(sent.error().detail);
        }
    }
    await(deleter);
    report(rows, started);
}

struct Reports final : Producer::Listener {
    void on_report(void*, rd_kafka_resp_err_t code, std::int32_t) override {
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
            fail(rd_kafka_err2str(code));
        }
    }
    void on_trouble(rd_kafka_resp_err_t, const std::string& text) override { fail(text); }
};

void produce_only(const std::string& bootstrap, const std::string& topic, std::int64_t count) {
    Options::Kafka options;
    options.bootstrap_servers = bootstrap;
    const int descriptor = ::eventfd(0, EFD_NONBLOCK);
    Reports reports;
    auto producer = Producer::create(options, records_in_flight, descriptor, reports);
    if (!producer) {
        fail(producer.error());
    }
    const std::string payload(200, 'x');
    const RecordHeaders headers{{"id", "4d47e190-0402-4048-bc2c-89dd54343cdc"}};
    const auto started = Clock::now();
    for (std::int64_t sent = 0; sent < count || (*producer)->outstanding() > 0;) {
        if (sent < count && (*producer)->outstanding() < records_in_flight) {
            const std::string key = fmt::format("key-{}", sent % 1000);
            std::ignore = (*producer)->produce({.topic = &topic,
                                                .key = key,
                                                .payload = payload,
                                                .timestamp_ms = 1,
                                                .headers = &headers,
                                                .tag = nullptr});
            if (++sent % 500 == 0) {
                (*producer)->poll();
            }
            continue;
        }
        pollfd wait{.fd = descriptor, .events = POLLIN, .revents = 0};
        ::poll(&wait, 1, 10);
        std::uint64_t drained = 0;
        [[maybe_unused]] const auto taken = ::read(descriptor, &drained, sizeof drained);
        (*producer)->poll();
    }
    report(count, started);
}

} // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    if (arguments.size() == 2 && arguments[0] == "database") {
        empty_database(arguments[1]);
    } else if (arguments.size() == 4 && arguments[0] == "kafka") {
        produce_only(arguments[1], arguments[2], std::stoll(arguments[3]));
    } else {
        fail("usage: relay_ceiling database CONNINFO | kafka BOOTSTRAP TOPIC N");
    }
    return 0;
}
