#pragma once

// Randomness of the transaction core, all of it from the seed that comes in with the options: the
// same seed and the same events give the same actions.

#include "coordinator/core/ids.hpp"

#include <cstdint>
#include <string>

namespace concordat::core {

/// For jitter: fast, predictable, no secret.
class JitterSource {
public:
    explicit JitterSource(std::uint64_t seed) noexcept : state_(seed) {}
    std::uint64_t next() noexcept;
    /// Uniform in [0, limit].
    Duration up_to(Duration limit) noexcept;

private:
    std::uint64_t state_;
};

/// Exponential back-off with full jitter: uniform in [0, min(cap, initial * 2^tries)].
/// Source: M. Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015.
[[nodiscard]] Duration full_jitter(JitterSource& source, Duration initial, Duration cap,
                                   std::uint32_t tries) noexcept;

/// For secrets between participants: a keyed pseudo-random function of a counter, so that someone
/// who was given many capabilities cannot compute another one. As strong as the seed (64 bits).
/// Source: Aumasson & Bernstein, SipHash: a fast short-input PRF, 2012.
class CapabilitySource {
public:
    explicit CapabilitySource(std::uint64_t seed) noexcept;
    /// 32 hexadecimal digits, never the same twice from one source.
    std::string next();
    /// A number that is unguessable in the same way and never 0.
    std::uint64_t next_number() noexcept;

private:
    std::uint64_t key_[2];
    std::uint64_t counter_ = 0;
};

} // namespace concordat::core
