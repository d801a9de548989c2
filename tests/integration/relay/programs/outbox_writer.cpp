// Writes events through the SDK as a service would, and keeps books of what was committed.
//
//   outbox_writer --url URL --events N [--keys K] [--writers W] [--rate R] [--prepare PERCENT]
//                 [--abort PERCENT] [--topic T] [--payload BYTES] [--seed S] [--until FILE]
//                 [--wake]
//
// Every event is one transaction: the key's counter is raised under its row lock, the event is
// published, and a ledger row is written. Some transactions are prepared first and decided a moment
// later, some are rolled back (prepared or not). A writer that loses its connection comes back,
// commits what it had left prepared, and goes on until N events are committed and FILE, if given,
// exists.
// Tables (made by the test): relay_key (key, seq), relay_ledger (event_id, key, seq).
// Prints one JSON object with counts.

#include <concordat/outbox.hpp>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <pqxx/pqxx>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <random>
#include <thread>
#include <vector>

namespace {

struct Plan {
    std::string url;
    std::string topic = "stress";
    std::int64_t events = 1000;
    int keys = 50;
    int writers = 4;
    int rate = 0; // events per second; 0: as fast as possible
    int prepare_percent = 20;
    int abort_percent = 10;
    std::size_t payload_bytes = 0;
    unsigned seed = 1;
    std::string until;
    bool wake = false;
};

struct Counters {
    std::atomic<std::int64_t> committed{0};
    std::atomic<std::int64_t> aborted{0};
    std::atomic<std::int64_t> prepared{0};
    std::atomic<std::int64_t> reconnects{0};
};

class Writer {
public:
    Writer(const Plan& plan, Counters& counters, int number)
        : plan_(plan),
          counters_(counters),
          number_(number),
          random_(plan.seed * 1000 + static_cast<unsigned>(number)) {}

    void run() {
        const auto started = std::chrono::steady_clock::now();
        for (std::int64_t turn = 0; wants_more(); ++turn) {
            try {
                if (connection_ == nullptr) {
                    connect();
                }
                write_one();
                if (plan_.wake) {
                    concordat::outbox::wake(*connection_);
                }
            } catch (const std::exception&) {
                connection_.reset();
                ++counters_.reconnects;
                std::this_thread::sleep_for(std::chrono::milliseconds(50)); // the server is away
            }
            if (plan_.rate > 0) {
                std::this_thread::sleep_until(
                    started +
                    std::chrono::microseconds(1'000'000LL * plan_.writers * turn / plan_.rate));
            }
        }
        while (!ended_) {
            try {
                connect();
                ended_ = true;
            } catch (const std::exception&) {
                std::this_thread::sleep_for(std::chrono::milliseconds(50)); // the server is away
            }
        }
    }

private:
    [[nodiscard]] bool wants_more() const {
        return counters_.committed < plan_.events ||
               (!plan_.until.empty() && !std::filesystem::exists(plan_.until));
    }

    int dice(int sides) { return std::uniform_int_distribution<int>(0, sides - 1)(random_); }

    // Decides what an earlier connection left prepared.
    void connect() {
        connection_ = std::make_unique<pqxx::connection>(plan_.url);
        decide_left_over();
    }

    void decide_left_over() {
        pqxx::nontransaction work(*connection_);
        const auto found = work.exec_params("SELECT gid FROM pg_prepared_xacts WHERE gid LIKE $1",
                                            fmt::format("w{}-%", number_));
        for (const auto& row : found) {
            work.exec(fmt::format("COMMIT PREPARED '{}'", row[0].c_str()));
            ++counters_.committed;
        }
    }

    void write_one() {
        const std::string key = fmt::format("key-{}", dice(plan_.keys));
        const bool abort = dice(100) < plan_.abort_percent;
        const bool prepare = dice(100) < plan_.prepare_percent;
        pqxx::nontransaction work(*connection_);
        work.exec("BEGIN");
        const auto seq =
            work.exec_params("UPDATE relay_key SET seq = seq + 1 WHERE key = $1 RETURNING seq", key)
                .at(0)
                .at(0)
                .as<std::int64_t>();
        std::string payload = fmt::format("{}:{}", key, seq);
        payload.resize(std::max(payload.size(), plan_.payload_bytes), '.');
        const auto event = concordat::outbox::publish(work, {.topic = plan_.topic,
                                                             .key = key,
                                                             .payload = payload,
                                                             .type = "stress.happened",
                                                             .headers = {},
                                                             .event_id = {}});
        if (!event) {
            throw std::runtime_error(event.error().detail);
        }
        work.exec_params("INSERT INTO relay_ledger (event_id, key, seq) VALUES ($1, $2, $3)",
                         *event, key, seq);
        finish(work, prepare, abort);
        ++(abort ? counters_.aborted : counters_.committed);
    }

    void finish(pqxx::nontransaction& work, bool prepare, bool abort) {
        if (!prepare) {
            work.exec(abort ? "ROLLBACK" : "COMMIT");
            return;
        }
        const std::string gid = fmt::format("w{}-{}", number_, ++prepared_);
        work.exec(fmt::format("PREPARE TRANSACTION '{}'", gid));
        ++counters_.prepared;
        std::this_thread::sleep_for(std::chrono::milliseconds(dice(20))); // a coordinator's delay
        work.exec(fmt::format("{} PREPARED '{}'", abort ? "ROLLBACK" : "COMMIT", gid));
    }

    const Plan& plan_;
    Counters& counters_;
    int number_;
    int prepared_ = 0;
    bool ended_ = false; // nothing of this writer is prepared
    std::mt19937 random_;
    std::unique_ptr<pqxx::connection> connection_;
};

} // namespace

int main(int argc, char** argv) {
    Plan plan;
    CLI::App app{"Writes events through the SDK and keeps books."};
    app.add_option("--url", plan.url)->required();
    app.add_option("--topic", plan.topic);
    app.add_option("--events", plan.events);
    app.add_option("--keys", plan.keys);
    app.add_option("--writers", plan.writers);
    app.add_option("--rate", plan.rate);
    app.add_option("--prepare", plan.prepare_percent);
    app.add_option("--abort", plan.abort_percent);
    app.add_option("--payload", plan.payload_bytes);
    app.add_option("--seed", plan.seed);
    app.add_option("--until", plan.until);
    app.add_flag("--wake", plan.wake);
    CLI11_PARSE(app, argc, argv);

    Counters counters;
    std::vector<std::thread> threads;
    for (int number = 0; number < plan.writers; ++number) {
        threads.emplace_back([&plan, &counters, number] { Writer(plan, counters, number).run(); });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    fmt::print("{{\"committed\":{},\"aborted\":{},\"prepared\":{},\"reconnects\":{}}}\n",
               counters.committed.load(), counters.aborted.load(), counters.prepared.load(),
               counters.reconnects.load());
    return 0;
}
