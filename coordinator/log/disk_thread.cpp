#include "coordinator/log/disk_thread.hpp"

#include "coordinator/log/failpoint_kinds.hpp"

#include <chrono>

namespace concordat::log {
namespace {

constexpr std::chrono::milliseconds space_retry{200};
/// Quiet time after which the durable mark itself is synced.
constexpr std::chrono::milliseconds idle_sync{100};

} // namespace

DiskThread::DiskThread(Storage& storage, std::function<void(std::vector<Completion>)> completed,
                       std::function<void(std::string)> fatal)
    : storage_(storage), completed_(std::move(completed)), fatal_(std::move(fatal)) {}

DiskThread::~DiskThread() {
    stop();
}

void DiskThread::start() {
    thread_ = std::thread([this] { run(); });
}

void DiskThread::add(Job job) {
    {
        const std::lock_guard lock{mutex_};
        jobs_.push_back(std::move(job));
    }
    changed_.notify_one();
}

void DiskThread::stop() {
    {
        const std::lock_guard lock{mutex_};
        stopping_ = true;
    }
    changed_.notify_one();
    if (thread_.joinable()) {
        thread_.join();
    }
}

void DiskThread::abandon() {
    {
        const std::lock_guard lock{mutex_};
        abandoned_ = true;
    }
    stop();
}

void DiskThread::run() {
    std::deque<Job> jobs; // taken and not yet done
    std::unique_lock lock{mutex_};
    while (!abandoned_) {
        const auto has_work = [&] { return stopping_ || !jobs_.empty(); };
        if (!jobs.empty()) {
            // Out of space: what was taken stays in front of what arrived since.
            changed_.wait_for(lock, space_retry, [&] { return stopping_; });
        } else if (!changed_.wait_for(lock, idle_sync, has_work)) {
            lock.unlock();
            const bool fine = settle(storage_.flush_mark());
            lock.lock();
            if (!fine) {
                return;
            }
            continue;
        }
        const bool last_round = stopping_;
        std::move(jobs_.begin(), jobs_.end(), std::back_inserter(jobs));
        jobs_.clear();
        if (abandoned_) {
            return;
        }
        lock.unlock();
        const bool fine = perform(jobs) && (!last_round || settle(storage_.flush_mark()));
        lock.lock();
        if (!fine || (last_round && jobs_.empty())) {
            return;
        }
    }
}

/// False when the process is to end. Jobs left over wait for space.
bool DiskThread::perform(std::deque<Job>& jobs) {
    std::vector<Completion> done;
    bool fine = true;
    while (fine && !jobs.empty()) {
        Job& job = jobs.front();
        if (std::holds_alternative<Append>(job)) {
            fine = append(jobs, done);
            if (no_space_) {
                break;
            }
            continue;
        }
        if (const auto* save = std::get_if<SaveHardState>(&job)) {
            CONCORDAT_FAILPOINT("log.vote.before");
            fine = settle(storage_.save_hard_state(save->state));
            CONCORDAT_FAILPOINT("log.vote.after");
            done.emplace_back(HardStateSaved{});
        } else if (const auto* restart = std::get_if<RestartLog>(&job)) {
            const IoResult<void> result = storage_.restart_log(restart->next);
            if (!result && result.error().is_no_space()) {
                no_space_ = true;
                break;
            }
            no_space_ = false;
            fine = settle(result);
            done.emplace_back(LogRestarted{});
        } else if (const auto* compact = std::get_if<Compact>(&job)) {
            fine = settle(storage_.compact(compact->through));
        }
        jobs.pop_front();
    }
    if (fine) {
        report(done);
    }
    return fine;
}

/// Performs the appends at the front of the queue together.
bool DiskThread::append(std::deque<Job>& jobs, std::vector<Completion>& done) {
    std::vector<std::vector<Entry>> batches;
    for (Job& job : jobs) {
        auto* next = std::get_if<Append>(&job);
        if (next == nullptr) {
            break;
        }
        batches.push_back(next->entries);
    }
    CONCORDAT_FAILPOINT("log.persist.*.before", WrittenEntries::instance().add(batches));
    const AppendOutcome outcome = storage_.append(batches);
    CONCORDAT_FAILPOINT("log.persist.*.after", WrittenEntries::instance().add(batches));
    for (std::size_t i = 0; i < outcome.batches; ++i) {
        const auto& written = std::get<Append>(jobs.front());
        done.emplace_back(Appended{written.generation, written.entries.back().index});
        jobs.pop_front();
    }
    no_space_ = outcome.error && outcome.error->is_no_space();
    return !outcome.error || no_space_ || settle(std::unexpected(*outcome.error));
}

bool DiskThread::settle(const IoResult<void>& result) {
    if (!result) {
        fatal_(result.error().message);
    }
    return result.has_value();
}

void DiskThread::report(std::vector<Completion>& done) {
    if (!done.empty()) {
        completed_(std::move(done));
        done.clear();
    }
}

} // namespace concordat::log
