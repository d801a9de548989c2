#include "participant-sdk/src/transport/client_shard.hpp"

#include "participant-sdk/src/transport/client_connection.hpp"
#include "participant-sdk/src/transport/serialiser.hpp"

#include <boost/asio/ip/address.hpp>

#include <algorithm>
#include <utility>

namespace concordat::transport::detail {

namespace {

using Kind = TransportError::Kind;
using Effect = TransportError::Effect;

// Bodies up to this size are copied behind the head: one buffer, one send.
constexpr std::size_t largest_copied_body_bytes = 4 * 1024;

// The part of a limit that falls to one of several shards; the parts add up to the limit.
constexpr std::size_t share(std::size_t limit, std::size_t index, std::size_t shards) noexcept {
    return limit / shards + (index < limit % shards ? 1 : 0);
}

} // namespace

void ClientShared::complete(Client::Callback callback, Client::Result result) {
    if (!result) {
        errors.fetch_add(1, std::memory_order_relaxed);
    }
    callback(std::move(result));
    callback = nullptr;
    if (in_flight.fetch_sub(1) == 1 && stopping) {
        const std::lock_guard lock(mutex);
        quiet.notify_all();
    }
}

void ClientShared::connection_gone() {
    if (connections_open.fetch_sub(1) == 1 && stopping) {
        const std::lock_guard lock(mutex);
        quiet.notify_all();
    }
}

void ClientShared::wait_until_quiet() {
    std::unique_lock lock(mutex);
    quiet.wait(lock,
               [this] { return in_flight == 0 && connections_open == 0 && running_shards == 0; });
}

void ClientShared::shard_stopped() {
    const std::lock_guard lock(mutex);
    --running_shards;
    quiet.notify_all();
}

// ---- one origin ----

ClientPool::ClientPool(std::shared_ptr<ClientShared> shared, IoLoop& loop, Origin origin,
                       std::size_t max_connections, std::size_t max_queued)
    : shared_(std::move(shared)),
      loop_(loop),
      origin_(std::move(origin)),
      host_header_(origin_.host_header()),
      max_connections_(max_connections),
      max_queued_(max_queued) {}

void ClientPool::open() {
    loop_.deadlines().add(*this);
}

bool ClientPool::unused() const noexcept {
    return connections_.empty() && queue_.empty() && !resolving_;
}

void ClientPool::submit(OutboundRequest request, Client::Callback callback) {
    if (origin_.tls) {
        fail_later(std::move(callback),
                   {Kind::invalid_request, Effect::none, "https is not available"});
        return;
    }
    Pending pending;
    pending.head.reserve(256 + std::min(request.body.size(), largest_copied_body_bytes));
    if (!render_head(pending.head, request, host_header_)) {
        fail_later(std::move(callback), {Kind::invalid_request, Effect::none,
                                         "the method, target or a header field is malformed"});
        return;
    }
    if (request.body.size() <= largest_copied_body_bytes) {
        pending.head.append(request.body);
    } else {
        pending.body = std::move(request.body);
    }
    const auto timeout =
        request.timeout.count() > 0 ? request.timeout : shared_->options.request_timeout;
    pending.callback = std::move(callback);
    pending.deadline = Clock::now() + timeout;
    pending.is_head_request = request.method == "HEAD";
    pending.idempotent = request.idempotent;

    if (!idle_.empty()) {
        PooledConnection& connection = *idle_.back();
        idle_.pop_back();
        connection.begin(std::move(pending));
        return;
    }
    const bool may_open = connections_.size() < max_connections_;
    const std::size_t waiting = queue_.size() - std::min(queue_.size(), connecting_);
    if (!may_open && waiting >= max_queued_) {
        fail_later(std::move(pending.callback),
                   {Kind::queue_full, Effect::none, "too many requests wait for " + host_header_});
        return;
    }
    enqueue(std::move(pending), false);
    open_wanted_connections();
}

void ClientPool::resubmit(Pending pending) {
    shared_->stale_retries.fetch_add(1, std::memory_order_relaxed);
    pending.retried = true;
    enqueue(std::move(pending), true);
    open_wanted_connections();
}

void ClientPool::enqueue(Pending pending, bool first) {
    if (pending.deadline < queue_deadline_) {
        queue_deadline_ = pending.deadline;
        loop_.deadlines().set(*this, queue_deadline_);
    }
    shared_->queued.fetch_add(1, std::memory_order_relaxed);
    if (first) {
        queue_.push_front(std::move(pending));
    } else {
        queue_.push_back(std::move(pending));
    }
}

Pending ClientPool::dequeue() {
    Pending pending = std::move(queue_.front());
    queue_.pop_front();
    shared_->queued.fetch_sub(1, std::memory_order_relaxed);
    return pending;
}

void ClientPool::on_deadline(Time now) {
    const std::shared_ptr<ClientPool> self = shared_from_this();
    std::vector<Pending> expired;
    std::deque<Pending> kept;
    queue_deadline_ = never;
    while (!queue_.empty()) {
        Pending pending = dequeue();
        if (pending.deadline <= now) {
            expired.push_back(std::move(pending));
        } else {
            kept.push_back(std::move(pending));
        }
    }
    for (Pending& pending : kept) {
        enqueue(std::move(pending), false);
    }
    for (Pending& pending : expired) {
        shared_->complete(std::move(pending.callback),
                          std::unexpected(TransportError{Kind::timed_out, Effect::none,
                                                         "no connection to " + host_header_ +
                                                             " became free in time"}));
    }
}

void ClientPool::open_wanted_connections() {
    while (connecting_ < queue_.size() && connections_.size() < max_connections_) {
        open_connection();
    }
}

void ClientPool::open_connection() {
    auto connection =
        std::make_shared<ClientConnection<Socket>>(shared_, loop_, shared_from_this());
    connections_.push_back(connection);
    ++connecting_;
    connection->start();
    boost::system::error_code error;
    const auto address = boost::asio::ip::make_address(origin_.host, error);
    if (!error) {
        // From the loop, so that a refused address completes nothing inside send().
        loop_.mailbox()->post([self = shared_from_this(), address] {
            self->connect_waiting({Endpoint(address, self->origin_.port)});
        });
    } else if (!resolving_) {
        resolve();
    }
}

void ClientPool::resolve() {
    resolving_ = true;
    auto deliver = [self = shared_from_this(), mailbox = loop_.mailbox()](Resolver::Result result) {
        mailbox->post(
            [self, result = std::move(result)]() mutable { self->on_resolved(std::move(result)); });
    };
    if (!shared_->resolver.resolve(origin_.host, origin_.port, std::move(deliver))) {
        loop_.mailbox()->post([self = shared_from_this()] {
            self->on_resolved(std::unexpected(std::string{"too many names wait for the resolver"}));
        });
    }
}

void ClientPool::on_resolved(Resolver::Result result) {
    resolving_ = false;
    if (result) {
        connect_waiting(*result);
    } else {
        fail_waiting({Kind::connect_failed, Effect::none, std::move(result.error())});
    }
}

void ClientPool::connect_waiting(const std::vector<Endpoint>& endpoints) {
    std::vector<Endpoint> allowed;
    for (const Endpoint& endpoint : endpoints) {
        if (!shared_->options.allow_address ||
            shared_->options.allow_address(endpoint.address().to_string())) {
            allowed.push_back(endpoint);
        }
    }
    if (allowed.empty()) {
        fail_waiting({Kind::address_refused, Effect::none,
                      "no address of " + host_header_ + " is in an allowed network"});
        return;
    }
    const auto connections = connections_;
    for (const auto& connection : connections) {
        if (connection->is_waiting_for_address()) {
            connection->connect(allowed);
        }
    }
}

void ClientPool::fail_waiting(const TransportError& error) {
    const auto connections = connections_;
    for (const auto& connection : connections) {
        if (connection->is_waiting_for_address()) {
            connection->discard();
            on_connect_failed(*connection, error);
        }
    }
}

void ClientPool::on_connected(PooledConnection& connection) {
    --connecting_;
    shared_->connections_opened.fetch_add(1, std::memory_order_relaxed);
    on_idle(connection);
}

void ClientPool::on_idle(PooledConnection& connection) {
    if (queue_.empty()) {
        idle_.push_back(&connection);
    } else {
        connection.begin(dequeue());
    }
}

// Requests that wait are failed only when no other connection, open or being opened, may serve
// them.
void ClientPool::on_connect_failed(PooledConnection& connection, const TransportError& error) {
    const std::shared_ptr<ClientPool> self = shared_from_this();
    --connecting_;
    remove(connection);
    if (connections_.empty()) {
        fail_queued(error);
    }
}

void ClientPool::on_closed(PooledConnection& connection) {
    remove(connection);
    open_wanted_connections();
}

void ClientPool::remove(PooledConnection& connection) {
    std::erase(idle_, &connection);
    std::erase_if(connections_, [&](const auto& entry) { return entry.get() == &connection; });
}

void ClientPool::fail_queued(const TransportError& error) {
    std::vector<Pending> failed;
    while (!queue_.empty()) {
        failed.push_back(dequeue());
    }
    for (Pending& pending : failed) {
        shared_->complete(std::move(pending.callback), std::unexpected(error));
    }
}

void ClientPool::fail_later(Client::Callback callback, TransportError error) {
    loop_.mailbox()->post(
        [shared = shared_, callback = std::move(callback), error = std::move(error)]() mutable {
            shared->complete(std::move(callback), std::unexpected(std::move(error)));
        });
}

void ClientPool::cancel() {
    const std::shared_ptr<ClientPool> self = shared_from_this();
    loop_.deadlines().remove(*this);
    fail_queued({Kind::stopped, Effect::none, "the client was stopped"});
    const auto connections = std::exchange(connections_, {});
    idle_.clear();
    connecting_ = 0;
    for (const auto& connection : connections) {
        connection->cancel();
    }
}

// ---- one loop ----

ClientShard::ClientShard(std::shared_ptr<ClientShared> shared, IoLoop& loop, std::size_t index,
                         std::size_t shards)
    : shared_(std::move(shared)),
      loop_(loop),
      max_connections_(share(shared_->options.max_connections_per_origin, index, shards)),
      max_queued_(share(shared_->options.max_queued_per_origin, index, shards)) {}

void ClientShard::submit(const Origin& origin, OutboundRequest request, Client::Callback callback) {
    if (shared_->stopping) {
        loop_.mailbox()->post([shared = shared_, callback = std::move(callback)]() mutable {
            shared->complete(std::move(callback),
                             std::unexpected(TransportError{Kind::stopped, Effect::none,
                                                            "the client was stopped"}));
        });
        return;
    }
    auto found = pools_.find(origin);
    if (found == pools_.end()) {
        drop_unused_pools();
        auto pool =
            std::make_shared<ClientPool>(shared_, loop_, origin, max_connections_, max_queued_);
        pool->open();
        found = pools_.emplace(origin, std::move(pool)).first;
    }
    found->second->submit(std::move(request), std::move(callback));
}

// Origins come and go over months; their empty pools must not pile up.
void ClientShard::drop_unused_pools() {
    if (pools_.size() < sweep_at_) {
        return;
    }
    std::erase_if(pools_, [](const auto& entry) {
        const bool unused = entry.second->unused();
        if (unused) {
            entry.second->cancel();
        }
        return unused;
    });
    sweep_at_ = std::max<std::size_t>(64, pools_.size() * 2);
}

void ClientShard::cancel(const Origin& origin) {
    const auto found = pools_.find(origin);
    if (found != pools_.end()) {
        const std::shared_ptr<ClientPool> pool = std::move(found->second);
        pools_.erase(found);
        pool->cancel();
    }
}

void ClientShard::stop() {
    const auto pools = std::exchange(pools_, {});
    for (const auto& [origin, pool] : pools) {
        pool->cancel();
    }
    shared_->shard_stopped();
}

} // namespace concordat::transport::detail
