// Which ids the sweep looks at next.
//
// What: the sweep looks for rows behind the read position that no transaction in sight has written.
// It passes over all ids from the lowest, a slice at a time, for what lies there may be millions of
// rows that are held, or that are dead and not yet vacuumed. A slice grows and shrinks with the
// time that it takes.
//
// Threading: pure value, one owner. Errors: none.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace concordat::relay {

class Sweep {
public:
    // after < id <= upto; empty if there is nothing to look at.
    struct Slice {
        std::int64_t after;
        std::int64_t upto;
        [[nodiscard]] bool empty() const noexcept { return upto <= after; }
    };

    // The next slice of what lies at or below `limit`. An empty one ends the pass.
    [[nodiscard]] Slice next(std::int64_t limit) noexcept {
        if (limit <= after_) {
            after_ = 0;
            return {.after = 0, .upto = 0};
        }
        return {.after = after_, .upto = limit - after_ > width_ ? after_ + width_ : limit};
    }
    // There was nothing in the slice: go on behind it.
    void pass(const Slice& slice, std::chrono::nanoseconds took) noexcept {
        after_ = slice.upto;
        if (took > wanted) {
            width_ = std::max(narrowest, width_ / 2);
        } else if (took < wanted / 4) {
            width_ = std::min(widest, width_ * 2);
        }
    }
    // The statement did not end in its time.
    void fail() noexcept { width_ = std::max(narrowest, width_ / 16); }

    static constexpr std::int64_t narrowest = 1'000;
    static constexpr std::int64_t first_width = 65'536;

private:
    static constexpr std::int64_t widest = std::int64_t{1} << 40;
    static constexpr std::chrono::milliseconds wanted{200};

    std::int64_t after_ = 0;
    std::int64_t width_ = first_width;
};

} // namespace concordat::relay
