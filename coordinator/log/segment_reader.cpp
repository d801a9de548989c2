#include "coordinator/log/segment_reader.hpp"

#include <fmt/core.h>

namespace concordat::log {
namespace {

constexpr std::string_view what_to_do =
    "The node must not vote with it: restore the disk, or remove this member and let it rejoin "
    "with an empty data directory under a new node id.";

class Reader {
public:
    Reader(FileSystem& files, const FileSystem::Path& directory, std::uint64_t incarnation,
           const DurableMark& mark)
        : files_(files), directory_(directory), incarnation_(incarnation), mark_(mark) {}

    std::expected<void, std::string> read(std::uint64_t sequence, bool is_last) {
        const FileSystem::Path path = directory_ / segment_name(sequence);
        const auto content = files_.read(path);
        if (!content) {
            return std::unexpected(content.error().message);
        }
        const auto header = decode_segment_header(*content);
        if (!header || header->sequence != sequence || header->incarnation != incarnation_) {
            if (is_last && sequence > mark_.segment && !log_.segments.empty()) {
                log_.unfinished_segment = segment_name(sequence);
                return {};
            }
            return damaged(path, 0, "the segment header is damaged or foreign");
        }
        if (auto joined = join(path, *header); !joined) {
            return joined;
        }
        return read_records(path, *header, *content, is_last);
    }

    RecoveredLog take() { return std::move(log_); }

private:
    std::unexpected<std::string> damaged(const FileSystem::Path& path, std::uint64_t offset,
                                         std::string_view what) const {
        return std::unexpected(
            fmt::format("{}: at byte {}: {}. {}", path.string(), offset, what, what_to_do));
    }

    std::expected<void, std::string> join(const FileSystem::Path& path,
                                          const SegmentHeader& header) {
        if (!log_.segments.empty()) {
            const SegmentInfo& before = log_.segments.back();
            if (header.sequence != before.header.sequence + 1) {
                return damaged(path, 0, "the segment before it is missing");
            }
            if (header.previous_bytes != before.end) {
                return damaged(directory_ / segment_name(before.header.sequence), before.end,
                               "the segment is shorter than it was");
            }
        }
        if (log_.segments.empty() || header.restarts_log) {
            log_.entries.clear();
            log_.base = header.first_index - 1;
            restarted_ = header.restarts_log;
        } else if (header.first_index != log_.base + log_.entries.size() + 1) {
            return damaged(path, 0, "entries before the segment are missing");
        }
        return {};
    }

    std::expected<void, std::string> read_records(const FileSystem::Path& path,
                                                  const SegmentHeader& header,
                                                  std::string_view content, bool is_last) {
        std::uint64_t offset = segment_header_bytes;
        std::string damage;
        while (true) {
            auto record = decode_record(header, content, offset);
            if (!record) {
                damage = record.error();
                break;
            }
            if (!*record) {
                break;
            }
            if (!add((*record)->entries)) {
                damage = "a record does not continue the log";
                break;
            }
            offset += (*record)->bytes;
        }
        const bool was_durable = header.sequence == mark_.segment && offset < mark_.offset;
        if (was_durable || (!damage.empty() && !is_last)) {
            return damaged(path, offset,
                           damage.empty() ? "entries that were acknowledged are missing" : damage);
        }
        if (!damage.empty()) {
            log_.cut = fmt::format("{}: cut at byte {}: {}; it was never acknowledged",
                                   path.string(), offset, damage);
        }
        log_.segments.push_back({header, offset});
        return {};
    }

    bool add(std::vector<Entry>& entries) {
        const Index first = entries.front().index;
        if (first > log_.base + log_.entries.size() + 1 || (first <= log_.base && restarted_)) {
            return false;
        }
        if (first <= log_.base) {
            // The segment before this one went with a snapshot; this record voided its end.
            log_.base = first - 1;
        }
        log_.entries.resize(first - log_.base - 1);
        for (Entry& entry : entries) {
            if (!log_.entries.empty() && entry.term < log_.entries.back().term) {
                return false;
            }
            log_.entries.push_back(std::move(entry));
        }
        return true;
    }

    FileSystem& files_;
    const FileSystem::Path& directory_;
    std::uint64_t incarnation_;
    DurableMark mark_;
    RecoveredLog log_;
    bool restarted_ = false; ///< nothing before log_.base may come again
};

} // namespace

std::expected<RecoveredLog, std::string> read_segments(FileSystem& files,
                                                       const FileSystem::Path& directory,
                                                       const std::vector<std::string>& names,
                                                       std::uint64_t incarnation,
                                                       const DurableMark& mark) {
    std::vector<std::uint64_t> sequences;
    for (const std::string& name : names) {
        if (const auto sequence = parse_segment_name(name)) {
            sequences.push_back(*sequence);
        }
    }
    Reader reader{files, directory, incarnation, mark};
    for (const std::uint64_t sequence : sequences) {
        if (auto read = reader.read(sequence, sequence == sequences.back()); !read) {
            return std::unexpected(read.error());
        }
    }
    RecoveredLog log = reader.take();
    if (log.segments.empty() || log.segments.back().header.sequence < mark.segment) {
        return std::unexpected(fmt::format("{}: the segment {} is missing. {}", directory.string(),
                                           segment_name(mark.segment), what_to_do));
    }
    return log;
}

} // namespace concordat::log
