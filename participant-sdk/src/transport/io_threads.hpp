// The threads that drive sockets.
//
// What: N threads, each with an event loop of its own. A connection lives on one of them for its
// whole life, so connection state needs no lock.
// Why one loop per thread: a loop shared by all threads would lock on every operation.
//
// Threading: post() from any thread; start(), stop() from the owner's thread, never from an io
// thread. Ownership: servers, clients and timers refer to it and must be destroyed before it; it
// joins its threads. Errors: an exception that escapes a posted function stops the process.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace concordat::transport {

namespace detail {
class IoLoop;
} // namespace detail

class IoThreads {
public:
    using Task = std::move_only_function<void()>;

    // `name` prefixes the names of the threads (at most 12 bytes of it are used).
    explicit IoThreads(std::size_t threads, const std::string& name = "io");
    ~IoThreads(); // stop()
    IoThreads(const IoThreads&) = delete;
    IoThreads& operator=(const IoThreads&) = delete;

    // Starts the threads; once.
    void start();
    // Ends the loops after what is running now and joins the threads. What was posted and has not
    // run is destroyed unrun. Stop servers and clients first: they need the loops to finish.
    void stop();

    [[nodiscard]] std::size_t size() const noexcept;
    // The index of the calling thread, if it is one of these threads.
    [[nodiscard]] std::optional<std::size_t> current() const noexcept;
    // Runs the task on that thread, never inside this call. Tasks posted by one thread to one
    // index run in order.
    void post(std::size_t index, Task task);
    // The same, on a thread chosen in turn.
    void post(Task task);

    // For the library's own .cpp files; the type is complete only there.
    [[nodiscard]] detail::IoLoop& loop(std::size_t index) noexcept;

private:
    struct State;
    std::unique_ptr<State> state_;
};

} // namespace concordat::transport
