#pragma once

// Code that blocks, in virtual time: a body runs on a stack of its own, and where it would block it
// waits instead, while the timeline goes on. The real logic of a participant runs this way, so that
// deliveries overlap between any two statements without a thread.
//
// Threading: one. Errors: what a body throws is thrown where it was resumed; a body must not wait
// while an exception is in flight.

#include "tests/simulation/timeline.hpp"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <vector>

namespace concordat::simulation {

class Fiber;

class Fibers {
public:
    /// One wait of one fiber, for whoever shall end it.
    struct Ticket {
        Fiber* fiber = nullptr;
        std::uint64_t wait = 0;
    };

    explicit Fibers(Timeline& timeline);
    Fibers(const Fibers&) = delete;
    Fibers& operator=(const Fibers&) = delete;
    ~Fibers();

    /// Runs `body` until it waits or ends. Not from inside of a fiber.
    void start(std::function<void()> body);
    /// Ends all waits, for good, and runs every body to its end.
    void drain();
    [[nodiscard]] bool is_draining() const noexcept { return draining_; }

    // For the body that runs:

    /// Of its next wait.
    [[nodiscard]] Ticket ticket() const;
    /// Waits; true when it was woken, false when the time was over.
    bool wait(Milliseconds at_most);
    void sleep(Milliseconds duration) { static_cast<void>(wait(duration)); }

    // For everybody:

    /// Is a body running?
    [[nodiscard]] bool is_inside() const noexcept { return running_ != nullptr; }
    /// Ends that wait soon; nothing when it has ended.
    void wake(const Ticket& ticket);
    /// Thrown where the running fiber was resumed, when it next waits or ends. For places from
    /// which an exception must not pass through the code under test.
    void fail(std::exception_ptr failure);

private:
    void resume(Fiber& fiber);

    Timeline& timeline_;
    std::vector<std::unique_ptr<Fiber>> alive_;
    Fiber* running_ = nullptr;
    std::exception_ptr failure_;
    bool draining_ = false;
    /// Events of the timeline may outlive this.
    std::shared_ptr<Fibers*> self_ = std::make_shared<Fibers*>(this);
};

} // namespace concordat::simulation
