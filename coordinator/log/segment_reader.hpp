#pragma once

// Reads all segments of a data directory and decides what the log is.
//
// What may be cut silently: a damaged end that was never acknowledged, that is, at or behind the
// durable mark in the last segment. Everything else is an error that names file, offset and what to
// do; guessing would mean voting with less than what was promised.

#include "coordinator/log/file_system.hpp"
#include "coordinator/log/log_format.hpp"

#include <expected>
#include <optional>
#include <string>
#include <vector>

namespace concordat::log {

/// Everything before this place was durable once.
struct DurableMark {
    std::uint64_t segment = 0;
    std::uint64_t offset = 0;
};

struct SegmentInfo {
    SegmentHeader header;
    std::uint64_t end = 0; ///< behind the last record
};

struct RecoveredLog {
    Index base = 0; ///< index before the first entry
    std::vector<Entry> entries;
    std::vector<SegmentInfo> segments;
    /// Last segment whose creation did not finish; to be removed.
    std::optional<std::string> unfinished_segment;
    /// What was cut, for the operator's log; empty when nothing was.
    std::string cut;
};

[[nodiscard]] std::expected<RecoveredLog, std::string>
read_segments(FileSystem& files, const FileSystem::Path& directory,
              const std::vector<std::string>& names, std::uint64_t incarnation,
              const DurableMark& mark);

} // namespace concordat::log
