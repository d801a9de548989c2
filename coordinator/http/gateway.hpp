#pragma once

// The seam between HTTP and the core thread. Routes speak to the core only through Gateway;
// the app implements it with a bounded queue into the core loop.

#include "coordinator/core/transaction_coordinator.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace concordat::http {

struct NodeView {
    core::NodeId id;
    std::string api_url; ///< http://host:port that followers forward to
    std::string peer_address;
    bool is_self = false;
    bool is_leader = false;
    std::optional<core::LogIndex> match_index; ///< known on the leader only
};

/// A coherent picture of this node, cheap to copy, updated by the core loop.
struct ClusterView {
    std::string cluster_name;
    core::NodeId self;
    std::string role; ///< leader | follower | candidate
    std::optional<core::NodeId> leader;
    bool leader_is_serving = false; ///< self is leader and its epoch entry is applied
    std::uint64_t term = 0;
    core::Epoch epoch;
    core::LogIndex last_index, commit_index, applied_index, snapshot_index;
    bool replayed = false; ///< for /readyz
    bool draining = false;
    std::vector<NodeView> nodes;
    std::string version;
};

/// Threading: every member may be called from any thread.
class Gateway {
public:
    using ReplyHandler = std::function<void(core::Reply)>;
    virtual ~Gateway() = default;
    /// Queues a request for the core. The handler is called exactly once, on the core thread, and
    /// must only hand over. Returns nothing when the queue is full (then the handler is never
    /// called): answer 503 `overloaded` with Retry-After.
    virtual std::optional<core::RequestToken> submit(core::ClientRequest request,
                                                     ReplyHandler handler) = 0;
    /// The client of this request went away; its handler is not called any more.
    virtual void forget(core::RequestToken token) = 0;
    [[nodiscard]] virtual ClusterView cluster() const = 0;
    /// Prometheus text exposition.
    [[nodiscard]] virtual std::string metrics() const = 0;
    /// Operator actions on this node; false when not possible now, with the reason in `why_not`.
    virtual bool transfer_leadership(std::optional<core::NodeId> to, std::string who,
                                     std::string why, std::string& why_not) = 0;
    virtual void drain() = 0;
    /// Server-sent events: decisions and state changes. The returned id ends the subscription.
    virtual std::uint64_t subscribe(std::function<void(const std::string& event_json)> sink) = 0;
    virtual void unsubscribe(std::uint64_t id) = 0;
};

} // namespace concordat::http
