#pragma once

// Appends records to one segment. Space is allocated when the segment is created, so that an
// append inside its capacity never fails half-way for lack of space, and so that the file's size
// does not change with every append.
//
// Threading: one thread. After an error the segment must not be used again (a failed sync says
// nothing about what reached the disk).

#include "coordinator/log/file_system.hpp"
#include "coordinator/log/log_format.hpp"

#include <memory>
#include <string_view>

namespace concordat::log {

class SegmentWriter {
public:
    /// Header and name are durable on return. On an error nothing is left behind if possible.
    static IoResult<SegmentWriter> create(FileSystem& files, const FileSystem::Path& directory,
                                          const SegmentHeader& header, std::uint64_t capacity);
    /// Continues an existing segment at `offset`; what stands behind it is erased.
    static IoResult<SegmentWriter> resume(FileSystem& files, const FileSystem::Path& directory,
                                          const SegmentHeader& header, std::uint64_t offset,
                                          std::uint64_t capacity);

    [[nodiscard]] const SegmentHeader& header() const noexcept { return header_; }
    [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }
    [[nodiscard]] std::uint64_t room() const noexcept {
        return capacity_ > offset_ ? capacity_ - offset_ : 0;
    }

    /// Records encoded for offset(); durable after sync().
    IoResult<void> write(std::string_view records);
    IoResult<void> sync();
    /// Cuts the unused space off; durable on return.
    IoResult<void> seal();

private:
    SegmentWriter(std::unique_ptr<File> file, const SegmentHeader& header, std::uint64_t offset,
                  std::uint64_t capacity)
        : file_(std::move(file)), header_(header), offset_(offset), capacity_(capacity) {}

    std::unique_ptr<File> file_;
    SegmentHeader header_;
    std::uint64_t offset_;
    std::uint64_t capacity_;
};

} // namespace concordat::log
