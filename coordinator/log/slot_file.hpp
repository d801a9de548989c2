#pragma once

// A small fixed record that is overwritten again and again: two slots, each with a counter and a
// checksum, written in turn, so that a torn write leaves the other slot whole. The valid slot with
// the highest counter counts.
//
// Threading: one thread at a time.

#include "coordinator/log/file_system.hpp"

#include <array>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>

namespace concordat::log {

class SlotFile {
public:
    static constexpr std::size_t value_count = 4;
    using Values = std::array<std::uint64_t, value_count>;
    static constexpr std::size_t file_bytes = 8192;

    /// Creates the file with `first` in both slots; durable on return (the name too).
    static IoResult<SlotFile> create(FileSystem& files, const FileSystem::Path& path,
                                     std::string_view kind, const Values& first);
    /// Opens an existing file. Fails when neither slot is valid or the size is wrong.
    static IoResult<SlotFile> open(FileSystem& files, const FileSystem::Path& path,
                                   std::string_view kind);

    [[nodiscard]] const Values& values() const noexcept { return values_; }
    /// A slot was damaged when the file was opened; the next writes repair it.
    [[nodiscard]] bool was_damaged() const noexcept { return damaged_; }

    /// Writes both slots and syncs after each: afterwards no single damaged slot can bring an
    /// older value back.
    IoResult<void> write_through(const Values& values);
    /// Writes one slot without syncing: durable on its own terms when the process dies, after
    /// sync() when the machine does.
    IoResult<void> write_lazily(const Values& values);
    IoResult<void> sync();

private:
    SlotFile(std::unique_ptr<File> file, std::string kind)
        : file_(std::move(file)), kind_(std::move(kind)) {}

    IoResult<void> write_slot(const Values& values);

    std::unique_ptr<File> file_;
    std::string kind_; ///< eight characters that tell files of different meaning apart
    Values values_{};
    std::uint64_t counter_ = 0;
    bool damaged_ = false;
    bool unsynced_ = false;
};

} // namespace concordat::log
