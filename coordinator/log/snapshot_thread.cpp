#include "coordinator/log/snapshot_thread.hpp"

#include <chrono>

namespace concordat::log {

SnapshotThread::~SnapshotThread() {
    stop();
}

void SnapshotThread::start() {
    thread_ = std::thread([this] { run(); });
}

void SnapshotThread::add(std::function<void()> work) {
    {
        const std::lock_guard lock{mutex_};
        work_.push_back(std::move(work));
    }
    changed_.notify_one();
}

bool SnapshotThread::wait_for_space() {
    std::unique_lock lock{mutex_};
    return !changed_.wait_for(lock, std::chrono::milliseconds{200}, [&] { return stopping_; });
}

void SnapshotThread::stop() {
    {
        const std::lock_guard lock{mutex_};
        stopping_ = true;
    }
    changed_.notify_one();
    if (thread_.joinable()) {
        thread_.join();
    }
}

void SnapshotThread::run() {
    std::unique_lock lock{mutex_};
    while (true) {
        changed_.wait(lock, [&] { return stopping_ || !work_.empty(); });
        if (stopping_) {
            return;
        }
        const std::function<void()> work = std::move(work_.front());
        work_.pop_front();
        lock.unlock();
        work();
        lock.lock();
    }
}

} // namespace concordat::log
