#pragma once

// Named threads for work that blocks, behind a bounded queue.
//
// Threading: submit() from any thread, also from a worker. Ownership: stop() and the destructor run
// what is queued to its end and join. Errors: submit() is false when the queue is full or stopped;
// the task is then untouched.

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace concordat::participant {

class WorkerPool {
public:
    using Task = std::move_only_function<void()>;

    /// `name`: at most 12 bytes of it become part of the threads' names.
    WorkerPool(const std::string& name, std::size_t threads, std::size_t max_queued);
    ~WorkerPool();
    WorkerPool(const WorkerPool&) = delete;
    WorkerPool& operator=(const WorkerPool&) = delete;

    [[nodiscard]] bool submit(Task&& task);
    void stop();
    [[nodiscard]] std::size_t queued() const;

private:
    void run();

    const std::size_t max_queued_;
    mutable std::mutex mutex_;
    std::condition_variable work_;
    std::deque<Task> tasks_;
    bool stopping_ = false;
    std::vector<std::jthread> threads_;
};

} // namespace concordat::participant
