#include "participant-sdk/src/participant/batch.hpp"

#include <utility>

namespace concordat::participant {

PendingBatch::PendingBatch(std::vector<wire::BranchAnswer> still_running,
                           wire::BranchAnswer dropped, Answer answer)
    : answers_(std::move(still_running)),
      begun_(answers_.size(), false),
      dropped_(std::move(dropped)),
      open_(answers_.size()),
      open_at_last_look_(open_),
      answer_(std::move(answer)) {
    if (open_ == 0) {
        close();
    }
}

bool PendingBatch::begin(std::size_t index) {
    const std::lock_guard lock(mutex_);
    begun_[index] = !sent_;
    return !sent_;
}

void PendingBatch::set(std::size_t index, wire::BranchAnswer&& answer) {
    std::unique_lock lock(mutex_);
    if (sent_) {
        return; // too late for this answer; the repetition finds what was done
    }
    begun_[index] = true;
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

bool PendingBatch::close_if_stalled() {
    std::unique_lock lock(mutex_);
    if (sent_) {
        return true;
    }
    const bool progress = open_ < std::exchange(open_at_last_look_, open_);
    if (progress || open_ == answers_.size()) {
        return false;
    }
    send(lock);
    return true;
}

void PendingBatch::send(std::unique_lock<std::mutex>& lock) {
    sent_ = true;
    for (std::size_t index = 0; index < answers_.size(); ++index) {
        if (!begun_[index]) {
            answers_[index] = dropped_;
        }
    }
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
        Watched watched = std::move(watched_.front());
        watched_.pop_front();
        const bool last_look = stopping_ || ++watched.looks >= most_looks;
        lock.unlock();
        bool answered = watched.batch->close_if_stalled();
        if (!answered && last_look) {
            watched.batch->close();
            answered = true;
        }
        lock.lock();
        if (!answered) {
            watched.due = std::chrono::steady_clock::now() + patience_;
            watched_.push_back(std::move(watched));
        }
    }
}

} // namespace concordat::participant
