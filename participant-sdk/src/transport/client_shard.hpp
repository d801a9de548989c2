// The client's part on one loop: the pools of connections whose sockets this loop drives.
//
// An origin's limits are divided exactly among the loops, so that no lock is needed between them.
// Everything here runs on the loop's thread.
#pragma once

#include "participant-sdk/src/transport/client.hpp"
#include "participant-sdk/src/transport/io_loop.hpp"
#include "participant-sdk/src/transport/resolver.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace concordat::transport::detail {

// One request on its way, already rendered.
struct Pending {
    std::string head; // with the body behind it when that is small
    std::string body;
    Client::Callback callback;
    Time deadline;
    bool is_head_request = false;
    bool idempotent = true;
    bool retried = false;
};

// What all loops of one client share.
struct ClientShared {
    ClientShared(ClientOptions client_options)
        : options(std::move(client_options)), resolver(options.resolver_threads) {}

    // Runs the callback. Not inside send().
    void complete(Client::Callback callback, Client::Result result);
    void connection_gone();
    void shard_stopped();
    // Until no request is outstanding, no connection open and no shard still to be stopped.
    void wait_until_quiet();

    const ClientOptions options;
    Resolver resolver;
    std::atomic<bool> stopping{false};
    std::atomic<std::uint64_t> requests{0};
    std::atomic<std::uint64_t> in_flight{0};
    std::atomic<std::uint64_t> queued{0};
    std::atomic<std::uint64_t> errors{0};
    std::atomic<std::uint64_t> stale_retries{0};
    std::atomic<std::uint64_t> connections_opened{0};
    std::atomic<std::uint64_t> connections_open{0};

    std::mutex mutex;
    std::condition_variable quiet;
    std::size_t running_shards = 0; // under the mutex
};

// A connection, seen from its pool.
class PooledConnection {
public:
    PooledConnection() = default;
    PooledConnection(const PooledConnection&) = delete;
    PooledConnection& operator=(const PooledConnection&) = delete;
    virtual ~PooledConnection() = default;

    virtual void connect(std::vector<Endpoint> endpoints) = 0;
    // Sends on an idle connection. Completes nothing before it returns.
    virtual void begin(Pending pending) = 0;
    // Completes the request under way with `stopped`.
    virtual void cancel() = 0;
    // Closes without a word to the pool.
    virtual void discard() = 0;
    [[nodiscard]] virtual bool is_waiting_for_address() const noexcept = 0;
};

class ClientPool final : public Timed, public std::enable_shared_from_this<ClientPool> {
public:
    ClientPool(std::shared_ptr<ClientShared> shared, IoLoop& loop, Origin origin,
               std::size_t max_connections, std::size_t max_queued);

    void open();
    void submit(OutboundRequest request, Client::Callback callback);
    void cancel();
    [[nodiscard]] bool unused() const noexcept;
    void on_deadline(Time now) override;

    // From its connections.
    void on_connected(PooledConnection& connection);
    void on_connect_failed(PooledConnection& connection, const TransportError& error);
    void on_idle(PooledConnection& connection);
    void on_closed(PooledConnection& connection);
    // Once more, on a fresh connection.
    void resubmit(Pending pending);

private:
    void open_connection();
    void open_wanted_connections();
    void resolve();
    void on_resolved(Resolver::Result result);
    void connect_waiting(const std::vector<Endpoint>& endpoints);
    void fail_waiting(const TransportError& error);
    void enqueue(Pending pending, bool first);
    Pending dequeue();
    void fail_queued(const TransportError& error);
    void fail_later(Client::Callback callback, TransportError error);
    void remove(PooledConnection& connection);

    const std::shared_ptr<ClientShared> shared_;
    IoLoop& loop_;
    const Origin origin_;
    const std::string host_header_;
    const std::size_t max_connections_;
    const std::size_t max_queued_;

    std::vector<std::shared_ptr<PooledConnection>> connections_;
    std::vector<PooledConnection*> idle_; // the one used last is used next: others may time out
    std::size_t connecting_ = 0;
    std::deque<Pending> queue_;
    Time queue_deadline_ = never;
    bool resolving_ = false;
};

class ClientShard {
public:
    ClientShard(std::shared_ptr<ClientShared> shared, IoLoop& loop, std::size_t index,
                std::size_t shards);

    void submit(const Origin& origin, OutboundRequest request, Client::Callback callback);
    void cancel(const Origin& origin);
    void stop();

private:
    struct OriginHash {
        std::size_t operator()(const Origin& origin) const noexcept {
            return std::hash<std::string>{}(origin.host) * 31U + origin.port * 2U +
                   (origin.tls ? 1U : 0U);
        }
    };
    void drop_unused_pools();

    const std::shared_ptr<ClientShared> shared_;
    IoLoop& loop_;
    const std::size_t max_connections_;
    const std::size_t max_queued_;
    std::size_t sweep_at_ = 64; // pools; doubled with the number in use
    std::unordered_map<Origin, std::shared_ptr<ClientPool>, OriginHash> pools_;
};

} // namespace concordat::transport::detail
