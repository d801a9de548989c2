#include "tests/bench/load_generator/driver.hpp"

#include "participant-sdk/src/transport/timer.hpp"

#include <algorithm>
#include <charconv>
#include <thread>
#include <utility>

namespace concordat::bench {

namespace {

constexpr std::chrono::milliseconds longest_pause{500};
constexpr std::chrono::milliseconds shortest_pause{10};

std::chrono::nanoseconds from_seconds(double seconds) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
        std::chrono::duration<double>(seconds));
}

std::string transaction_body(const Options& options) {
    const std::string filler(options.payload_bytes, 'x');
    std::string body = R"({"protocol":"2pc","branches":[)";
    for (std::size_t branch = 0; branch < options.branches; ++branch) {
        body += branch == 0 ? "" : ",";
        body += R"({"participant":"bench-)" + std::to_string(branch % 2) +
                R"(","payload":{"filler":")" + filler + R"("}})";
    }
    return body + "]}";
}

// Retry-After in seconds is all the coordinator sends for short waits, and too coarse for a load
// generator: the pause is capped.
std::chrono::milliseconds pause_of(const transport::Response& response) {
    unsigned seconds = 0;
    if (const auto value = response.headers.find("Retry-After")) {
        std::from_chars(value->data(), value->data() + value->size(), seconds);
    }
    const std::chrono::milliseconds asked{std::chrono::seconds{seconds}};
    return std::clamp(asked, shortest_pause, longest_pause);
}

bool says_committed(std::string_view body) {
    return body.find(R"("outcome":"committed")") != std::string_view::npos ||
           body.find(R"("outcome": "committed")") != std::string_view::npos;
}

} // namespace

// One transaction on its way. In the closed loop a client re-uses its object for the next one.
struct Driver::Attempt {
    Attempt(transport::IoThreads& threads, std::size_t number)
        : origin(number), pause(threads, number % threads.size()) {}

    std::size_t origin; // modulo the number of origins
    Clock::time_point due{};
    bool repeats = false; // closed loop
    transport::Timer pause;
};

Driver::Driver(transport::IoThreads& threads, transport::Client& client, const Options& options,
               std::vector<transport::Origin> origins)
    : threads_(threads),
      client_(client),
      options_(options),
      origins_(std::move(origins)),
      body_(transaction_body(options_)) {}

Driver::~Driver() = default;

DriverResult Driver::run(const std::function<void()>& at_start,
                         const std::function<void()>& at_end) {
    const Clock::time_point origin = Clock::now();
    const Clock::time_point window_start = origin + from_seconds(options_.warm_up_seconds);
    const Clock::time_point window_end = window_start + from_seconds(options_.seconds);
    double due_seconds = 0;
    if (options_.rate > 0) {
        pace_until(window_start, due_seconds, origin);
    } else {
        start_closed_loop();
        std::this_thread::sleep_until(window_start);
    }
    at_start();
    begin_window();
    if (options_.rate > 0) {
        pace_until(window_end, due_seconds, origin);
    } else {
        std::this_thread::sleep_until(window_end);
    }
    end_window();
    at_end();
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return outstanding_ == 0; });
    return result_;
}

void Driver::begin_window() {
    const std::scoped_lock lock(mutex_);
    measuring_ = true;
    window_start_ = Clock::now();
}

void Driver::end_window() {
    const std::scoped_lock lock(mutex_);
    measuring_ = false;
    stopping_ = true;
    result_.window = Clock::now() - window_start_;
}

void Driver::start_closed_loop() {
    for (std::size_t number = 0; number < options_.clients; ++number) {
        auto attempt = std::make_shared<Attempt>(threads_, number);
        attempt->repeats = true;
        attempt->due = Clock::now();
        {
            const std::scoped_lock lock(mutex_);
            ++outstanding_;
        }
        start_transaction(std::move(attempt));
    }
}

// Sends what is due until `end`. The timetable depends on nothing but the rate: a late wake-up
// sends what it missed at once.
void Driver::pace_until(Clock::time_point end, double& due_seconds, Clock::time_point origin) {
    for (;;) {
        const Clock::time_point due = origin + from_seconds(due_seconds);
        if (due >= end) {
            std::this_thread::sleep_until(end);
            return;
        }
        std::this_thread::sleep_until(due);
        due_seconds += 1.0 / options_.rate;
        std::shared_ptr<Attempt> attempt;
        {
            const std::scoped_lock lock(mutex_);
            if (outstanding_ >= options_.max_outstanding) {
                result_.not_sent += measuring_ ? 1 : 0;
                continue;
            }
            ++outstanding_;
            attempt = std::make_shared<Attempt>(threads_, next_origin_++);
        }
        attempt->due = due;
        start_transaction(std::move(attempt));
    }
}

void Driver::start_transaction(std::shared_ptr<Attempt> attempt) {
    transport::OutboundRequest request;
    request.target = "/v1/transactions";
    request.body = body_;
    request.timeout = options_.request_timeout;
    request.idempotent = false; // the coordinator makes the xid: sent twice it would run twice
    const transport::Origin& origin = origins_[attempt->origin % origins_.size()];
    client_.send(origin, std::move(request),
                 [this, attempt = std::move(attempt)](transport::Client::Result result) {
                     finished(attempt, std::move(result));
                 });
}

void Driver::finished(const std::shared_ptr<Attempt>& attempt, transport::Client::Result result) {
    if (!result) {
        if (result.error().effect == transport::TransportError::Effect::none) {
            try_again(attempt, shortest_pause * 5);
            return;
        }
        ended(attempt, std::string(transport::name(result.error().kind)));
        return;
    }
    if (result->status == 429 || result->status == 503) {
        try_again(attempt, pause_of(*result));
        return;
    }
    if (result->status == 200 && says_committed(result->body)) {
        ended(attempt, "");
        return;
    }
    ended(attempt, "status " + std::to_string(result->status));
}

void Driver::try_again(const std::shared_ptr<Attempt>& attempt, std::chrono::milliseconds delay) {
    {
        const std::scoped_lock lock(mutex_);
        result_.refused += measuring_ ? 1 : 0;
        if (stopping_) {
            --outstanding_;
            idle_.notify_all();
            return;
        }
    }
    ++attempt->origin;
    // The timer belongs to the attempt that it keeps alive; running it breaks the circle.
    attempt->pause.start(delay, [this, attempt] { start_transaction(attempt); });
}

void Driver::ended(const std::shared_ptr<Attempt>& attempt, const std::string& error) {
    const Clock::time_point now = Clock::now();
    {
        const std::scoped_lock lock(mutex_);
        if (measuring_ && error.empty()) {
            result_.latency.record(now - attempt->due);
            ++result_.committed;
        } else if (measuring_) {
            ++result_.errors[error];
        }
        if (stopping_ || !attempt->repeats) {
            --outstanding_;
            idle_.notify_all();
            return;
        }
    }
    attempt->due = now;
    if (error.empty()) {
        start_transaction(attempt);
    } else {
        attempt->pause.start(shortest_pause, [this, attempt] { start_transaction(attempt); });
    }
}

} // namespace concordat::bench
