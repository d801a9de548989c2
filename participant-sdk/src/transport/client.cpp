#include "participant-sdk/src/transport/client.hpp"

#include "participant-sdk/src/transport/client_shard.hpp"

#include <algorithm>
#include <utility>

namespace concordat::transport {

std::string_view name(TransportError::Kind kind) noexcept {
    switch (kind) {
    case TransportError::Kind::invalid_request:
        return "invalid_request";
    case TransportError::Kind::queue_full:
        return "queue_full";
    case TransportError::Kind::connect_failed:
        return "connect_failed";
    case TransportError::Kind::address_refused:
        return "address_refused";
    case TransportError::Kind::timed_out:
        return "timed_out";
    case TransportError::Kind::reset:
        return "reset";
    case TransportError::Kind::bad_response:
        return "bad_response";
    case TransportError::Kind::response_too_large:
        return "response_too_large";
    case TransportError::Kind::stopped:
        return "stopped";
    }
    return "unknown";
}

struct Client::State {
    // An origin without a single connection could never be served.
    static ClientOptions with_a_connection(ClientOptions options) {
        options.max_connections_per_origin =
            std::max<std::size_t>(options.max_connections_per_origin, 1);
        return options;
    }

    State(IoThreads& io_threads, ClientOptions options)
        : threads(io_threads),
          shared(std::make_shared<detail::ClientShared>(with_a_connection(std::move(options)))) {
        // No more shards than connections: each must be able to open one.
        const std::size_t count =
            std::min(shared->options.max_connections_per_origin, threads.size());
        for (std::size_t index = 0; index < count; ++index) {
            shards.push_back(
                std::make_shared<detail::ClientShard>(shared, threads.loop(index), index, count));
        }
        shared->running_shards = count;
    }

    IoThreads& threads;
    const std::shared_ptr<detail::ClientShared> shared;
    std::vector<std::shared_ptr<detail::ClientShard>> shards;
    std::atomic<std::size_t> turn{0};
    std::atomic<bool> stopped{false};
};

Client::Client(IoThreads& threads, ClientOptions options)
    : state_(std::make_shared<State>(threads, std::move(options))) {}

Client::~Client() {
    stop();
}

void Client::send(const Origin& origin, OutboundRequest request, Callback callback) {
    state_->shared->requests.fetch_add(1, std::memory_order_relaxed);
    state_->shared->in_flight.fetch_add(1);
    const std::size_t count = state_->shards.size();
    const auto current = state_->threads.current();
    if (current && *current < count) {
        state_->shards[*current]->submit(origin, std::move(request), std::move(callback));
        return;
    }
    const std::size_t index = state_->turn.fetch_add(1, std::memory_order_relaxed) % count;
    state_->threads.post(index,
                         [shard = state_->shards[index], origin, request = std::move(request),
                          callback = std::move(callback)]() mutable {
                             shard->submit(origin, std::move(request), std::move(callback));
                         });
}

void Client::cancel(const Origin& origin) {
    for (std::size_t index = 0; index < state_->shards.size(); ++index) {
        state_->threads.post(index,
                             [shard = state_->shards[index], origin] { shard->cancel(origin); });
    }
}

void Client::stop() {
    if (state_->stopped.exchange(true)) {
        return;
    }
    state_->shared->stopping = true;
    bool loops_run = true;
    for (std::size_t index = 0; index < state_->shards.size(); ++index) {
        loops_run = state_->threads.loop(index).mailbox()->post([shard = state_->shards[index]] {
            shard->stop();
        }) && loops_run;
    }
    state_->shared->resolver.stop();
    if (loops_run) {
        state_->shared->wait_until_quiet();
    }
}

ClientStatistics Client::statistics() const noexcept {
    const detail::ClientShared& shared = *state_->shared;
    return {.connections_opened = shared.connections_opened,
            .connections_open = shared.connections_open,
            .requests = shared.requests,
            .in_flight = shared.in_flight,
            .queued = shared.queued,
            .errors = shared.errors,
            .stale_retries = shared.stale_retries};
}

} // namespace concordat::transport
