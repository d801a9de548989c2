// A one-shot timer on an io thread, for owners of back-offs, intervals and long polls.
//
// Threading: start() and cancel() from any thread; the function runs on the timer's io thread.
// After cancel() or destruction ON the io thread the function does not run; from another thread it
// may be running at that moment, so it must not outlive what it captures (capture weak references).
// Ownership: the IoThreads must outlive the timer; a pending function dies with it unrun.
#pragma once

#include "participant-sdk/src/transport/io_threads.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

namespace concordat::transport {

class Timer {
public:
    Timer(IoThreads& threads, std::size_t index);
    ~Timer();
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    // Runs the function once after the delay; replaces what was started before.
    void start(std::chrono::nanoseconds delay, std::move_only_function<void()> function);
    void cancel();

private:
    struct State;
    std::shared_ptr<State> state_;
};

} // namespace concordat::transport
