#include "coordinator/log/log_inspect.hpp"

#include "coordinator/log/log_format.hpp"
#include "coordinator/log/storage.hpp"

#include <fmt/core.h>

namespace concordat::log {
namespace {

class Report {
public:
    template <class... Args>
    void line(fmt::format_string<Args...> format, Args&&... args) {
        result_.text += fmt::format(format, std::forward<Args>(args)...);
        result_.text += '\n';
    }
    template <class... Args>
    void problem(fmt::format_string<Args...> format, Args&&... args) {
        result_.healthy = false;
        result_.text += "PROBLEM ";
        line(format, std::forward<Args>(args)...);
    }
    DataDirectoryReport take() { return std::move(result_); }

private:
    DataDirectoryReport result_{true, {}};
};

void describe_segment(FileSystem& files, const std::filesystem::path& path, Report& report) {
    const auto content = files.read(path);
    if (!content) {
        report.problem("{}", content.error().message);
        return;
    }
    const auto header = decode_segment_header(*content);
    if (!header) {
        report.problem("{}: the segment header is damaged", path.filename().string());
        return;
    }
    std::uint64_t offset = segment_header_bytes;
    std::size_t records = 0;
    std::size_t entries = 0;
    Index last = 0;
    while (true) {
        const auto record = decode_record(*header, *content, offset);
        if (!record) {
            report.problem("{}: at byte {}: {}", path.filename().string(), offset, record.error());
            break;
        }
        if (!*record) {
            break;
        }
        ++records;
        entries += (*record)->entries.size();
        last = (*record)->entries.back().index;
        offset += (*record)->bytes;
    }
    report.line("{}: from entry {}, {} records, {} entries, last {}, {} of {} bytes used{}",
                path.filename().string(), header->first_index, records, entries, last, offset,
                content->size(), header->restarts_log ? ", restarts the log" : "");
}

} // namespace

DataDirectoryReport describe_data_directory(const std::filesystem::path& directory) {
    Report report;
    const auto files = make_posix_file_system(true);
    const auto names = files->list(directory);
    if (!names) {
        report.problem("{}", names.error().message);
        return report.take();
    }
    if (const auto identity = read_identity(*files, directory)) {
        report.line("node {} of cluster \"{}\", incarnation {:016x}", identity->node,
                    identity->cluster_name, identity->incarnation);
    } else {
        report.problem("{}", identity.error().message);
    }
    if (const auto peers = read_known_peers(*files, directory)) {
        for (const auto& [peer, incarnation] : *peers) {
            report.line("knows node {} as incarnation {:016x}", peer, incarnation);
        }
    } else {
        report.problem("{}", peers.error().message);
    }
    for (const auto& [name, kind, what] : slot_files) {
        const auto exists = files->read(directory / name);
        const auto slot = exists ? SlotFile::open(*files, directory / name, kind)
                                 : std::unexpected(exists.error());
        if (slot) {
            report.line("{}: {} {} and {}{}", name, what, slot->values()[0], slot->values()[1],
                        slot->was_damaged() ? ", one slot damaged" : "");
        } else {
            report.problem("{}", slot.error().message);
        }
    }
    for (const std::string& name : *names) {
        if (parse_segment_name(name)) {
            describe_segment(*files, directory / name, report);
        } else if (is_snapshot_name(name)) {
            if (const auto snapshot = read_snapshot(*files, directory / name)) {
                report.line("{}: through entry {} of term {}, {} bytes", name,
                            snapshot->metadata.index, snapshot->metadata.term,
                            snapshot->data->size());
            } else {
                report.problem("{}", snapshot.error().message);
            }
        }
    }
    return report.take();
}

} // namespace concordat::log
