// Drives transactions against the coordinator and measures them.
//
// Closed loop: N clients, each with exactly one transaction outstanding; the rate is what comes
// out. Open loop: transactions arrive on a fixed timetable whatever the coordinator does, and
// latency counts from the time a transaction was due, so that a stall is seen by all that it
// delayed (no coordinated omission).
//
// A transaction counts when the coordinator answered 200 with the outcome "committed". A refusal
// that says it had no effect (429, 503) is tried again at the next node after its Retry-After, at
// most 500 ms; everything else is an error. Both are counted.
//
// Threading: run() from one thread, once; it blocks. Callbacks arrive on the io threads.
// Ownership: the io threads and the client must outlive the driver.
#pragma once

#include "participant-sdk/src/transport/client.hpp"
#include "participant-sdk/src/transport/io_threads.hpp"
#include "tests/bench/load_generator/histogram.hpp"
#include "tests/bench/load_generator/options.hpp"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace concordat::bench {

struct DriverResult {
    Histogram latency;                           // committed transactions of the measured window
    std::uint64_t committed = 0;                 // in the window
    std::uint64_t refused = 0;                   // answers 429 and 503, tried again
    std::uint64_t not_sent = 0;                  // open loop: arrivals over max_outstanding
    std::map<std::string, std::uint64_t> errors; // by what went wrong
    std::chrono::nanoseconds window{0};
};

class Driver {
public:
    using Clock = std::chrono::steady_clock;

    Driver(transport::IoThreads& threads, transport::Client& client, const Options& options,
           std::vector<transport::Origin> origins);
    ~Driver();
    Driver(const Driver&) = delete;
    Driver& operator=(const Driver&) = delete;

    // Warms up, measures, and returns when nothing is outstanding any more. `at_start` and `at_end`
    // run at the edges of the measured window, to read counters.
    [[nodiscard]] DriverResult run(const std::function<void()>& at_start,
                                   const std::function<void()>& at_end);

private:
    struct Attempt;

    void start_transaction(std::shared_ptr<Attempt> attempt);
    void finished(const std::shared_ptr<Attempt>& attempt, transport::Client::Result result);
    void try_again(const std::shared_ptr<Attempt>& attempt, std::chrono::milliseconds delay);
    void ended(const std::shared_ptr<Attempt>& attempt, const std::string& error);
    void start_closed_loop();
    void pace_until(Clock::time_point end, double& due_seconds, Clock::time_point origin);
    void begin_window();
    void end_window();

    transport::IoThreads& threads_;
    transport::Client& client_;
    const Options options_;
    const std::vector<transport::Origin> origins_;
    const std::string body_;

    std::mutex mutex_;
    std::condition_variable idle_;
    DriverResult result_;
    Clock::time_point window_start_{};
    bool measuring_ = false;
    bool stopping_ = false;
    std::size_t outstanding_ = 0;
    std::size_t next_origin_ = 0;
};

} // namespace concordat::bench
