#pragma once

// The little of a file system that the log needs, behind an interface, so that tests and the
// simulator can inject what disks do: write errors, failed syncs, torn writes, flipped bits,
// missing space, and the loss of everything that was not synced.
//
// Durability: bytes are durable after File::sync; names (created, renamed, removed) after
// FileSystem::sync_directory. Threading: a FileSystem is used from several threads; one File from
// one thread at a time.

#include <cstdint>
#include <expected>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::log {

struct IoError {
    int code = 0;        ///< errno
    std::string message; ///< operation, path and reason

    [[nodiscard]] bool is_no_space() const noexcept; ///< ENOSPC or EDQUOT: may pass by itself
};

template <class Value>
using IoResult = std::expected<Value, IoError>;

class File {
public:
    File() = default;
    virtual ~File() = default;
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    /// Writes all of `data`; on an error an unknown part of it may have been written.
    virtual IoResult<void> write_at(std::uint64_t offset, std::string_view data) = 0;
    /// Whole content.
    virtual IoResult<std::string> read_all() = 0;
    /// Makes content and size durable.
    virtual IoResult<void> sync() = 0;
    virtual IoResult<void> truncate(std::uint64_t size) = 0;
    /// Reserves space so that writes below `size` cannot fail for lack of it; reads as zeros.
    virtual IoResult<void> allocate(std::uint64_t size) = 0;
};

/// Held while a process owns a data directory; released on destruction and on process exit.
class DirectoryLock {
public:
    DirectoryLock() = default;
    virtual ~DirectoryLock() = default;
    DirectoryLock(const DirectoryLock&) = delete;
    DirectoryLock& operator=(const DirectoryLock&) = delete;
};

class FileSystem {
public:
    using Path = std::filesystem::path;

    FileSystem() = default;
    virtual ~FileSystem() = default;
    FileSystem(const FileSystem&) = delete;
    FileSystem& operator=(const FileSystem&) = delete;

    /// Opens for reading and writing, creating the file when it is missing.
    virtual IoResult<std::unique_ptr<File>> open(const Path& path) = 0;
    virtual IoResult<std::string> read(const Path& path) = 0;
    /// Names of the regular files in a directory, sorted.
    virtual IoResult<std::vector<std::string>> list(const Path& directory) = 0;
    virtual IoResult<void> create_directories(const Path& directory) = 0;
    virtual IoResult<void> remove(const Path& path) = 0;
    virtual IoResult<void> rename(const Path& from, const Path& to) = 0;
    virtual IoResult<void> sync_directory(const Path& directory) = 0;
    /// Fails when another process holds it.
    virtual IoResult<std::unique_ptr<DirectoryLock>> lock(const Path& directory) = 0;
};

/// Runs steps until one fails, whose error is the result.
template <class... Steps>
IoResult<void> in_order(Steps&&... steps) {
    IoResult<void> result;
    static_cast<void>(((result = steps()).has_value() && ...));
    return result;
}

/// The operating system's. With `sync_to_disk` off nothing is ever synced (tests only).
[[nodiscard]] std::unique_ptr<FileSystem> make_posix_file_system(bool sync_to_disk);

/// Replaces a small file atomically: temporary name, sync, rename, directory sync.
IoResult<void> replace_file(FileSystem& files, const FileSystem::Path& path,
                            std::string_view content);

} // namespace concordat::log
