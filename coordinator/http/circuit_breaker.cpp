#include "coordinator/http/circuit_breaker.hpp"

namespace concordat::http {

bool CircuitBreaker::allow(Clock::time_point now) {
    const std::lock_guard lock(mutex_);
    if (in_a_row_ < failures_) {
        return true;
    }
    if (now < open_until_ || probing_) {
        return false;
    }
    probing_ = true;
    return true;
}

void CircuitBreaker::succeeded() {
    const std::lock_guard lock(mutex_);
    in_a_row_ = 0;
    probing_ = false;
}

void CircuitBreaker::failed(Clock::time_point now) {
    const std::lock_guard lock(mutex_);
    if (in_a_row_ < failures_) {
        ++in_a_row_;
    }
    if (in_a_row_ >= failures_) {
        open_until_ = now + open_time_;
        probing_ = false;
    }
}

} // namespace concordat::http
