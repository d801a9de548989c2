#pragma once

// One node's data directory: identity, term and vote, segments, durable mark, snapshots.
//
//   identity              who this directory belongs to
//   vote                  term and vote (two slots)
//   durable               durable mark: how far the log was synced before it was acknowledged
//   peers                 incarnations of the other members
//   <20 digits>.segment   log entries
//   snapshot-<index>-<term>
//   creating              only while the directory is being made
//   lock                  held by the process that owns the directory
//
// Opening recovers what was promised or refuses with a message; it never guesses. Docs:
// docs/internals/log-format.md.
//
// Threading: open() anywhere; append(), save_hard_state(), restart_log(), compact() and
// flush_mark() on the disk thread; store_snapshot() on any thread; remember_peers() on one other
// thread.

#include "coordinator/log/file_system.hpp"
#include "coordinator/log/identity.hpp"
#include "coordinator/log/log_types.hpp"
#include "coordinator/log/segment_reader.hpp"
#include "coordinator/log/segment_writer.hpp"
#include "coordinator/log/slot_file.hpp"
#include "coordinator/log/snapshot_store.hpp"

#include <array>
#include <atomic>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::log {

/// The slot files, what marks them, and what their first two values are.
struct SlotFileDescription {
    const char* name;
    std::string_view kind;
    const char* values;
};
inline constexpr SlotFileDescription vote_file{"vote", "CCDTVOT\n", "term and vote"};
inline constexpr SlotFileDescription mark_file{"durable", "CCDTDUR\n",
                                               "durable to segment and byte"};
inline constexpr std::array slot_files{vote_file, mark_file};

struct StorageOptions {
    FileSystem::Path directory;
    Peer node = 0;
    std::string cluster_name;
    std::uint64_t segment_bytes = 64UL << 20;
    std::uint64_t new_incarnation = 0; ///< random; used when the directory is made
};

/// First content of a new directory.
struct FirstState {
    HardState hard_state;
    std::vector<Entry> entries;
};

struct Recovered {
    HardState hard_state;
    std::optional<Snapshot> snapshot;
    std::vector<Entry> entries;     ///< the first one follows the snapshot at the latest
    std::vector<std::string> notes; ///< repairs worth a warning
    bool created = false;
};

struct AppendOutcome {
    std::size_t batches = 0;      ///< of the given ones are durable
    std::optional<IoError> error; ///< why not all; is_no_space(): nothing of the rest was written
};

class Storage {
public:
    struct Opened;
    /// The error names the file, the offset and what to do.
    static std::expected<Opened, std::string> open(FileSystem& files, StorageOptions options,
                                                   const FirstState& first);

    /// Durable on return.
    IoResult<void> save_hard_state(const HardState& state);
    /// One write and one sync for all batches that fit into a segment.
    AppendOutcome append(std::span<const std::vector<Entry>> batches);
    /// Durable on return; older snapshots are removed.
    IoResult<void> store_snapshot(const SnapshotMetadata& metadata, std::string_view data);
    /// A stored snapshot replaces the whole log; the next entry is `next`.
    IoResult<void> restart_log(Index next);
    /// Entries up to `through` are not needed any more.
    IoResult<void> compact(Index through);
    /// Makes the durable mark durable itself; for quiet moments.
    IoResult<void> flush_mark();
    IoResult<void> remember_peers(const KnownPeers& peers);

    [[nodiscard]] const Identity& identity() const noexcept { return identity_; }
    [[nodiscard]] const KnownPeers& known_peers() const noexcept { return known_peers_; }
    [[nodiscard]] std::uint64_t fsyncs() const noexcept { return fsyncs_; }
    [[nodiscard]] std::uint64_t bytes_written() const noexcept { return bytes_written_; }
    [[nodiscard]] bool is_mark_dirty() const noexcept { return mark_dirty_; }

private:
    Storage(FileSystem& files, StorageOptions options)
        : files_(files), options_(std::move(options)) {}

    std::expected<void, std::string> create(const FirstState& first);
    std::expected<Recovered, std::string> recover(const std::vector<std::string>& names);
    std::expected<void, std::string> recover_small_files();
    std::expected<std::optional<Snapshot>, std::string>
    recover_snapshot(const std::vector<std::string>& names);
    std::expected<void, std::string> recover_log(const std::vector<std::string>& names,
                                                 Recovered& recovered);
    IoResult<void> start_segment(Index first_index, std::uint64_t least_bytes, bool restarts_log);
    IoResult<void> flush(std::string& pending);
    IoResult<void> move_mark();
    IoResult<void> remove_oldest_segment();

    FileSystem& files_;
    StorageOptions options_;
    std::unique_ptr<DirectoryLock> lock_;
    Identity identity_;
    KnownPeers known_peers_;
    std::optional<SlotFile> vote_;
    std::optional<SlotFile> mark_;
    std::optional<SegmentWriter> writer_;
    std::vector<SegmentInfo> segments_; ///< the last one is writer_'s
    Index next_index_ = 1;
    bool mark_dirty_ = false;
    std::atomic<std::uint64_t> fsyncs_ = 0;
    std::atomic<std::uint64_t> bytes_written_ = 0;
};

struct Storage::Opened {
    std::unique_ptr<Storage> storage;
    Recovered recovered;
};

} // namespace concordat::log
