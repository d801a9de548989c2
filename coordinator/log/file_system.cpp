#include "coordinator/log/file_system.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace concordat::log {
namespace {

std::unexpected<IoError> failure(std::string_view operation, const std::filesystem::path& path,
                                 int code) {
    std::string message{operation};
    message += " ";
    message += path.string();
    message += ": ";
    message += std::generic_category().message(code);
    return std::unexpected(IoError{code, std::move(message)});
}

/// Owns a descriptor.
class Descriptor {
public:
    explicit Descriptor(int value) noexcept : value_(value) {}
    ~Descriptor() {
        if (value_ >= 0) {
            ::close(value_);
        }
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
    Descriptor& operator=(Descriptor&&) = delete;
    [[nodiscard]] int get() const noexcept { return value_; }

private:
    int value_;
};

IoResult<std::string> read_descriptor(int descriptor, const std::filesystem::path& path) {
    struct stat info{};
    if (::fstat(descriptor, &info) != 0) {
        return failure("stat", path, errno);
    }
    std::string content(static_cast<std::size_t>(info.st_size), '\0');
    std::size_t done = 0;
    while (done < content.size()) {
        const ssize_t count = ::pread(descriptor, content.data() + done, content.size() - done,
                                      static_cast<off_t>(done));
        if (count < 0) {
            if (errno == EINTR) {
                continue;
            }
            return failure("read", path, errno);
        }
        if (count == 0) {
            break;
        }
        done += static_cast<std::size_t>(count);
    }
    content.resize(done);
    return content;
}

class PosixFile final : public File {
public:
    PosixFile(Descriptor descriptor, std::filesystem::path path, bool sync_to_disk)
        : descriptor_(std::move(descriptor)), path_(std::move(path)), sync_to_disk_(sync_to_disk) {}

    IoResult<void> write_at(std::uint64_t offset, std::string_view data) override {
        while (!data.empty()) {
            const ssize_t count =
                ::pwrite(descriptor_.get(), data.data(), data.size(), static_cast<off_t>(offset));
            if (count < 0) {
                if (errno == EINTR) {
                    continue;
                }
                return failure("write", path_, errno);
            }
            data.remove_prefix(static_cast<std::size_t>(count));
            offset += static_cast<std::uint64_t>(count);
        }
        return {};
    }
    IoResult<std::string> read_all() override { return read_descriptor(descriptor_.get(), path_); }
    IoResult<void> sync() override {
        if (sync_to_disk_ && ::fdatasync(descriptor_.get()) != 0) {
            return failure("sync", path_, errno);
        }
        return {};
    }
    IoResult<void> truncate(std::uint64_t size) override {
        if (::ftruncate(descriptor_.get(), static_cast<off_t>(size)) != 0) {
            return failure("truncate", path_, errno);
        }
        return {};
    }
    IoResult<void> allocate(std::uint64_t size) override {
        const int code = ::posix_fallocate(descriptor_.get(), 0, static_cast<off_t>(size));
        if (code != 0) {
            return failure("allocate", path_, code);
        }
        return {};
    }

private:
    Descriptor descriptor_;
    std::filesystem::path path_;
    bool sync_to_disk_;
};

class PosixLock final : public DirectoryLock {
public:
    explicit PosixLock(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}

private:
    Descriptor descriptor_;
};

class PosixFileSystem final : public FileSystem {
public:
    explicit PosixFileSystem(bool sync_to_disk) : sync_to_disk_(sync_to_disk) {}

    IoResult<std::unique_ptr<File>> open(const Path& path) override {
        Descriptor descriptor{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640)};
        if (descriptor.get() < 0) {
            return failure("open", path, errno);
        }
        return std::make_unique<PosixFile>(std::move(descriptor), path, sync_to_disk_);
    }
    IoResult<std::string> read(const Path& path) override {
        const Descriptor descriptor{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
        if (descriptor.get() < 0) {
            return failure("open", path, errno);
        }
        return read_descriptor(descriptor.get(), path);
    }
    IoResult<std::vector<std::string>> list(const Path& directory) override {
        std::vector<std::string> names;
        std::error_code error;
        std::filesystem::directory_iterator entry{directory, error};
        for (; !error && entry != std::filesystem::directory_iterator{}; entry.increment(error)) {
            if (entry->is_regular_file(error)) {
                names.push_back(entry->path().filename().string());
            }
        }
        if (error) {
            return failure("list", directory, error.value());
        }
        std::ranges::sort(names);
        return names;
    }
    IoResult<void> create_directories(const Path& directory) override {
        std::error_code error;
        std::filesystem::create_directories(directory, error);
        if (error) {
            return failure("create", directory, error.value());
        }
        return {};
    }
    IoResult<void> remove(const Path& path) override {
        if (::unlink(path.c_str()) != 0) {
            return failure("remove", path, errno);
        }
        return {};
    }
    IoResult<void> rename(const Path& from, const Path& to) override {
        if (::rename(from.c_str(), to.c_str()) != 0) {
            return failure("rename", from, errno);
        }
        return {};
    }
    IoResult<void> sync_directory(const Path& directory) override {
        if (!sync_to_disk_) {
            return {};
        }
        const Descriptor descriptor{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
        if (descriptor.get() < 0 || ::fsync(descriptor.get()) != 0) {
            return failure("sync", directory, errno);
        }
        return {};
    }
    IoResult<std::unique_ptr<DirectoryLock>> lock(const Path& directory) override {
        const Path path = directory / "lock";
        Descriptor descriptor{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640)};
        if (descriptor.get() < 0 || ::flock(descriptor.get(), LOCK_EX | LOCK_NB) != 0) {
            return failure("lock", path, errno);
        }
        return std::make_unique<PosixLock>(std::move(descriptor));
    }

private:
    bool sync_to_disk_;
};

} // namespace

bool IoError::is_no_space() const noexcept {
    return code == ENOSPC || code == EDQUOT;
}

std::unique_ptr<FileSystem> make_posix_file_system(bool sync_to_disk) {
    return std::make_unique<PosixFileSystem>(sync_to_disk);
}

IoResult<void> replace_file(FileSystem& files, const FileSystem::Path& path,
                            std::string_view content) {
    FileSystem::Path temporary = path;
    temporary += ".tmp";
    auto file = files.open(temporary);
    if (!file) {
        return std::unexpected(file.error());
    }
    return in_order([&] { return (*file)->truncate(0); },
                    [&] { return (*file)->write_at(0, content); }, [&] { return (*file)->sync(); },
                    [&] { return files.rename(temporary, path); },
                    [&] { return files.sync_directory(path.parent_path()); });
}

} // namespace concordat::log
