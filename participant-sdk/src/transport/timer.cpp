#include "participant-sdk/src/transport/timer.hpp"

#include "participant-sdk/src/transport/io_loop.hpp"

#include <mutex>
#include <utility>

namespace concordat::transport {

// A member of the loop's deadlines while it is armed; it keeps itself alive for that time. The
// generation tells a late instruction from another thread apart from the newest one.
struct Timer::State final : detail::Timed, std::enable_shared_from_this<Timer::State> {
    explicit State(detail::IoLoop& owner) : loop(owner), mailbox(owner.mailbox()) {}

    void on_loop(std::move_only_function<void()> task) {
        if (detail::IoLoop::current() == &loop) {
            task();
        } else {
            mailbox->post(std::move(task));
        }
    }

    void arm(detail::Time when, std::uint64_t wanted) {
        const std::lock_guard lock(mutex);
        if (wanted != generation) {
            return;
        }
        if (self == nullptr) {
            self = shared_from_this();
            loop.deadlines().add(*this);
        }
        armed_generation = wanted;
        loop.deadlines().set(*this, when);
    }

    void disarm(std::uint64_t wanted) {
        std::shared_ptr<State> released;
        const std::lock_guard lock(mutex);
        if (wanted == generation && self != nullptr) {
            loop.deadlines().remove(*this);
            released = std::move(self);
        }
    }

    void on_deadline(detail::Time /*now*/) override {
        std::move_only_function<void()> due;
        std::shared_ptr<State> released;
        {
            const std::lock_guard lock(mutex);
            loop.deadlines().remove(*this);
            released = std::move(self);
            // Otherwise this is the deadline of a start that has been replaced meanwhile.
            if (armed_generation == generation) {
                due = std::exchange(function, nullptr);
            }
        }
        if (due) {
            due();
        }
    }

    void on_loop_end() override {
        const std::shared_ptr<State> released = std::move(self);
        const std::lock_guard lock(mutex);
        function = nullptr;
    }

    detail::IoLoop& loop;
    std::shared_ptr<detail::Mailbox> mailbox;
    std::mutex mutex;
    std::move_only_function<void()> function;
    std::uint64_t generation = 0;
    std::uint64_t armed_generation = 0;
    std::shared_ptr<State> self; // while it is a member of the deadlines
};

Timer::Timer(IoThreads& threads, std::size_t index)
    : state_(std::make_shared<State>(threads.loop(index))) {}

Timer::~Timer() {
    cancel();
}

void Timer::start(std::chrono::nanoseconds delay, std::move_only_function<void()> function) {
    const detail::Time when = detail::Clock::now() + delay;
    std::move_only_function<void()> replaced;
    std::uint64_t generation = 0;
    {
        const std::lock_guard lock(state_->mutex);
        replaced = std::exchange(state_->function, std::move(function));
        generation = ++state_->generation;
    }
    state_->on_loop([state = state_, when, generation] { state->arm(when, generation); });
}

void Timer::cancel() {
    std::move_only_function<void()> dropped;
    std::uint64_t generation = 0;
    {
        const std::lock_guard lock(state_->mutex);
        dropped = std::exchange(state_->function, nullptr);
        generation = ++state_->generation;
    }
    state_->on_loop([state = state_, generation] { state->disarm(generation); });
}

} // namespace concordat::transport
