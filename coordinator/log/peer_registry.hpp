#pragma once

// Remembers under which incarnation each peer was met first, durably, and objects to another one:
// a member that lost its disk must not vote again under its old id.
//
// Threading: one mutex; any thread. The first meeting of a peer blocks for a small file write.

#include "coordinator/log/storage.hpp"

#include <mutex>
#include <optional>
#include <string>

namespace concordat::log {

class PeerRegistry {
public:
    explicit PeerRegistry(Storage& storage) : storage_(storage), known_(storage.known_peers()) {}

    /// Nothing: welcome. Otherwise the reason why not, for both sides' logs.
    [[nodiscard]] std::optional<std::string> objection(Peer peer, std::uint64_t incarnation);

private:
    std::mutex mutex_;
    Storage& storage_;
    KnownPeers known_;
};

} // namespace concordat::log
