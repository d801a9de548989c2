#pragma once

// Which participant call may leave now. Every participant has a lane of its own with a cap on
// concurrent calls and two queues, so a participant that hangs fills its own lane and delays nobody
// else. Calls that end a branch (commit, abort) go before those that start one: they free locks.
//
// Queued calls are linked through the branch itself: no allocation, removal in O(1).

#include "coordinator/core/ids.hpp"

#include <cstdint>
#include <memory>
#include <unordered_map>

namespace concordat::core {

struct VolatileTransaction;
struct CallLane;

/// The part of a branch that the scheduler links. It must not move while it is queued.
struct QueuedCall {
    VolatileTransaction* transaction = nullptr;
    BranchNumber branch;
    CallLane* lane = nullptr;
    bool queued = false;
    bool urgent = false;
    QueuedCall* previous = nullptr;
    QueuedCall* next = nullptr;
};

struct CallQueue {
    QueuedCall* first = nullptr;
    QueuedCall* last = nullptr;
};

/// One participant: its queues and its calls in flight.
struct CallLane {
    ParticipantName participant;
    std::uint32_t max_concurrent_calls = 1;
    std::uint32_t in_flight = 0;
    CallQueue urgent;
    CallQueue ordinary;
    bool ready = false; ///< is in the list of lanes from which a call may leave
    CallLane* next_ready = nullptr;
};

class CallScheduler {
public:
    /// The lane of this participant, created at its first use. Stable until clear().
    [[nodiscard]] CallLane& lane(const ParticipantName& participant);
    void set_limit(const ParticipantName& participant, std::uint32_t max_concurrent_calls);

    void enqueue(QueuedCall& call, bool urgent) noexcept;
    /// Takes the call out of its queue; nothing happens when it is not queued.
    void cancel(QueuedCall& call) noexcept;
    /// The next call that may leave, counted as in flight from now on; lanes take turns.
    [[nodiscard]] QueuedCall* take() noexcept;
    /// A call of this lane was answered.
    void finished(CallLane& lane) noexcept;
    /// Forgets all calls, queued and in flight. The queued branches must be gone or not be used.
    void clear() noexcept;

    [[nodiscard]] std::size_t queued() const noexcept { return queued_; }

private:
    void make_ready_if_possible(CallLane& lane) noexcept;

    std::unordered_map<ParticipantName, std::unique_ptr<CallLane>> lanes_;
    CallLane* first_ready_ = nullptr;
    CallLane* last_ready_ = nullptr;
    std::size_t queued_ = 0;
};

} // namespace concordat::core
