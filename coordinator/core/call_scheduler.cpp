#include "coordinator/core/call_scheduler.hpp"

#include "coordinator/core/assert.hpp"

#include <algorithm>

namespace concordat::core {
namespace {

void push_back(CallQueue& queue, QueuedCall& call) noexcept {
    call.previous = queue.last;
    call.next = nullptr;
    (queue.last == nullptr ? queue.first : queue.last->next) = &call;
    queue.last = &call;
}

void unlink(CallQueue& queue, QueuedCall& call) noexcept {
    (call.previous == nullptr ? queue.first : call.previous->next) = call.next;
    (call.next == nullptr ? queue.last : call.next->previous) = call.previous;
    call.previous = nullptr;
    call.next = nullptr;
}

CallQueue& queue_of(const QueuedCall& call) noexcept {
    return call.urgent ? call.lane->urgent : call.lane->ordinary;
}

bool has_queued(const CallLane& lane) noexcept {
    return lane.urgent.first != nullptr || lane.ordinary.first != nullptr;
}

} // namespace

CallLane& CallScheduler::lane(const ParticipantName& participant) {
    auto& lane = lanes_[participant];
    if (!lane) {
        lane = std::make_unique<CallLane>();
        lane->participant = participant;
    }
    return *lane;
}

void CallScheduler::set_limit(const ParticipantName& participant,
                              std::uint32_t max_concurrent_calls) {
    CallLane& changed = lane(participant);
    changed.max_concurrent_calls = std::max(1U, max_concurrent_calls);
    make_ready_if_possible(changed);
}

void CallScheduler::enqueue(QueuedCall& call, bool urgent) noexcept {
    CONCORDAT_ASSERT(!call.queued && call.lane != nullptr);
    call.queued = true;
    call.urgent = urgent;
    push_back(queue_of(call), call);
    ++queued_;
    make_ready_if_possible(*call.lane);
}

void CallScheduler::cancel(QueuedCall& call) noexcept {
    if (!call.queued) {
        return;
    }
    unlink(queue_of(call), call);
    call.queued = false;
    --queued_;
}

QueuedCall* CallScheduler::take() noexcept {
    while (first_ready_ != nullptr) {
        CallLane& lane = *first_ready_;
        first_ready_ = lane.next_ready;
        if (first_ready_ == nullptr) {
            last_ready_ = nullptr;
        }
        lane.ready = false;
        lane.next_ready = nullptr;
        // A cancelled call or a lowered cap may have made the lane's place in the list stale.
        if (!has_queued(lane) || lane.in_flight >= lane.max_concurrent_calls) {
            continue;
        }
        QueuedCall& call = lane.urgent.first != nullptr ? *lane.urgent.first : *lane.ordinary.first;
        cancel(call);
        ++lane.in_flight;
        make_ready_if_possible(lane);
        return &call;
    }
    return nullptr;
}

void CallScheduler::finished(CallLane& lane) noexcept {
    CONCORDAT_ASSERT(lane.in_flight > 0);
    --lane.in_flight;
    make_ready_if_possible(lane);
}

void CallScheduler::clear() noexcept {
    for (auto& [name, lane] : lanes_) {
        lane->in_flight = 0;
        lane->urgent = {};
        lane->ordinary = {};
        lane->ready = false;
        lane->next_ready = nullptr;
    }
    first_ready_ = nullptr;
    last_ready_ = nullptr;
    queued_ = 0;
}

void CallScheduler::make_ready_if_possible(CallLane& lane) noexcept {
    if (lane.ready || !has_queued(lane) || lane.in_flight >= lane.max_concurrent_calls) {
        return;
    }
    lane.ready = true;
    lane.next_ready = nullptr;
    (last_ready_ == nullptr ? first_ready_ : last_ready_->next_ready) = &lane;
    last_ready_ = &lane;
}

} // namespace concordat::core
