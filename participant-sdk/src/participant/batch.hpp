#pragma once

// The answer to a batch: complete when every operation has ended, or, when patience is over, with
// "later" in the places of those that still run.
//
// Why patience: two prepares of one batch may want the same row. The second waits for the first to
// be committed, which the coordinator cannot do before it has the first one's vote.
//
// Threading: set(), close() from any thread. Ownership: shared by the operations and the watcher.

#include "participant-sdk/src/wire/participant_contract.hpp"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace concordat::participant {

class PendingBatch {
public:
    using Answer = std::function<void(std::string body)>;

    /// `still_running`: what is answered for each operation that has not ended in time.
    PendingBatch(std::vector<wire::BranchAnswer> still_running, Answer answer);
    void set(std::size_t index, wire::BranchAnswer&& answer);
    /// Answers now. No effect when it is answered already.
    void close();

private:
    void send(std::unique_lock<std::mutex>& lock);

    std::mutex mutex_;
    std::vector<wire::BranchAnswer> answers_;
    std::size_t open_;
    bool sent_ = false;
    Answer answer_;
};

/// Closes batches that are older than the patience; one thread.
class BatchPatience {
public:
    explicit BatchPatience(std::chrono::milliseconds patience);
    ~BatchPatience();
    void watch(std::shared_ptr<PendingBatch> batch);
    /// Closes what is left and joins.
    void stop();

private:
    struct Watched {
        std::chrono::steady_clock::time_point due;
        std::shared_ptr<PendingBatch> batch;
    };
    void run();

    const std::chrono::milliseconds patience_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Watched> watched_; ///< in the order in which they fall due
    bool stopping_ = false;
    std::jthread thread_;
};

} // namespace concordat::participant
