#include "coordinator/log/storage.hpp"

#include "coordinator/core/assert.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace concordat::log {
namespace {

constexpr const char* creating_file = "creating";
constexpr const char* lock_file = "lock";
constexpr std::string_view temporary_suffix = ".tmp";

constexpr std::string_view rejoin =
    "The node must not vote with it: restore the disk, or remove this member and let it rejoin "
    "with an empty data directory under a new node id.";

bool contains(const std::vector<std::string>& names, std::string_view name) {
    return std::ranges::find(names, name) != names.end();
}

} // namespace

std::expected<Storage::Opened, std::string> Storage::open(FileSystem& files, StorageOptions options,
                                                          const FirstState& first) {
    std::unique_ptr<Storage> storage{new Storage(files, std::move(options))};
    const FileSystem::Path& directory = storage->options_.directory;
    if (auto made = files.create_directories(directory); !made) {
        return std::unexpected(made.error().message);
    }
    auto lock = files.lock(directory);
    if (!lock) {
        return std::unexpected(lock.error().message + "; does another node run on it?");
    }
    storage->lock_ = std::move(*lock);
    auto names = files.list(directory);
    if (!names) {
        return std::unexpected(names.error().message);
    }
    std::erase(*names, lock_file);
    bool created = false;
    if (names->empty() || contains(*names, creating_file)) {
        // A directory whose making was interrupted has promised nothing to anybody.
        for (const std::string& name : *names) {
            if (name != creating_file && !files.remove(directory / name)) {
                return std::unexpected(fmt::format("{}: cannot be removed", name));
            }
        }
        if (auto done = storage->create(first); !done) {
            return std::unexpected(done.error());
        }
        created = true;
        names = files.list(directory);
        if (!names) {
            return std::unexpected(names.error().message);
        }
    }
    auto recovered = storage->recover(*names);
    if (!recovered) {
        return std::unexpected(recovered.error());
    }
    recovered->created = created;
    return Opened{std::move(storage), std::move(*recovered)};
}

std::expected<void, std::string> Storage::create(const FirstState& first) {
    const FileSystem::Path& directory = options_.directory;
    const Identity identity{options_.cluster_name, options_.node, options_.new_incarnation};
    CONCORDAT_ASSERT(identity.incarnation != 0);
    const SegmentHeader header{1, 1, 0, identity.incarnation, false};
    const auto fail = [](const IoError& error) { return std::unexpected(error.message); };

    if (auto done = replace_file(files_, directory / creating_file, ""); !done) {
        return fail(done.error());
    }
    std::uint64_t end = segment_header_bytes;
    {
        std::string records;
        if (!first.entries.empty()) {
            encode_record(header, segment_header_bytes, first.entries, records);
        }
        end += records.size();
        auto writer = SegmentWriter::create(files_, directory, header,
                                            std::max<std::uint64_t>(options_.segment_bytes, end));
        if (!writer) {
            return fail(writer.error());
        }
        auto written =
            in_order([&] { return writer->write(records); }, [&] { return writer->sync(); });
        if (!written) {
            return fail(written.error());
        }
    }
    const HardState& state = first.hard_state;
    auto vote = SlotFile::create(files_, directory / vote_file.name, vote_file.kind,
                                 {state.term, state.voted_for, 0, 0});
    if (!vote) {
        return fail(vote.error());
    }
    auto mark =
        SlotFile::create(files_, directory / mark_file.name, mark_file.kind, {1, end, 0, 0});
    if (!mark) {
        return fail(mark.error());
    }
    auto done = in_order([&] { return write_known_peers(files_, directory, {}); },
                         [&] { return write_identity(files_, directory, identity); },
                         [&] { return files_.remove(directory / creating_file); },
                         [&] { return files_.sync_directory(directory); });
    if (!done) {
        return fail(done.error());
    }
    return {};
}

std::expected<Recovered, std::string> Storage::recover(const std::vector<std::string>& names) {
    for (const std::string& name : names) {
        if (name.ends_with(temporary_suffix)) {
            if (auto removed = files_.remove(options_.directory / name); !removed) {
                return std::unexpected(removed.error().message);
            }
        }
    }
    Recovered recovered;
    if (auto small = recover_small_files(); !small) {
        return std::unexpected(small.error());
    }
    recovered.hard_state = {vote_->values()[0], vote_->values()[1]};
    if (vote_->was_damaged()) {
        recovered.notes.push_back("one slot of the vote file was damaged; the other one holds");
        if (auto repaired = save_hard_state(recovered.hard_state); !repaired) {
            return std::unexpected(repaired.error().message);
        }
    }
    auto snapshot = recover_snapshot(names);
    if (!snapshot) {
        return std::unexpected(snapshot.error());
    }
    recovered.snapshot = std::move(*snapshot);
    if (auto log = recover_log(names, recovered); !log) {
        return std::unexpected(log.error());
    }
    const Term last_term = !recovered.entries.empty() ? recovered.entries.back().term
                           : recovered.snapshot       ? recovered.snapshot->metadata.term
                                                      : 0;
    if (last_term > recovered.hard_state.term) {
        return std::unexpected(
            fmt::format("{}: holds term {}, but the log has entries of term {}. {}",
                        (options_.directory / vote_file.name).string(), recovered.hard_state.term,
                        last_term, rejoin));
    }
    return recovered;
}

