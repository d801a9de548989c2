#include "coordinator/log/peer_registry.hpp"

#include <fmt/core.h>

namespace concordat::log {

std::optional<std::string> PeerRegistry::objection(Peer peer, std::uint64_t incarnation) {
    const std::lock_guard lock{mutex_};
    const auto found = known_.find(peer);
    if (found != known_.end()) {
        if (found->second == incarnation) {
            return std::nullopt;
        }
        return fmt::format("node {} is known as incarnation {:016x} and came as {:016x}: it lost "
                           "its disk and must come back under a new node id",
                           peer, found->second, incarnation);
    }
    KnownPeers extended = known_;
    extended[peer] = incarnation;
    if (const auto written = storage_.remember_peers(extended); !written) {
        return "the incarnation cannot be recorded: " + written.error().message;
    }
    known_ = std::move(extended);
    return std::nullopt;
}

} // namespace concordat::log
