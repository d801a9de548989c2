#include "coordinator/core/random.hpp"

#include <algorithm>
#include <bit>

namespace concordat::core {
namespace {

std::uint64_t split_mix(std::uint64_t& state) noexcept {
    // Steele, Lea & Flood 2014, SplitMix64.
    state += 0x9e3779b97f4a7c15U;
    std::uint64_t z = state;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
}

struct SipState {
    std::uint64_t v0, v1, v2, v3;

    void round() noexcept {
        v0 += v1;
        v1 = std::rotl(v1, 13) ^ v0;
        v0 = std::rotl(v0, 32);
        v2 += v3;
        v3 = std::rotl(v3, 16) ^ v2;
        v0 += v3;
        v3 = std::rotl(v3, 21) ^ v0;
        v2 += v1;
        v1 = std::rotl(v1, 17) ^ v2;
        v2 = std::rotl(v2, 32);
    }
};

/// SipHash-2-4 of the eight bytes of `message`.
std::uint64_t sip_hash(const std::uint64_t (&key)[2], std::uint64_t message) noexcept {
    SipState s{key[0] ^ 0x736f6d6570736575U, key[1] ^ 0x646f72616e646f6dU,
               key[0] ^ 0x6c7967656e657261U, key[1] ^ 0x7465646279746573U};
    const std::uint64_t length_block = std::uint64_t{8} << 56U;
    for (const std::uint64_t block : {message, length_block}) {
        s.v3 ^= block;
        s.round();
        s.round();
        s.v0 ^= block;
    }
    s.v2 ^= 0xffU;
    for (int i = 0; i < 4; ++i) {
        s.round();
    }
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

} // namespace

std::uint64_t JitterSource::next() noexcept {
    return split_mix(state_);
}

Duration JitterSource::up_to(Duration limit) noexcept {
    if (limit <= Duration::zero()) {
        return Duration::zero();
    }
    const auto span = static_cast<std::uint64_t>(limit.count()) + 1;
    return Duration{static_cast<Duration::rep>(next() % span)};
}

Duration full_jitter(JitterSource& source, Duration initial, Duration cap,
                     std::uint32_t tries) noexcept {
    Duration limit = std::min(initial, cap);
    for (std::uint32_t i = 0; i < tries && limit < cap; ++i) {
        limit = limit > cap / 2 ? cap : limit * 2;
    }
    return source.up_to(limit);
}

CapabilitySource::CapabilitySource(std::uint64_t seed) noexcept {
    std::uint64_t state = ~seed;
    key_[0] = split_mix(state);
    key_[1] = split_mix(state) ^ seed;
}

std::string CapabilitySource::next() {
    static constexpr char digits[] = "0123456789abcdef";
    std::string text(32, '0');
    for (std::size_t half = 0; half < 2; ++half) {
        std::uint64_t bits = sip_hash(key_, counter_++);
        for (std::size_t i = 0; i < 16; ++i) {
            text[half * 16 + i] = digits[bits & 0xfU];
            bits >>= 4U;
        }
    }
    return text;
}

std::uint64_t CapabilitySource::next_number() noexcept {
    const std::uint64_t number = sip_hash(key_, counter_++);
    return number == 0 ? 1 : number;
}

} // namespace concordat::core
