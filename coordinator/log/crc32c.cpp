#include "coordinator/log/crc32c.hpp"

#include <array>
#include <cstddef>
#include <cstring>

#if defined(__x86_64__)
#    include <nmmintrin.h>
#endif

namespace concordat::log {
namespace {

constexpr std::uint32_t reversed_polynomial = 0x82f63b78U;

constexpr std::array<std::uint32_t, 256> make_table() {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
        std::uint32_t value = byte;
        for (int bit = 0; bit < 8; ++bit) {
            value = (value & 1U) != 0 ? (value >> 1U) ^ reversed_polynomial : value >> 1U;
        }
        table[byte] = value;
    }
    return table;
}

constexpr std::array<std::uint32_t, 256> table = make_table();

std::uint32_t by_table(std::string_view data, std::uint32_t state) noexcept {
    for (const char byte : data) {
        state = table[(state ^ static_cast<unsigned char>(byte)) & 0xffU] ^ (state >> 8U);
    }
    return state;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) std::uint32_t by_instruction(std::string_view data,
                                                               std::uint32_t state) noexcept {
    std::uint64_t wide = state;
    const char* position = data.data();
    std::size_t left = data.size();
    for (; left >= sizeof(std::uint64_t); left -= sizeof(std::uint64_t)) {
        std::uint64_t word = 0;
        std::memcpy(&word, position, sizeof word);
        wide = _mm_crc32_u64(wide, word);
        position += sizeof word;
    }
    auto narrow = static_cast<std::uint32_t>(wide);
    for (; left > 0; --left) {
        narrow = _mm_crc32_u8(narrow, static_cast<unsigned char>(*position++));
    }
    return narrow;
}
#endif

} // namespace

std::uint32_t crc32c(std::string_view data, std::uint32_t seed) noexcept {
#if defined(__x86_64__)
    static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
    if (has_instruction) {
        return ~by_instruction(data, ~seed);
    }
#endif
    return ~by_table(data, ~seed);
}

} // namespace concordat::log
