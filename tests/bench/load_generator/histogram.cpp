#include "tests/bench/load_generator/histogram.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace concordat::bench {

namespace {
// Buckets count ticks of 256 ns: fine enough for a microsecond, and the division is a shift.
constexpr unsigned tick_shift = 8;
} // namespace

std::size_t Histogram::bucket_of(std::uint64_t microticks) noexcept {
    if (microticks < parts) {
        return static_cast<std::size_t>(microticks);
    }
    const auto magnitude = static_cast<std::size_t>(std::bit_width(microticks)) - 1 - parts_bits;
    const auto part = static_cast<std::size_t>(microticks >> magnitude) - parts;
    return std::min((magnitude + 1) * parts + part, parts * octaves - 1);
}

std::uint64_t Histogram::upper_edge(std::size_t bucket) noexcept {
    if (bucket < parts) {
        return bucket + 1;
    }
    const std::size_t magnitude = bucket / parts - 1;
    const std::size_t part = bucket % parts;
    return static_cast<std::uint64_t>(parts + part + 1) << magnitude;
}

void Histogram::record(Duration latency) noexcept {
    const auto nanoseconds =
        static_cast<std::uint64_t>(std::max<Duration::rep>(latency.count(), 0));
    ++buckets_[bucket_of(nanoseconds >> tick_shift)];
    ++count_;
    sum_nanoseconds_ += nanoseconds;
    maximum_ = std::max(maximum_, latency);
}

void Histogram::merge(const Histogram& other) noexcept {
    for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
        buckets_[bucket] += other.buckets_[bucket];
    }
    count_ += other.count_;
    sum_nanoseconds_ += other.sum_nanoseconds_;
    maximum_ = std::max(maximum_, other.maximum_);
}

void Histogram::clear() noexcept {
    *this = Histogram{};
}

Histogram::Duration Histogram::mean() const noexcept {
    return count_ == 0 ? Duration{0}
                       : Duration{static_cast<Duration::rep>(sum_nanoseconds_ / count_)};
}

Histogram::Duration Histogram::quantile(double fraction) const noexcept {
    if (count_ == 0) {
        return Duration{0};
    }
    const double exact = std::ceil(std::clamp(fraction, 0.0, 1.0) * static_cast<double>(count_));
    const auto wanted = std::max<std::uint64_t>(static_cast<std::uint64_t>(exact), 1);
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
        seen += buckets_[bucket];
        if (seen >= wanted) {
            const Duration edge{static_cast<Duration::rep>(upper_edge(bucket) << tick_shift)};
            return std::min(edge, maximum_);
        }
    }
    return maximum_;
}

} // namespace concordat::bench
