#include "participant-sdk/src/transport/io_threads.hpp"

#include "participant-sdk/src/transport/io_loop.hpp"

#include <boost/asio/post.hpp>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <thread>
#include <utility>

namespace concordat::transport {

namespace detail {

namespace {

thread_local IoLoop* loop_of_this_thread = nullptr;

// A scan of all members at most this often, however many deadlines pass one by one.
constexpr std::chrono::milliseconds shortest_scan_interval{1};

} // namespace

bool Mailbox::post(IoThreads::Task task) {
    const std::lock_guard lock(mutex_);
    if (context_ == nullptr) {
        return false;
    }
    const bool wake = waiting_.empty();
    waiting_.push_back(std::move(task));
    if (wake) {
        boost::asio::post(*context_, [this] { run(); });
    }
    return true;
}

void Mailbox::run() {
    {
        const std::lock_guard lock(mutex_);
        running_.swap(waiting_);
    }
    for (IoThreads::Task& task : running_) {
        std::exchange(task, nullptr)();
    }
    running_.clear();
}

void Mailbox::close() {
    std::vector<IoThreads::Task> dropped;
    const std::lock_guard lock(mutex_);
    context_ = nullptr;
    dropped.swap(waiting_);
}

void Deadlines::add(Timed& timed) noexcept {
    timed.member_ = true;
    timed.previous_ = nullptr;
    timed.next_ = first_;
    if (first_ != nullptr) {
        first_->previous_ = &timed;
    }
    first_ = &timed;
}

void Deadlines::remove(Timed& timed) noexcept {
    if (!timed.member_) {
        return;
    }
    timed.member_ = false;
    if (cursor_ == &timed) {
        cursor_ = timed.next_;
    }
    (timed.previous_ == nullptr ? first_ : timed.previous_->next_) = timed.next_;
    if (timed.next_ != nullptr) {
        timed.next_->previous_ = timed.previous_;
    }
}

void Deadlines::set(Timed& timed, Time deadline) {
    timed.deadline_ = deadline;
    if (deadline < armed_for_) {
        arm(deadline);
    }
}

void Deadlines::arm(Time when) {
    armed_for_ = when;
    timer_.expires_at(when);
    timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error) {
            expire();
        }
    });
}

void Deadlines::expire() {
    const Time now = Clock::now();
    armed_for_ = now; // members that set a deadline meanwhile are seen by the second pass
    for (cursor_ = first_; cursor_ != nullptr;) {
        Timed& timed = *cursor_;
        cursor_ = timed.next_;
        if (timed.deadline_ <= now) {
            timed.deadline_ = never;
            timed.on_deadline(now);
        }
    }
    Time earliest = never;
    for (const Timed* timed = first_; timed != nullptr; timed = timed->next_) {
        earliest = std::min(earliest, timed->deadline_);
    }
    armed_for_ = never;
    if (earliest != never) {
        arm(std::max(earliest, now + shortest_scan_interval));
    }
}

void Deadlines::end() {
    while (first_ != nullptr) {
        Timed& timed = *first_;
        remove(timed);
        timed.on_loop_end();
    }
}

IoLoop::IoLoop(std::size_t index) : index_(index) {}

IoLoop::~IoLoop() {
    mailbox_->close();
}

IoLoop* IoLoop::current() noexcept {
    return loop_of_this_thread;
}

std::string_view IoLoop::http_date() {
    const std::time_t now = std::time(nullptr);
    if (now != date_second_) {
        static constexpr std::array<const char*, 7> days{"Sun", "Mon", "Tue", "Wed",
                                                         "Thu", "Fri", "Sat"};
        static constexpr std::array<const char*, 12> months{
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        std::tm utc{};
        gmtime_r(&now, &utc);
        std::array<char, 64> text{};
        std::snprintf(text.data(), text.size(), "%s, %02d %s %04d %02d:%02d:%02d GMT",
                      days.at(static_cast<std::size_t>(utc.tm_wday)), utc.tm_mday,
                      months.at(static_cast<std::size_t>(utc.tm_mon)), utc.tm_year + 1900,
                      utc.tm_hour, utc.tm_min, utc.tm_sec);
        date_ = text.data();
        date_second_ = now;
    }
    return date_;
}

void IoLoop::run() {
    loop_of_this_thread = this;
    context_.run();
    loop_of_this_thread = nullptr;
}

void IoLoop::stop() {
    work_.reset();
    context_.stop();
}

} // namespace detail

struct IoThreads::State {
    std::string name;
    std::vector<std::unique_ptr<detail::IoLoop>> loops;
    std::vector<std::thread> threads;
    std::atomic<std::size_t> turn{0};
    bool stopped = false;
};

IoThreads::IoThreads(std::size_t threads, const std::string& name)
    : state_(std::make_unique<State>()) {
    state_->name = name.substr(0, 12);
    for (std::size_t index = 0; index < std::max<std::size_t>(threads, 1); ++index) {
        state_->loops.push_back(std::make_unique<detail::IoLoop>(index));
    }
}

IoThreads::~IoThreads() {
    stop();
}

void IoThreads::start() {
    for (const auto& loop : state_->loops) {
        // noexcept: an exception here is a bug, and the stack of the bug is worth more than life.
        state_->threads.emplace_back([&loop = *loop]() noexcept { loop.run(); });
        const std::string name = state_->name + "-" + std::to_string(loop->index());
        pthread_setname_np(state_->threads.back().native_handle(), name.substr(0, 15).c_str());
    }
}

void IoThreads::stop() {
    if (std::exchange(state_->stopped, true)) {
        return;
    }
    for (const auto& loop : state_->loops) {
        loop->stop();
    }
    for (std::thread& thread : state_->threads) {
        thread.join();
    }
    for (const auto& loop : state_->loops) {
        loop->deadlines().end();
        loop->mailbox()->close();
    }
}

std::size_t IoThreads::size() const noexcept {
    return state_->loops.size();
}

std::optional<std::size_t> IoThreads::current() const noexcept {
    const detail::IoLoop* loop = detail::IoLoop::current();
    if (loop == nullptr || loop->index() >= state_->loops.size() ||
        state_->loops[loop->index()].get() != loop) {
        return std::nullopt;
    }
    return loop->index();
}

void IoThreads::post(std::size_t index, Task task) {
    state_->loops.at(index)->mailbox()->post(std::move(task));
}

void IoThreads::post(Task task) {
    post(state_->turn.fetch_add(1, std::memory_order_relaxed) % size(), std::move(task));
}

detail::IoLoop& IoThreads::loop(std::size_t index) noexcept {
    return *state_->loops[index];
}

} // namespace concordat::transport
