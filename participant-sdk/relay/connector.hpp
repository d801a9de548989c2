// Opens the engine's database connections on a thread of its own.
//
// Why: a server that does not answer keeps its caller for up to `database.timeout`, and neither the
// end of a lease nor Kafka's reports may wait for that.
//
// Threading: open(), take() and stop() on one thread; `done` is called on the connector's own.
// Ownership: connections that nobody takes are closed with the connector. Errors: a sentence in
// `trouble`; the connections that were opened before are there all the same.
#pragma once

#include "participant-sdk/relay/database.hpp"

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace concordat::relay {

class Connector {
public:
    struct Wanted {
        bool reader; // told of notifications on the outbox
        bool deleter;
        bool sweeper;
    };
    struct Opened {
        std::optional<Connection> reader;
        std::optional<Connection> deleter;
        std::optional<Connection> sweeper;
        std::string trouble; // why one that was wanted is missing
    };

    // `settings` are SET commands for all of them.
    Connector(std::string conninfo, std::chrono::milliseconds timeout,
              std::vector<std::string> settings, std::function<void()> done);
    ~Connector();
    Connector(const Connector&) = delete;
    Connector& operator=(const Connector&) = delete;

    // Begins an attempt, which ends with `done`; the next one not before take() has given it.
    void open(Wanted wanted);
    [[nodiscard]] bool busy() const noexcept { return busy_; }
    // What the attempt made, once it is over.
    [[nodiscard]] std::optional<Opened> take();
    // Waits for an attempt that is on its way: up to the time-out for each connection.
    void stop();

private:
    void run();
    [[nodiscard]] Opened attempt(Wanted wanted) const;

    const std::string conninfo_;
    const std::chrono::milliseconds timeout_;
    const std::vector<std::string> settings_;
    const std::function<void()> done_;
    bool busy_ = false; // the caller's

    std::mutex mutex_;
    std::condition_variable wake_;
    std::optional<Wanted> wanted_;
    std::optional<Opened> opened_;
    bool stopping_ = false;
    std::thread thread_;
};

} // namespace concordat::relay
