#include "tests/unit/log/memory_file_system.hpp"

#include <algorithm>

namespace concordat::log::test {

void MemoryFileSystem::change(std::string& data, const Inode::Change& change) {
    if (change.truncated_to) {
        data.resize(*change.truncated_to, '\0');
        return;
    }
    if (data.size() < change.offset + change.bytes.size()) {
        data.resize(change.offset + change.bytes.size(), '\0');
    }
    data.replace(change.offset, change.bytes.size(), change.bytes);
}

class MemoryFileSystem::MemoryFile final : public File {
public:
    MemoryFile(MemoryFileSystem& owner, std::shared_ptr<Inode> inode, Path path)
        : owner_(owner), inode_(std::move(inode)), path_(std::move(path)) {}

    IoResult<void> write_at(std::uint64_t offset, std::string_view data) override {
        const std::lock_guard lock{owner_.mutex_};
        if (auto refused = owner_.refuse(Operation::write, path_)) {
            // A failed write may have written a part.
            add({offset, std::string(data.substr(0, data.size() / 2)), std::nullopt});
            return std::unexpected(*refused);
        }
        const std::uint64_t end = offset + data.size();
        if (end > inode_->data.size() &&
            owner_.occupied() + end - inode_->data.size() > owner_.capacity) {
            return std::unexpected(IoError{ENOSPC, "write " + path_.string() + ": no space"});
        }
        add({offset, std::string(data), std::nullopt});
        return {};
    }
    IoResult<std::string> read_all() override {
        const std::lock_guard lock{owner_.mutex_};
        return inode_->data;
    }
    IoResult<void> sync() override {
        const std::lock_guard lock{owner_.mutex_};
        if (auto refused = owner_.refuse(Operation::sync, path_)) {
            return std::unexpected(*refused);
        }
        if (!owner_.lies) {
            for (const Inode::Change& done : inode_->changes) {
                change(inode_->durable, done); // cheaper than a copy of a long file
            }
            inode_->changes.clear();
        }
        return {};
    }
    IoResult<void> truncate(std::uint64_t size) override {
        const std::lock_guard lock{owner_.mutex_};
        if (auto refused = owner_.refuse(Operation::truncate, path_)) {
            return std::unexpected(*refused);
        }
        add({0, {}, size});
        return {};
    }
    IoResult<void> allocate(std::uint64_t size) override {
        const std::lock_guard lock{owner_.mutex_};
        if (auto refused = owner_.refuse(Operation::allocate, path_)) {
            return std::unexpected(*refused);
        }
        if (size > inode_->data.size()) {
            if (owner_.occupied() + size - inode_->data.size() > owner_.capacity) {
                return std::unexpected(
                    IoError{ENOSPC, "allocate " + path_.string() + ": no space"});
            }
            add({0, {}, size});
        }
        return {};
    }

private:
    void add(Inode::Change next) {
        change(inode_->data, next);
        inode_->changes.push_back(std::move(next));
    }

