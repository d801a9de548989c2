// Host names to addresses, on threads of its own.
//
// Why not Asio's resolver: it has one hidden thread per context, where one name server that does
// not answer delays every other name. Here a few threads share a bounded queue, and each pool of
// the client has at most one name under way.
//
// Threading: resolve() from any thread; the callback runs on a resolver thread and hands over at
// once. Ownership: stop() joins the threads; it waits for system look-ups under way, which cannot
// be cancelled. Waiting ones are dropped uncalled: their owners are stopped too.
#pragma once

#include "participant-sdk/src/transport/io_loop.hpp"

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <expected>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace concordat::transport::detail {

class Resolver {
public:
    using Result = std::expected<std::vector<Endpoint>, std::string>;
    using Callback = std::move_only_function<void(Result)>;

    explicit Resolver(std::size_t threads) : thread_count_(threads == 0 ? 1 : threads) {}
    ~Resolver() { stop(); }
    Resolver(const Resolver&) = delete;
    Resolver& operator=(const Resolver&) = delete;

    // False when too many names wait or after stop(): the callback is dropped.
    [[nodiscard]] bool resolve(std::string host, std::uint16_t port, Callback callback);
    void stop();

private:
    struct Job {
        std::string host;
        std::uint16_t port;
        Callback callback;
    };
    void run();

    const std::size_t thread_count_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Job> jobs_;
    bool stopped_ = false;
    std::vector<std::thread> threads_; // started by the first job
};

} // namespace concordat::transport::detail
