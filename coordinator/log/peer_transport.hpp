#pragma once

// Messages between coordinator nodes over TCP. Every node dials every other member and sends on
// that connection; it receives on connections it accepted. Losing a message is allowed, for Raft
// repeats; so every queue is bounded and drops when it is full.
//
// A connection starts with a hello each way: protocol version, cluster name, node ids, incarnation.
// Who does not fit is refused with a reason. Lost connections are dialled again with full-jitter
// exponential back-off. Snapshots travel in pieces between the other messages.
//
// Threading: one io thread inside. send() from any thread, never blocks. Callbacks come on the io
// thread. Boost stays out of this header.

#include "coordinator/log/consensus.hpp"
#include "coordinator/log/log_types.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace concordat::log {

struct PeerTransportOptions {
    Peer self = 0;
    std::string cluster_name;
    std::uint64_t incarnation = 0;
    std::string listen_address;       ///< host:port; port 0: chosen by the system
    std::vector<VotingMember> others; ///< members without this node
    std::size_t max_frame_bytes = 16UL << 20;
    std::uint64_t max_snapshot_bytes = 2UL << 30;
    std::size_t max_queue_bytes = 64UL << 20; ///< per peer
    std::chrono::milliseconds reconnect_initial{20};
    std::chrono::milliseconds reconnect_cap{1000};
    std::chrono::milliseconds handshake_timeout{2000};
    std::uint64_t seed = 0; ///< of the back-off's jitter
};

struct PeerTransportCallbacks {
    /// A whole, decoded message of a peer; InstallSnapshot carries all its data.
    std::function<void(Message)> received;
    /// May this incarnation of the peer talk to us? Nothing: yes. Otherwise the reason why not.
    std::function<std::optional<std::string>(Peer, std::uint64_t incarnation)> objection;
    /// For the log: refused by a peer, or a peer refused. Repeated reasons are not repeated here.
    std::function<void(Peer, const std::string& reason)> refused;
};

class PeerTransport {
public:
    virtual ~PeerTransport() = default;
    /// Binds, starts dialling. The error names the address.
    virtual std::expected<void, std::string> start() = 0;
    /// Queues a message for message.to; dropped when that peer is not connected or its queue full.
    virtual void send(Message message) = 0;
    /// A connection to that peer stands.
    [[nodiscard]] virtual bool is_connected(Peer peer) const = 0;
    /// Port that is listened on; after start().
    [[nodiscard]] virtual std::uint16_t port() const = 0;
    /// Closes all connections and joins. No callback comes afterwards.
    virtual void stop() = 0;
};

[[nodiscard]] std::unique_ptr<PeerTransport> make_peer_transport(PeerTransportOptions options,
                                                                 PeerTransportCallbacks callbacks);

} // namespace concordat::log
