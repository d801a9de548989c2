#include "participant-sdk/src/postgres/connection_pool.hpp"

#include <utility>

namespace concordat::postgres {

ConnectionPool::ConnectionPool(SessionFactory open, std::size_t max_connections,
                               std::chrono::milliseconds acquire_timeout)
    : open_(std::move(open)),
      max_connections_(max_connections),
      acquire_timeout_(acquire_timeout) {}

std::expected<ConnectionPool::Lease, SqlError> ConnectionPool::acquire() {
    {
        std::unique_lock lock(mutex_);
        if (!returned_.wait_for(lock, acquire_timeout_,
                                [this] { return in_use_ < max_connections_; })) {
            return std::unexpected(SqlError{{}, "all database connections are in use", false});
        }
        ++in_use_;
        if (!idle_.empty()) {
            auto connection = std::move(idle_.back());
            idle_.pop_back();
            return Lease(*this, std::move(connection));
        }
    }
    auto opened = open_();
    if (!opened) {
        give_back(nullptr);
        return std::unexpected(opened.error());
    }
    return Lease(*this, std::move(*opened));
}

void ConnectionPool::give_back(std::unique_ptr<Connection> connection) {
    const bool usable = connection && connection->reset();
    std::vector<std::unique_ptr<Connection>> stale; // closed outside the lock
    {
        const std::lock_guard lock(mutex_);
        --in_use_;
        if (usable) {
            idle_.push_back(std::move(connection));
        } else {
            // The others were most likely lost with it, by the same restart of the server.
            stale.swap(idle_);
        }
    }
    returned_.notify_one();
}

} // namespace concordat::postgres
