#pragma once

// Segments: the files that hold log entries. Byte by byte in docs/internals/log-format.md.
//
//   segment  = header record* zero*
//   record   = record header, entries; one record per append, complete or not there
//
// Checksums of a record are seeded with the segment's sequence and the record's offset, so that a
// record copied to another place does not pass. A record may start at an index that exists
// already: it voids everything from that index on (a follower's truncation).

#include "coordinator/log/log_types.hpp"

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::log {

inline constexpr std::size_t segment_header_bytes = 64;
inline constexpr std::size_t record_header_bytes = 40;
inline constexpr std::uint32_t segment_format_version = 1;

struct SegmentHeader {
    std::uint64_t sequence = 0;       ///< 1, 2, 3 … without gaps
    Index first_index = 0;            ///< of the entry that was expected next at creation
    std::uint64_t previous_bytes = 0; ///< length of the segment before it; 0: none
    std::uint64_t incarnation = 0;    ///< of the data directory; foreign segments do not pass
    bool restarts_log = false;        ///< a snapshot replaced everything before it
    bool operator==(const SegmentHeader&) const = default;
};

[[nodiscard]] std::string encode_segment_header(const SegmentHeader& header);
/// Nothing when damaged or foreign.
[[nodiscard]] std::optional<SegmentHeader> decode_segment_header(std::string_view bytes);

/// Appends the record of `entries` (at least one, consecutive) to `out`. `offset` is where the
/// record will stand in the segment.
void encode_record(const SegmentHeader& segment, std::uint64_t offset,
                   std::span<const Entry> entries, std::string& out);
/// Bytes that encode_record would append.
[[nodiscard]] std::size_t record_bytes(std::span<const Entry> entries);

struct DecodedRecord {
    std::vector<Entry> entries;
    std::size_t bytes = 0;
};
/// The record at `offset` of a segment. Nothing: the log ends here (zeros or end of file). An
/// error says what is wrong with the bytes.
[[nodiscard]] std::expected<std::optional<DecodedRecord>, std::string>
decode_record(const SegmentHeader& segment, std::string_view content, std::uint64_t offset);

[[nodiscard]] std::string segment_name(std::uint64_t sequence);
/// Nothing when `name` is not a segment's.
[[nodiscard]] std::optional<std::uint64_t> parse_segment_name(std::string_view name);

} // namespace concordat::log
