#include "coordinator/core/timer_queue.hpp"

#include "coordinator/core/assert.hpp"

namespace concordat::core {

bool TimerQueue::earlier(const Entry& left, const Entry& right) noexcept {
    return left.at != right.at ? left.at < right.at : left.order < right.order;
}

TimerQueue::Handle TimerQueue::add(Instant at, TimerEvent event) {
    std::uint32_t slot = 0;
    if (free_slots_.empty()) {
        slot = static_cast<std::uint32_t>(slots_.size());
        slots_.emplace_back();
        // Room for every slot, so that freeing one never allocates.
        free_slots_.reserve(slots_.capacity());
    } else {
        slot = free_slots_.back();
        free_slots_.pop_back();
    }
    slots_[slot].event = event;
    heap_.push_back(Entry{at, next_order_++, slot});
    slots_[slot].position = static_cast<std::uint32_t>(heap_.size() - 1);
    sift_up(heap_.size() - 1);
    return slot + 1;
}

void TimerQueue::cancel(Handle& handle) noexcept {
    if (handle == 0) {
        return;
    }
    const std::uint32_t slot = handle - 1;
    handle = 0;
    CONCORDAT_ASSERT(slot < slots_.size());
    const std::size_t position = slots_[slot].position;
    CONCORDAT_ASSERT(position < heap_.size() && heap_[position].slot == slot);
    remove_at(position);
}

std::optional<Instant> TimerQueue::next() const noexcept {
    if (heap_.empty()) {
        return std::nullopt;
    }
    return heap_.front().at;
}

std::optional<TimerEvent> TimerQueue::pop_due(Instant now) noexcept {
    if (heap_.empty() || heap_.front().at > now) {
        return std::nullopt;
    }
    const TimerEvent event = slots_[heap_.front().slot].event;
    remove_at(0);
    return event;
}

void TimerQueue::clear() noexcept {
    heap_.clear();
    slots_.clear();
    free_slots_.clear();
}

void TimerQueue::place(std::size_t position, Entry entry) noexcept {
    heap_[position] = entry;
    slots_[entry.slot].position = static_cast<std::uint32_t>(position);
}

void TimerQueue::sift_up(std::size_t position) noexcept {
    const Entry moving = heap_[position];
    while (position > 0) {
        const std::size_t parent = (position - 1) / 2;
        if (!earlier(moving, heap_[parent])) {
            break;
        }
        place(position, heap_[parent]);
        position = parent;
    }
    place(position, moving);
}

void TimerQueue::sift_down(std::size_t position) noexcept {
    const Entry moving = heap_[position];
    for (;;) {
        std::size_t child = 2 * position + 1;
        if (child >= heap_.size()) {
            break;
        }
        if (child + 1 < heap_.size() && earlier(heap_[child + 1], heap_[child])) {
            ++child;
        }
        if (!earlier(heap_[child], moving)) {
            break;
        }
        place(position, heap_[child]);
        position = child;
    }
    place(position, moving);
}

void TimerQueue::remove_at(std::size_t position) noexcept {
    free_slots_.push_back(heap_[position].slot);
    const Entry last = heap_.back();
    heap_.pop_back();
    if (position == heap_.size()) {
        return;
    }
    place(position, last);
    if (position > 0 && earlier(last, heap_[(position - 1) / 2])) {
        sift_up(position);
    } else {
        sift_down(position);
    }
}

} // namespace concordat::core
