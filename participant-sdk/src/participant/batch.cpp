#include "participant-sdk/src/participant/batch.hpp"

#include <utility>

namespace concordat::participant {

PendingBatch::PendingBatch(std::vector<wire::BranchAnswer> still_running, Answer answer)
    : answers_(std::move(still_running)), open_(answers_.size()), answer_(std::move(answer)) {
    if (open_ == 0) {
        close();
    }
}

void PendingBatch::set(std::size_t index, wire::BranchAnswer&& answer) {
    std::unique_lock lock(mutex_);
    if (sent_) {
        return; // too late for this answer; the repetition finds what was done
    }
    answers_[index] = std::move(answer);
    if (--open_ == 0) {
        send(lock);
    }
}

void PendingBatch::close() {
    std::unique_lock lock(mutex_);
    if (!sent_) {
        send(lock);
    }
}

void PendingBatch::send(std::unique_lock<std::mutex>& lock) {
    sent_ = true;
    const std::string body = wire::encode_batch(answers_);
    const Answer answer = std::exchange(answer_, nullptr);
    lock.unlock();
    answer(body);
}

BatchPatience::BatchPatience(std::chrono::milliseconds patience)
    : patience_(patience), thread_([this] { run(); }) {}

BatchPatience::~BatchPatience() {
    stop();
}

void BatchPatience::watch(std::shared_ptr<PendingBatch> batch) {
    {
        const std::lock_guard lock(mutex_);
        if (!stopping_) {
            watched_.push_back({std::chrono::steady_clock::now() + patience_, std::move(batch)});
        }
    }
    if (batch) {
        batch->close();
        return;
    }
    changed_.notify_one();
}

void BatchPatience::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_one();
    if (thread_.joinable()) {
        thread_.join();
    }
}

void BatchPatience::run() {
    std::unique_lock lock(mutex_);
    for (;;) {
        if (watched_.empty()) {
            if (stopping_) {
                return;
            }
            changed_.wait(lock);
            continue;
        }
        const auto due = watched_.front().due;
        if (!stopping_ && std::chrono::steady_clock::now() < due) {
            changed_.wait_until(lock, due);
            continue;
        }
        const auto batch = std::move(watched_.front().batch);
        watched_.pop_front();
        lock.unlock();
        batch->close();
        lock.lock();
    }
}

} // namespace concordat::participant
