#pragma once

// CRC-32C (Castagnoli), as in iSCSI (RFC 3720, appendix B.4). Uses the processor's instruction
// where there is one. Thread-safe.

#include <cstdint>
#include <string_view>

namespace concordat::log {

/// Checksum of `data`, continued from `seed` (the checksum of what came before; 0 at the start).
[[nodiscard]] std::uint32_t crc32c(std::string_view data, std::uint32_t seed = 0) noexcept;

} // namespace concordat::log
