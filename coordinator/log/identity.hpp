#pragma once

// Who a data directory belongs to, and whom its node has met.
//
// An incarnation is a random number made with the data directory. A peer that is known under
// another incarnation has lost its disk: it may have voted for or acknowledged things that it no
// longer knows, so it is refused and must come back under a new node id.
//
// Both files are small texts with a checksum, replaced atomically.

#include "coordinator/log/file_system.hpp"
#include "coordinator/log/log_types.hpp"

#include <cstdint>
#include <map>
#include <string>

namespace concordat::log {

struct Identity {
    std::string cluster_name;
    Peer node = 0;
    std::uint64_t incarnation = 0;
    bool operator==(const Identity&) const = default;
};

inline constexpr const char* identity_file = "identity";
inline constexpr const char* known_peers_file = "peers";

IoResult<void> write_identity(FileSystem& files, const FileSystem::Path& directory,
                              const Identity& identity);
IoResult<Identity> read_identity(FileSystem& files, const FileSystem::Path& directory);

/// Incarnations by node id.
using KnownPeers = std::map<Peer, std::uint64_t>;

IoResult<void> write_known_peers(FileSystem& files, const FileSystem::Path& directory,
                                 const KnownPeers& peers);
IoResult<KnownPeers> read_known_peers(FileSystem& files, const FileSystem::Path& directory);

} // namespace concordat::log
