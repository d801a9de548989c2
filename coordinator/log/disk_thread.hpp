#pragma once

// The thread that writes: it takes everything that is waiting, puts all appends into one write and
// one sync (group commit), and reports completions in order.
//
// Errors: no space makes appends wait and is reported through `no_space`; they resume by
// themselves. Any other error ends the process through `fatal`, because a write whose sync failed
// may be lost although a later sync succeeds (Rebello et al., Can Applications Recover from fsync
// Failures?, USENIX ATC 2020).
//
// Threading: all calls from one thread; `completed` is called on the disk thread, never while a
// lock is held.

#include "coordinator/log/storage.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <variant>
#include <vector>

namespace concordat::log {

class DiskThread {
public:
    struct SaveHardState {
        HardState state;
    };
    struct Append {
        Generation generation = 0;
        std::vector<Entry> entries;
    };
    struct RestartLog {
        Index next = 0;
    };
    struct Compact {
        Index through = 0;
    };
    using Job = std::variant<SaveHardState, Append, RestartLog, Compact>;

    struct HardStateSaved {};
    struct Appended {
        Generation generation = 0;
        Index index = 0;
    };
    struct LogRestarted {};
    using Completion = std::variant<HardStateSaved, Appended, LogRestarted>;

    DiskThread(Storage& storage, std::function<void(std::vector<Completion>)> completed,
               std::function<void(std::string)> fatal);
    ~DiskThread();
    DiskThread(const DiskThread&) = delete;
    DiskThread& operator=(const DiskThread&) = delete;

    void start();
    void add(Job job);
    /// Finishes what was added (unless there is no space for it) and joins.
    void stop();
    /// Ends without writing what is waiting, as a crash would; for tests.
    void abandon();

    /// Appends wait for space.
    [[nodiscard]] bool no_space() const noexcept { return no_space_; }

private:
    void run();
    bool perform(std::deque<Job>& jobs);
    bool append(std::deque<Job>& jobs, std::vector<Completion>& done);
    bool settle(const IoResult<void>& result);
    void report(std::vector<Completion>& done);

    Storage& storage_;
    std::function<void(std::vector<Completion>)> completed_;
    std::function<void(std::string)> fatal_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Job> jobs_;
    bool stopping_ = false;
    bool abandoned_ = false;
    std::atomic<bool> no_space_ = false;
    std::thread thread_;
};

} // namespace concordat::log
