#pragma once

// Deadlines, retries and wait limits of the transaction core: a binary heap that knows where each
// timer sits, so that cancelling is O(log n) and leaves nothing behind. Most deadlines are
// cancelled long before they are due; a heap with lazy deletion would be full of dead ones.
//
// Timers with the same instant fire in the order in which they were added: the core stays
// deterministic.

#include "coordinator/core/ids.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace concordat::core {

struct VolatileTransaction;

struct TimerEvent {
    enum class Kind : std::uint8_t { deadline, retry, wait_limit };
    Kind kind = Kind::deadline;
    BranchNumber branch;                        ///< retry
    VolatileTransaction* transaction = nullptr; ///< cancels its timers before it goes away
    RequestToken token;                         ///< wait_limit
};

class TimerQueue {
public:
    /// Names a pending timer; 0 names none.
    using Handle = std::uint32_t;

    Handle add(Instant at, TimerEvent event);
    /// Removes the timer if `handle` names one and sets it to none.
    void cancel(Handle& handle) noexcept;
    /// When the earliest timer is due.
    [[nodiscard]] std::optional<Instant> next() const noexcept;
    /// Removes and returns the earliest timer if it is due. Its handle is invalid from now on.
    std::optional<TimerEvent> pop_due(Instant now) noexcept;
    void clear() noexcept;
    [[nodiscard]] std::size_t size() const noexcept { return heap_.size(); }

private:
    struct Entry {
        Instant at;
        std::uint64_t order = 0;
        std::uint32_t slot = 0;
    };
    struct Slot {
        TimerEvent event;
        std::uint32_t position = 0;
    };
    static bool earlier(const Entry& left, const Entry& right) noexcept;
    void place(std::size_t position, Entry entry) noexcept;
    void sift_up(std::size_t position) noexcept;
    void sift_down(std::size_t position) noexcept;
    void remove_at(std::size_t position) noexcept;

    std::vector<Entry> heap_;
    std::vector<Slot> slots_;
    std::vector<std::uint32_t> free_slots_;
    std::uint64_t next_order_ = 0;
};

} // namespace concordat::core
