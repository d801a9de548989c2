// Finding the one record that Kafka refuses among those that were refused with it.
//
// A broker refuses a whole batch when one record of it is bad, and a gapless producer refuses
// everything after it. The refused records are suspects. They are sent again, in order with their
// neighbours, a few at a time: the number shrinks when a round fails and grows when it succeeds.
// A round in which exactly one record was refused has found the culprit.
//
// Threading: pure value, one owner.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace concordat::relay {

class Isolation {
public:
    enum class Verdict : std::uint8_t {
        nobody,  // no record was refused for its own sake
        culprit, // the one suspect is it
        narrow,  // send again, fewer at a time
    };

    // The ids of the records that were refused for their own sake in this round.
    Verdict judge(std::span<const std::int64_t> suspects) noexcept {
        if (suspects.empty()) {
            return Verdict::nobody;
        }
        if (suspects.size() == 1) {
            found_culprit_ = true;
            return Verdict::culprit;
        }
        if (!active_) {
            found_culprit_ = false;
        }
        active_ = true;
        full_ = false;
        upto_ = std::max(upto_, *std::ranges::max_element(suspects));
        const std::size_t round = std::min(suspects.size(), limit_ == 0 ? suspects.size() : limit_);
        limit_ = std::max<std::size_t>(1, round / 8);
        return Verdict::narrow;
    }

    [[nodiscard]] bool active() const noexcept { return active_; }
    // Whether one more may join those on their way.
    [[nodiscard]] bool has_room(std::size_t on_the_way) noexcept {
        full_ = full_ || on_the_way >= limit_;
        return on_the_way < limit_;
    }
    // How many records may be on their way at once.
    [[nodiscard]] std::size_t limit() const noexcept { return limit_; }
    // True if a record with this id lies beyond all suspects.
    [[nodiscard]] bool is_beyond(std::int64_t id) const noexcept { return id > upto_; }

    // What was on its way was accepted; a round with room left proves nothing about larger ones.
    void round_succeeded() noexcept {
        if (std::exchange(full_, false)) {
            limit_ *= 2;
        }
    }
    // Ends the search. False: every suspect was accepted in small company, so batches are what the
    // broker refuses.
    bool finish() noexcept {
        const bool found = found_culprit_;
        active_ = false;
        found_culprit_ = false;
        limit_ = 0;
        upto_ = 0;
        return found;
    }

private:
    bool active_ = false;
    bool found_culprit_ = false;
    bool full_ = false; // the present round
    std::size_t limit_ = 0;
    std::int64_t upto_ = 0;
};

} // namespace concordat::relay
