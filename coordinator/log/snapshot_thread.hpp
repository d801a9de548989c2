#pragma once

// The thread that encodes, writes and reads snapshots, so that neither the core nor the log's
// writes wait for them. Work is bounded by its few producers: one own snapshot, one received one,
// one per peer to be sent.
//
// Threading: add() from any thread; stop() joins and drops what has not begun.

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace concordat::log {

class SnapshotThread {
public:
    SnapshotThread() = default;
    ~SnapshotThread();
    SnapshotThread(const SnapshotThread&) = delete;
    SnapshotThread& operator=(const SnapshotThread&) = delete;

    void start();
    void add(std::function<void()> work);
    /// Called by work: waits a little; false when the thread is to stop.
    [[nodiscard]] bool wait_for_space();
    void stop();

private:
    void run();

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> work_;
    bool stopping_ = false;
    std::thread thread_;
};

} // namespace concordat::log
