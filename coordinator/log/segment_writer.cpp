#include "coordinator/log/segment_writer.hpp"

namespace concordat::log {

IoResult<SegmentWriter> SegmentWriter::create(FileSystem& files, const FileSystem::Path& directory,
                                              const SegmentHeader& header, std::uint64_t capacity) {
    const FileSystem::Path path = directory / segment_name(header.sequence);
    auto file = files.open(path);
    if (!file) {
        return std::unexpected(file.error());
    }
    const auto made =
        in_order([&] { return (*file)->truncate(0); }, [&] { return (*file)->allocate(capacity); },
                 [&] { return (*file)->write_at(0, encode_segment_header(header)); },
                 [&] { return (*file)->sync(); }, [&] { return files.sync_directory(directory); });
    if (!made) {
        static_cast<void>(files.remove(path)); // gives reserved space back; the error stands anyway
        return std::unexpected(made.error());
    }
    return SegmentWriter{std::move(*file), header, segment_header_bytes, capacity};
}

IoResult<SegmentWriter> SegmentWriter::resume(FileSystem& files, const FileSystem::Path& directory,
                                              const SegmentHeader& header, std::uint64_t offset,
                                              std::uint64_t capacity) {
    auto file = files.open(directory / segment_name(header.sequence));
    if (!file) {
        return std::unexpected(file.error());
    }
    if (const auto cut = (*file)->truncate(offset); !cut) {
        return std::unexpected(cut.error());
    }
    // Without space the segment is full; the next append asks for a new one.
    const bool has_space = capacity > offset && (*file)->allocate(capacity).has_value();
    if (const auto synced = (*file)->sync(); !synced) {
        return std::unexpected(synced.error());
    }
    return SegmentWriter{std::move(*file), header, offset, has_space ? capacity : offset};
}

IoResult<void> SegmentWriter::write(std::string_view records) {
    auto written = file_->write_at(offset_, records);
    offset_ += records.size();
    return written;
}

IoResult<void> SegmentWriter::sync() {
    return file_->sync();
}

IoResult<void> SegmentWriter::seal() {
    capacity_ = offset_;
    return in_order([&] { return file_->truncate(offset_); }, [&] { return file_->sync(); });
}

} // namespace concordat::log
