#pragma once

// Virtual time and the one source of randomness of a simulated run. Everything that happens is an
// event at a time; the same seed gives the same events in the same order, which the trace shows.

#include "tests/simulation/trace.hpp"

#include <cstdint>
#include <functional>
#include <queue>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::simulation {

using Milliseconds = std::uint64_t;

/// Thrown where an invariant is found broken; ends the run.
class Violation : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

class Timeline {
public:
    explicit Timeline(std::uint64_t seed) : random_(seed) {}

    [[nodiscard]] Milliseconds now() const noexcept { return now_; }

    void after(Milliseconds delay, std::function<void()> action) {
        events_.push({now_ + delay, ++sequence_, std::move(action)});
    }

    void run_until(Milliseconds time) {
        while (!events_.empty() && events_.top().time <= time) {
            // Moved, not copied; what orders the queue stays in place until it is popped.
            Event event = std::move(const_cast<Event&>(events_.top()));
            events_.pop();
            now_ = event.time;
            event.action();
        }
        now_ = time;
    }

    /// 0 … below - 1
    [[nodiscard]] std::uint64_t pick(std::uint64_t below) { return random_() % below; }
    [[nodiscard]] Milliseconds between(Milliseconds least, Milliseconds most) {
        return least + pick(most - least + 1);
    }
    [[nodiscard]] bool chance(unsigned permille) { return pick(1000) < permille; }

    /// Mixes what just happened into the run's fingerprint.
    void trace(std::uint64_t what) noexcept {
        trace_ = (trace_ ^ (what + now_ * 31U)) * 1099511628211U;
    }
    [[nodiscard]] std::uint64_t fingerprint() const noexcept { return trace_; }

    /// From now on every line of the story goes there as well.
    void listen(TraceSink sink) { sink_ = std::move(sink); }
    [[nodiscard]] bool is_heard() const noexcept { return sink_ != nullptr; }
    /// One line of the story; costs nothing when nobody listens.
    void tell(std::string_view xid, std::string_view actor, std::string_view event,
              std::string_view detail = {}) {
        if (sink_) {
            std::string line = std::to_string(now_);
            for (const std::string_view field : {xid, actor, event, detail}) {
                line.append(1, '\t').append(field);
            }
            sink_(line);
        }
    }
    /// A fault is about to happen to `victim`.
    void inject(Fault fault, std::string_view victim = {}, std::string_view xid = "-") {
        faults_.add(fault);
        tell(xid, "world", name_of(fault), victim);
    }
    /// The same for faults that are too frequent for a story.
    void count(Fault fault) noexcept { faults_.add(fault); }
    [[nodiscard]] const FaultCounts& faults() const noexcept { return faults_; }

private:
    struct Event {
        Milliseconds time = 0;
        std::uint64_t sequence = 0;
        std::function<void()> action;
        bool operator<(const Event& other) const {
            return time != other.time ? time > other.time : sequence > other.sequence;
        }
    };

    Milliseconds now_ = 0;
    std::uint64_t sequence_ = 0;
    std::priority_queue<Event> events_;
    std::mt19937_64 random_;
    std::uint64_t trace_ = 14695981039346656037U;
    TraceSink sink_;
    FaultCounts faults_;
};

} // namespace concordat::simulation
