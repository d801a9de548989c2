#pragma once

// A file system in memory that does what disks do when they are at their worst: it can fail any
// operation, run out of space, and lose or tear everything that was not synced.
//
// Threading: one mutex; any thread.

#include "coordinator/log/file_system.hpp"

#include <cerrno>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace concordat::log::test {

class MemoryFileSystem final : public FileSystem {
public:
    enum class Operation { open, write, sync, truncate, allocate, remove, rename, sync_directory };

    /// Asked before each operation that changes something; an errno makes it fail.
    std::function<int(Operation, const Path&)> fault;
    /// Bytes that files may occupy.
    std::uint64_t capacity = UINT64_MAX;
    /// A disk that confirms what it has not done: syncs have no effect.
    bool lies = false;

    IoResult<std::unique_ptr<File>> open(const Path& path) override;
    IoResult<std::string> read(const Path& path) override;
    IoResult<std::vector<std::string>> list(const Path& directory) override;
    IoResult<void> create_directories(const Path&) override { return {}; }
    IoResult<void> remove(const Path& path) override;
    IoResult<void> rename(const Path& from, const Path& to) override;
    IoResult<void> sync_directory(const Path& directory) override;
    IoResult<std::unique_ptr<DirectoryLock>> lock(const Path& directory) override;

    /// The power goes: of every unsynced write nothing, all or a part survives; of every unsynced
    /// name the old or the new state.
    /// Tells how many writes were torn.
    std::size_t cut_power(std::mt19937_64& random);
    /// Bytes that files occupy.
    [[nodiscard]] std::uint64_t used() const;

    /// Content by path, for tests that damage it.
    [[nodiscard]] std::map<Path, std::string> contents() const;
    void set_content(const Path& path, std::string content);
    void erase(const Path& path);
    /// A copy of the files as they are, all of it durable.
    [[nodiscard]] std::unique_ptr<MemoryFileSystem> clone() const;

private:
    struct Inode {
        std::string data;
        std::string durable;
        struct Change {
            std::uint64_t offset = 0;
            std::string bytes;
            std::optional<std::uint64_t> truncated_to;
        };
        std::vector<Change> changes; ///< since the last sync
    };
    class MemoryFile;
    class Lock;
    using Names = std::map<Path, std::shared_ptr<Inode>>;

    [[nodiscard]] std::optional<IoError> refuse(Operation operation, const Path& path) const;
    [[nodiscard]] std::uint64_t occupied() const;
    static void change(std::string& data, const Inode::Change& change);

    mutable std::mutex mutex_;
    Names names_;
    Names durable_names_;
    std::set<Path> locked_;
};

} // namespace concordat::log::test
