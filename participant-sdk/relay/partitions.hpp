// Which partitions of a topic the present producer may fill.
//
// A broker that has nothing of a producer in a partition takes any batch of it, whatever its
// number. If the first batch is refused there, or has to be sent again, those behind it are written
// before it. So the first record of a producer in a partition travels alone; once it is
// acknowledged, the broker knows the producer and refuses a batch that skips one. Brokers forget
// producers that are silent for long (producer.id.expiration.ms): a partition that was idle is
// opened anew.
//
// Threading: pure value, one owner.
// Source: KIP-98, "Producer Idempotence"; docs/adr/0009.
#pragma once

#include "participant-sdk/relay/producer.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace concordat::relay {

class Partitions {
public:
    using Clock = std::chrono::steady_clock;
    // Brokers remember for a day unless told otherwise.
    static constexpr std::chrono::minutes idle_limit{1};

    // As the cluster says. Records on their way to partitions that are gone may still be reported.
    void set_count(std::int32_t count) {
        count_ = count;
        state_.resize(std::max(state_.size(), static_cast<std::size_t>(count)));
    }
    [[nodiscard]] std::int32_t count() const noexcept { return count_; }

    // Where the records of a key go.
    [[nodiscard]] std::int32_t of(std::string_view key) const {
        return Producer::partition_of(key, count_);
    }
    // True while the record that opens the partition is on its way.
    [[nodiscard]] bool opening(std::int32_t partition) const {
        const State& state = at(partition);
        return state.on_the_way > 0 && !state.open;
    }
    // The same, and while records before this one wait for that.
    [[nodiscard]] bool must_wait(std::int32_t partition) const {
        return at(partition).waiting > 0 || opening(partition);
    }
    void waits(std::int32_t partition) { ++at(partition).waiting; }
    void waits_no_more(std::int32_t partition) { --at(partition).waiting; }
    void sent(std::int32_t partition, Clock::time_point now) {
        State& state = at(partition);
        if (state.on_the_way++ == 0 && now - state.acknowledged >= idle_limit) {
            state.open = false;
        }
    }
    // Of a record that was sent, whatever the report says.
    void reported(std::int32_t partition) { --at(partition).on_the_way; }
    // True: the partition was not open before.
    [[nodiscard]] bool acknowledged(std::int32_t partition, Clock::time_point now) {
        if (static_cast<std::size_t>(partition) >= state_.size()) {
            state_.resize(static_cast<std::size_t>(partition) + 1); // the topic has grown
        }
        State& state = at(partition);
        state.acknowledged = now;
        return !std::exchange(state.open, true);
    }
    void forget_producer() {
        for (State& state : state_) {
            state.open = false;
        }
    }

private:
    struct State {
        std::uint32_t on_the_way = 0;
        std::uint32_t waiting = 0;
        bool open = false;
        Clock::time_point acknowledged;
    };
    [[nodiscard]] State& at(std::int32_t partition) {
        return state_.at(static_cast<std::size_t>(partition));
    }
    [[nodiscard]] const State& at(std::int32_t partition) const {
        return state_.at(static_cast<std::size_t>(partition));
    }

    std::int32_t count_ = 0;
    std::vector<State> state_;
};

} // namespace concordat::relay
