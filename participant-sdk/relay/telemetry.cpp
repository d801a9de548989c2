#include "participant-sdk/relay/telemetry.hpp"

#include <algorithm>

namespace concordat::relay {

void LatencyHistogram::record(double seconds) noexcept {
    const auto bound = std::ranges::lower_bound(bounds_seconds, seconds);
    const auto index = static_cast<std::size_t>(bound - bounds_seconds.begin());
    counts_[index].fetch_add(1, std::memory_order_relaxed);
    sum_microseconds_.fetch_add(static_cast<std::uint64_t>(std::max(0.0, seconds) * 1e6),
                                std::memory_order_relaxed);
}

std::array<std::uint64_t, LatencyHistogram::bounds_seconds.size() + 1>
LatencyHistogram::counts() const noexcept {
    std::array<std::uint64_t, bounds_seconds.size() + 1> out{};
    for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = counts_[i].load(std::memory_order_relaxed);
    }
    return out;
}

double LatencyHistogram::sum_seconds() const noexcept {
    return static_cast<double>(sum_microseconds_.load(std::memory_order_relaxed)) / 1e6;
}

void Telemetry::set_trouble(const std::string& subject, const std::string& text) {
    const std::lock_guard lock(mutex_);
    if (text.empty()) {
        troubles_.erase(subject);
    } else {
        troubles_[subject] = text;
    }
}

std::map<std::string, std::string> Telemetry::troubles() const {
    const std::lock_guard lock(mutex_);
    return troubles_;
}

} // namespace concordat::relay
