#include "coordinator/log/slot_file.hpp"

#include "coordinator/core/assert.hpp"
#include "coordinator/log/bytes.hpp"
#include "coordinator/log/crc32c.hpp"

#include <cerrno>
#include <optional>

namespace concordat::log {
namespace {

constexpr std::size_t kind_bytes = 8;
constexpr std::size_t slot_stride = SlotFile::file_bytes / 2;
constexpr std::size_t slot_bytes = kind_bytes + 8 + SlotFile::value_count * 8 + 4;

struct Slot {
    std::uint64_t counter = 0;
    SlotFile::Values values{};
};

std::string encode(std::string_view kind, const Slot& slot) {
    std::string bytes;
    ByteWriter writer{bytes};
    writer.bytes(kind);
    writer.number(slot.counter);
    for (const std::uint64_t value : slot.values) {
        writer.number(value);
    }
    writer.number(crc32c(bytes));
    return bytes;
}

std::optional<Slot> decode(std::string_view kind, std::string_view bytes) {
    ByteReader reader{bytes.substr(0, slot_bytes)};
    const bool known = reader.bytes(kind_bytes) == kind;
    Slot slot;
    slot.counter = reader.number<std::uint64_t>();
    for (std::uint64_t& value : slot.values) {
        value = reader.number<std::uint64_t>();
    }
    const auto checksum = reader.number<std::uint32_t>();
    if (!known || !reader.ok() || checksum != crc32c(bytes.substr(0, slot_bytes - 4))) {
        return std::nullopt;
    }
    return slot;
}

} // namespace

IoResult<SlotFile> SlotFile::create(FileSystem& files, const FileSystem::Path& path,
                                    std::string_view kind, const Values& first) {
    std::string content(file_bytes, '\0');
    for (const std::uint64_t counter : {std::uint64_t{1}, std::uint64_t{2}}) {
        const std::string slot = encode(kind, {counter, first});
        content.replace((counter % 2) * slot_stride, slot.size(), slot);
    }
    if (auto written = replace_file(files, path, content); !written) {
        return std::unexpected(written.error());
    }
    return open(files, path, kind);
}

IoResult<SlotFile> SlotFile::open(FileSystem& files, const FileSystem::Path& path,
                                  std::string_view kind) {
    CONCORDAT_ASSERT(kind.size() == kind_bytes);
    auto file = files.open(path);
    if (!file) {
        return std::unexpected(file.error());
    }
    const auto content = (*file)->read_all();
    if (!content) {
        return std::unexpected(content.error());
    }
    if (content->size() != file_bytes) {
        return std::unexpected(
            IoError{EILSEQ, path.string() + ": has " + std::to_string(content->size()) +
                                " bytes instead of " + std::to_string(file_bytes)});
    }
    // A process that was killed may have left one slot unsynced; before the other one changes, the
    // power must not be able to take both.
    if (auto synced = (*file)->sync(); !synced) {
        return std::unexpected(synced.error());
    }
    SlotFile result{std::move(*file), std::string(kind)};
    bool found = false;
    for (std::size_t i = 0; i < 2; ++i) {
        const auto slot = decode(kind, std::string_view{*content}.substr(i * slot_stride));
        if (!slot || slot->counter % 2 != i) {
            result.damaged_ = true;
        } else if (!found || slot->counter > result.counter_) {
            found = true;
            result.counter_ = slot->counter;
            result.values_ = slot->values;
        }
    }
    if (!found) {
        return std::unexpected(
            IoError{EILSEQ, path.string() + ": the checksums of both slots are wrong"});
    }
    return result;
}

IoResult<void> SlotFile::write_slot(const Values& values) {
    values_ = values;
    // Until the next sync only one slot changes: the power may go before it, and tear what was
    // written since the last one.
    counter_ += unsynced_ ? 2 : 1;
    unsynced_ = true;
    return file_->write_at((counter_ % 2) * slot_stride, encode(kind_, {counter_, values}));
}

IoResult<void> SlotFile::write_through(const Values& values) {
    return in_order([&] { return write_slot(values); }, [&] { return sync(); },
                    [&] { return write_slot(values); }, [&] { return sync(); });
}

IoResult<void> SlotFile::write_lazily(const Values& values) {
    return write_slot(values);
}

IoResult<void> SlotFile::sync() {
    auto synced = file_->sync();
    unsynced_ = unsynced_ && !synced;
    return synced;
}

} // namespace concordat::log