std::expected<void, std::string> Storage::recover_small_files() {
    const FileSystem::Path& directory = options_.directory;
    const auto refuse = [](const IoError& error) {
        return std::unexpected(fmt::format("{}. {}", error.message, rejoin));
    };
    auto identity = read_identity(files_, directory);
    if (!identity) {
        return refuse(identity.error());
    }
    identity_ = std::move(*identity);
    if (identity_.node != options_.node || identity_.cluster_name != options_.cluster_name) {
        return std::unexpected(fmt::format(
            "{}: belongs to node {} of cluster \"{}\", not to node {} of cluster \"{}\". Point the "
            "node at its own data directory.",
            directory.string(), identity_.node, identity_.cluster_name, options_.node,
            options_.cluster_name));
    }
    auto peers = read_known_peers(files_, directory);
    if (!peers) {
        return refuse(peers.error());
    }
    known_peers_ = std::move(*peers);
    // SlotFile::open would create a missing file; a missing one is as bad as a damaged one.
    for (const SlotFileDescription& slot : slot_files) {
        if (auto exists = files_.read(directory / slot.name); !exists) {
            return refuse(exists.error());
        }
    }
    auto vote = SlotFile::open(files_, directory / vote_file.name, vote_file.kind);
    if (!vote) {
        return refuse(vote.error());
    }
    vote_ = std::move(*vote);
    auto mark = SlotFile::open(files_, directory / mark_file.name, mark_file.kind);
    if (!mark) {
        return refuse(mark.error());
    }
    mark_ = std::move(*mark);
    return {};
}

std::expected<std::optional<Snapshot>, std::string>
Storage::recover_snapshot(const std::vector<std::string>& names) {
    std::optional<std::string> newest;
    for (const std::string& name : names) { // sorted, so the last one is the newest
        if (is_snapshot_name(name)) {
            newest = name;
        }
    }
    if (!newest) {
        return std::nullopt;
    }
    auto snapshot = read_snapshot(files_, options_.directory / *newest);
    if (!snapshot) {
        return std::unexpected(fmt::format("{}. {}", snapshot.error().message, rejoin));
    }
    for (const std::string& name : names) {
        if (is_snapshot_name(name) && name != *newest) {
            static_cast<void>(files_.remove(options_.directory / name)); // tried again next time
        }
    }
    return std::move(*snapshot);
}

std::expected<void, std::string> Storage::recover_log(const std::vector<std::string>& names,
                                                      Recovered& recovered) {
    const FileSystem::Path& directory = options_.directory;
    auto log = read_segments(files_, directory, names, identity_.incarnation,
                             {mark_->values()[0], mark_->values()[1]});
    if (!log) {
        return std::unexpected(log.error());
    }
    if (log->unfinished_segment) {
        if (auto removed = files_.remove(directory / *log->unfinished_segment); !removed) {
            return std::unexpected(removed.error().message);
        }
    }
    if (!log->cut.empty()) {
        recovered.notes.push_back(log->cut);
    }
    const Index last = log->base + log->entries.size();
    const Index covered = recovered.snapshot ? recovered.snapshot->metadata.index : 0;
    if (log->base > covered) {
        return std::unexpected(
            fmt::format("{}: the log starts at entry {}, but the snapshot before it is missing. {}",
                        directory.string(), log->base + 1, rejoin));
    }
    segments_ = std::move(log->segments);
    const SegmentInfo& tail = segments_.back();
    auto writer =
        SegmentWriter::resume(files_, directory, tail.header, tail.end, options_.segment_bytes);
    if (!writer) {
        return std::unexpected(writer.error().message);
    }
    writer_ = std::move(*writer);
    next_index_ = last + 1;
    const bool continues_snapshot =
        last >= covered && (covered == log->base || log->entries[covered - log->base - 1].term ==
                                                        recovered.snapshot->metadata.term);
    if (continues_snapshot) {
        recovered.entries = std::move(log->entries);
        return {};
    }
    // A received snapshot was stored, and the process ended before the old log was dropped.
    recovered.notes.push_back("the log ends before the snapshot and was dropped");
    if (auto restarted = restart_log(covered + 1); !restarted) {
        return std::unexpected(restarted.error().message);
    }
    return {};
}

