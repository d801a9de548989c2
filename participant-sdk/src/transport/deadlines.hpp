// Deadlines of many connections on one timer.
//
// Why: an Asio timer per operation costs a heap operation and often a system call for every
// request, although almost no deadline is ever reached. Here setting one is a store. The timer
// fires at the earliest deadline it was armed for, looks at all members once and is armed for the
// next; it is moved forward only when an earlier deadline is set.
//
// Threading: one loop's thread. Ownership: members remove themselves before they die.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>

namespace concordat::transport::detail {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;

inline constexpr Time never = Time::max();

class Timed {
public:
    Timed() = default;
    Timed(const Timed&) = delete;
    Timed& operator=(const Timed&) = delete;

    // The deadline has passed; it is `never` now. May remove any member.
    virtual void on_deadline(Time now) = 0;
    // The loop will not run again: release what only the deadline kept alive.
    virtual void on_loop_end() {}
    virtual ~Timed() = default;

private:
    friend class Deadlines;
    Time deadline_ = never;
    Timed* previous_ = nullptr;
    Timed* next_ = nullptr;
    bool member_ = false;
};

class Deadlines {
public:
    explicit Deadlines(boost::asio::io_context& context) : timer_(context) {}

    void add(Timed& timed) noexcept;
    void remove(Timed& timed) noexcept; // does nothing for a stranger
    void set(Timed& timed, Time deadline);
    void clear(Timed& timed) noexcept { timed.deadline_ = never; }
    // Removes all members; the loop's thread has ended.
    void end();

private:
    void arm(Time when);
    void expire();

    using Timer = boost::asio::basic_waitable_timer<Clock, boost::asio::wait_traits<Clock>,
                                                    boost::asio::io_context::executor_type>;
    Timer timer_;
    Time armed_for_ = never;
    Timed* first_ = nullptr;
    Timed* cursor_ = nullptr; // the next member expire() looks at
};

} // namespace concordat::transport::detail
