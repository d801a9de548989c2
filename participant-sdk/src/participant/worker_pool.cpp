#include "participant-sdk/src/participant/worker_pool.hpp"

#include <pthread.h>

#include <utility>

namespace concordat::participant {

WorkerPool::WorkerPool(const std::string& name, std::size_t threads, std::size_t max_queued)
    : max_queued_(max_queued) {
    threads_.reserve(threads);
    for (std::size_t index = 0; index < threads; ++index) {
        threads_.emplace_back([this] { run(); });
        const std::string thread_name = name.substr(0, 12) + '-' + std::to_string(index);
        pthread_setname_np(threads_.back().native_handle(), thread_name.substr(0, 15).c_str());
    }
}

WorkerPool::~WorkerPool() {
    stop();
}

bool WorkerPool::submit(Task&& task) {
    {
        const std::lock_guard lock(mutex_);
        if (stopping_ || tasks_.size() >= max_queued_) {
            return false;
        }
        tasks_.push_back(std::move(task));
    }
    work_.notify_one();
    return true;
}

void WorkerPool::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    work_.notify_all();
    for (std::jthread& thread : threads_) {
        if (thread.joinable()) {
            thread.join();
        }
    }
}

std::size_t WorkerPool::queued() const {
    const std::lock_guard lock(mutex_);
    return tasks_.size();
}

void WorkerPool::run() {
    for (;;) {
        Task task;
        {
            std::unique_lock lock(mutex_);
            work_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
            if (tasks_.empty()) {
                return;
            }
            task = std::move(tasks_.front());
            tasks_.pop_front();
        }
        task();
    }
}

} // namespace concordat::participant