    MemoryFileSystem& owner_;
    std::shared_ptr<Inode> inode_;
    Path path_;
};

class MemoryFileSystem::Lock final : public DirectoryLock {
public:
    Lock(MemoryFileSystem& owner, Path directory)
        : owner_(owner), directory_(std::move(directory)) {}
    ~Lock() override {
        const std::lock_guard lock{owner_.mutex_};
        owner_.locked_.erase(directory_);
    }

private:
    MemoryFileSystem& owner_;
    Path directory_;
};

std::optional<IoError> MemoryFileSystem::refuse(Operation operation, const Path& path) const {
    if (const int code = fault ? fault(operation, path) : 0; code != 0) {
        return IoError{code, "injected fault on " + path.string()};
    }
    return std::nullopt;
}

std::uint64_t MemoryFileSystem::used() const {
    const std::lock_guard lock{mutex_};
    return occupied();
}

std::uint64_t MemoryFileSystem::occupied() const {
    std::uint64_t bytes = 0;
    for (const auto& [path, inode] : names_) {
        bytes += inode->data.size();
    }
    return bytes;
}

IoResult<std::unique_ptr<File>> MemoryFileSystem::open(const Path& path) {
    const std::lock_guard lock{mutex_};
    if (auto refused = refuse(Operation::open, path)) {
        return std::unexpected(*refused);
    }
    std::shared_ptr<Inode>& inode = names_[path];
    if (!inode) {
        inode = std::make_shared<Inode>();
    }
    return std::make_unique<MemoryFile>(*this, inode, path);
}

IoResult<std::string> MemoryFileSystem::read(const Path& path) {
    const std::lock_guard lock{mutex_};
    const auto found = names_.find(path);
    if (found == names_.end()) {
        return std::unexpected(IoError{ENOENT, path.string() + ": no such file"});
    }
    return found->second->data;
}

IoResult<std::vector<std::string>> MemoryFileSystem::list(const Path& directory) {
    const std::lock_guard lock{mutex_};
    std::vector<std::string> names;
    for (const auto& [path, inode] : names_) {
        if (path.parent_path() == directory) {
            names.push_back(path.filename().string());
        }
    }
    return names;
}

IoResult<void> MemoryFileSystem::remove(const Path& path) {
    const std::lock_guard lock{mutex_};
    if (auto refused = refuse(Operation::remove, path)) {
        return std::unexpected(*refused);
    }
    if (names_.erase(path) == 0) {
        return std::unexpected(IoError{ENOENT, path.string() + ": no such file"});
    }
    return {};
}

IoResult<void> MemoryFileSystem::rename(const Path& from, const Path& to) {
    const std::lock_guard lock{mutex_};
    if (auto refused = refuse(Operation::rename, from)) {
        return std::unexpected(*refused);
    }
    const auto found = names_.find(from);
    if (found == names_.end()) {
        return std::unexpected(IoError{ENOENT, from.string() + ": no such file"});
    }
    names_[to] = found->second;
    names_.erase(from);
    return {};
}

IoResult<void> MemoryFileSystem::sync_directory(const Path& directory) {
    const std::lock_guard lock{mutex_};
    if (auto refused = refuse(Operation::sync_directory, directory)) {
        return std::unexpected(*refused);
    }
    if (!lies) {
        durable_names_ = names_;
    }
    return {};
}

IoResult<std::unique_ptr<DirectoryLock>> MemoryFileSystem::lock(const Path& directory) {
    const std::lock_guard lock{mutex_};
    if (!locked_.insert(directory).second) {
        return std::unexpected(IoError{EWOULDBLOCK, directory.string() + ": locked"});
    }
    return std::make_unique<Lock>(*this, directory);
}

std::size_t MemoryFileSystem::cut_power(std::mt19937_64& random) {
    std::size_t torn = 0;
    const std::lock_guard lock{mutex_};
    for (auto& [path, inode] : names_) {
        if (random() % 2 == 0) {
            durable_names_[path] = inode; // a new name that made it by itself
        }
    }
    std::erase_if(durable_names_, [&](const auto& entry) {
        return !names_.contains(entry.first) && random() % 2 == 0; // a removal that did
    });
    names_ = durable_names_;
    std::set<Inode*> settled;
    for (auto& [path, inode] : names_) {
        if (!settled.insert(inode.get()).second) {
            continue;
        }
        std::string data = inode->durable;
        for (Inode::Change& next : inode->changes) {
            switch (random() % 3) {
            case 0:
                break;
            case 1:
                change(data, next);
                break;
            default:
                if (!next.truncated_to && !next.bytes.empty()) {
                    next.bytes.resize(random() % next.bytes.size());
                    change(data, next);
                    ++torn;
                }
                break;
            }
        }
        inode->data = data;
        inode->durable = std::move(data);
        inode->changes.clear();
    }
    fault = {};
    locked_.clear();
    return torn;
}

std::map<FileSystem::Path, std::string> MemoryFileSystem::contents() const {
    const std::lock_guard lock{mutex_};
    std::map<Path, std::string> result;
    for (const auto& [path, inode] : names_) {
        result[path] = inode->data;
    }
    return result;
}

void MemoryFileSystem::set_content(const Path& path, std::string content) {
    const std::lock_guard lock{mutex_};
    std::shared_ptr<Inode>& inode = names_[path];
    inode = std::make_shared<Inode>();
    inode->data = content;
    inode->durable = std::move(content);
    durable_names_[path] = inode;
}

void MemoryFileSystem::erase(const Path& path) {
    const std::lock_guard lock{mutex_};
    names_.erase(path);
    durable_names_.erase(path);
}

std::unique_ptr<MemoryFileSystem> MemoryFileSystem::clone() const {
    auto copy = std::make_unique<MemoryFileSystem>();
    for (auto& [path, content] : contents()) {
        copy->set_content(path, content);
    }
    return copy;
}

} // namespace concordat::log::test
