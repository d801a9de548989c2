#pragma once

// The answer to a batch: complete when every operation has ended, or, when patience is over, with
// "later" in the places of those that still run.
//
// Why patience: two prepares of one batch may want the same row. The second waits for the first to
// be committed, which the coordinator cannot do before it has the first one's vote.
//
// Patience is over when some operations have ended and none has for a while, so a batch that only
// makes slow progress is not cut short: on a machine that is too busy every operation would be told
// to come later, again and again, and none would ever be answered.
//
// An operation that no worker has begun by then is dropped: the coordinator repeats it, and a
// worker that ran it nevertheless would work for nobody while the repetition waits behind it.
//
// Threading: begin(), set(), close() from any thread. Ownership: shared by the operations and the
// watcher.

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

    /// What is answered for each operation that has not ended in time, and for one that was not
    /// begun: `dropped`, which says that nothing was done.
    PendingBatch(std::vector<wire::BranchAnswer> still_running, wire::BranchAnswer dropped,
                 Answer answer);
    /// Before an operation is run; false: the batch is answered, the operation must not be run.
    [[nodiscard]] bool begin(std::size_t index);
    void set(std::size_t index, wire::BranchAnswer&& answer);
    /// Answers now. No effect when it is answered already.
    void close();
    /// Answers when an operation has ended, but none since the last call. True: it is answered.
    [[nodiscard]] bool close_if_stalled();

private:
    void send(std::unique_lock<std::mutex>& lock);

    std::mutex mutex_;
    std::vector<wire::BranchAnswer> answers_;
    std::vector<bool> begun_; ///< or answered without having run
    const wire::BranchAnswer dropped_;
    std::size_t open_;
    std::size_t open_at_last_look_;
    bool sent_ = false;
    Answer answer_;
};

/// Closes batches that made no progress for the patience, or are much older than it; one thread.
class BatchPatience {
public:
    /// A batch in which nothing ends is answered after this many times the patience.
    static constexpr int most_looks = 25;

    explicit BatchPatience(std::chrono::milliseconds patience);
    ~BatchPatience();
    void watch(std::shared_ptr<PendingBatch> batch);
    /// Closes what is left and joins.
    void stop();

private:
    struct Watched {
        std::chrono::steady_clock::time_point due;
        std::shared_ptr<PendingBatch> batch;
        int looks = 0;
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
