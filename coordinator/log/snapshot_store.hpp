#pragma once

// Snapshot files: one file per snapshot, written under a temporary name, synced, renamed, directory
// synced. The last 32 bytes are the SHA-256 of everything before them. Layout byte by byte in
// docs/internals/log-format.md.
//
// Threading: safe for different snapshots at a time.

#include "coordinator/log/file_system.hpp"
#include "coordinator/log/log_types.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace concordat::log {

struct Snapshot {
    SnapshotMetadata metadata;
    core::SharedBytes data;
};

[[nodiscard]] std::string snapshot_name(const SnapshotMetadata& metadata);
[[nodiscard]] bool is_snapshot_name(std::string_view name);

/// Durable on return. A file of the same name is replaced.
IoResult<void> write_snapshot(FileSystem& files, const FileSystem::Path& directory,
                              const SnapshotMetadata& metadata, std::string_view data);
/// EILSEQ when damaged.
IoResult<Snapshot> read_snapshot(FileSystem& files, const FileSystem::Path& path);

} // namespace concordat::log