IoResult<void> Storage::save_hard_state(const HardState& state) {
    fsyncs_ += 2;
    return vote_->write_through({state.term, state.voted_for, 0, 0});
}

AppendOutcome Storage::append(std::span<const std::vector<Entry>> batches) {
    AppendOutcome outcome;
    std::string pending;
    std::size_t encoded = 0;
    const auto settle = [&](IoResult<void> result) {
        if (result) {
            outcome.batches = encoded;
        } else {
            outcome.error = std::move(result.error());
        }
        return !outcome.error;
    };
    for (const std::vector<Entry>& batch : batches) {
        const std::size_t bytes = record_bytes(batch);
        if (!writer_ || pending.size() + bytes > writer_->room()) {
            if (writer_ && !settle(flush(pending))) {
                return outcome;
            }
            if (auto started = start_segment(next_index_, bytes, false); !started) {
                outcome.error = std::move(started.error());
                return outcome;
            }
        }
        encode_record(writer_->header(), writer_->offset() + pending.size(), batch, pending);
        next_index_ = batch.back().index + 1;
        ++encoded;
    }
    settle(flush(pending));
    return outcome;
}

IoResult<void> Storage::flush(std::string& pending) {
    if (pending.empty()) {
        return {};
    }
    ++fsyncs_;
    bytes_written_ += pending.size();
    auto result =
        in_order([&] { return writer_->write(pending); }, [&] { return writer_->sync(); });
    pending.clear();
    if (!result) {
        return result;
    }
    segments_.back().end = writer_->offset();
    return move_mark();
}

IoResult<void> Storage::move_mark() {
    mark_dirty_ = true;
    return mark_->write_lazily({writer_->header().sequence, writer_->offset(), 0, 0});
}

IoResult<void> Storage::flush_mark() {
    if (!mark_dirty_) {
        return {};
    }
    mark_dirty_ = false;
    ++fsyncs_;
    return mark_->sync();
}

IoResult<void> Storage::start_segment(Index first_index, std::uint64_t least_bytes,
                                      bool restarts_log) {
    if (writer_) {
        ++fsyncs_;
        if (auto sealed = writer_->seal(); !sealed) {
            return sealed;
        }
    }
    const SegmentInfo& before = segments_.back();
    const SegmentHeader header{before.header.sequence + 1, first_index, before.end,
                               identity_.incarnation, restarts_log};
    auto writer = SegmentWriter::create(
        files_, options_.directory, header,
        std::max<std::uint64_t>(options_.segment_bytes, segment_header_bytes + least_bytes));
    if (!writer) {
        return std::unexpected(writer.error());
    }
    ++fsyncs_;
    writer_ = std::move(*writer);
    segments_.push_back({header, segment_header_bytes});
    return move_mark();
}

IoResult<void> Storage::store_snapshot(const SnapshotMetadata& metadata, std::string_view data) {
    auto written = write_snapshot(files_, options_.directory, metadata, data);
    if (!written) {
        return written;
    }
    ++fsyncs_;
    bytes_written_ += data.size();
    auto names = files_.list(options_.directory);
    if (!names) {
        return std::unexpected(names.error());
    }
    for (const std::string& name : *names) {
        if (is_snapshot_name(name) && name < snapshot_name(metadata)) {
            if (auto removed = files_.remove(options_.directory / name); !removed) {
                return removed;
            }
        }
    }
    return {};
}

IoResult<void> Storage::restart_log(Index next) {
    if (auto started = start_segment(next, 0, true); !started) {
        return started;
    }
    next_index_ = next;
    IoResult<void> result;
    while (result && segments_.size() > 1) {
        result = remove_oldest_segment();
    }
    return result;
}

IoResult<void> Storage::compact(Index through) {
    IoResult<void> result;
    while (result && segments_.size() > 1 && segments_[1].header.first_index <= through + 1) {
        result = remove_oldest_segment();
    }
    return result;
}

/// One at a time, oldest first, each removal durable before the next one: a power cut must not
/// leave a gap between segments.
IoResult<void> Storage::remove_oldest_segment() {
    const auto name = segment_name(segments_.front().header.sequence);
    segments_.erase(segments_.begin());
    ++fsyncs_;
    return in_order([&] { return files_.remove(options_.directory / name); },
                    [&] { return files_.sync_directory(options_.directory); });
}

IoResult<void> Storage::remember_peers(const KnownPeers& peers) {
    known_peers_ = peers;
    return write_known_peers(files_, options_.directory, peers);
}

} // namespace concordat::log
