#pragma once

// The connections of one resource: bounded, opened on demand, handed out to one call at a time.
//
// Threading: any thread. Errors: SqlError with connection_lost when the server cannot be reached,
// without it when all connections stayed in use for the acquire time-out; effect none.

#include "participant-sdk/src/postgres/connection.hpp"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <expected>
#include <memory>
#include <mutex>
#include <vector>

namespace concordat::postgres {

class ConnectionPool {
public:
    /// Returns its connection on destruction; one that is lost or cannot be reset is closed.
    class Lease {
    public:
        Lease(ConnectionPool& pool, std::unique_ptr<Connection> connection)
            : pool_(&pool), connection_(std::move(connection)) {}
        Lease(Lease&& other) noexcept = default;
        Lease& operator=(Lease&&) = delete;
        ~Lease() {
            if (connection_) {
                pool_->give_back(std::move(connection_));
            }
        }
        [[nodiscard]] Connection* operator->() const noexcept { return connection_.get(); }
        [[nodiscard]] Connection& operator*() const noexcept { return *connection_; }

    private:
        ConnectionPool* pool_;
        std::unique_ptr<Connection> connection_;
    };

    ConnectionPool(SessionFactory open, std::size_t max_connections,
                   std::chrono::milliseconds acquire_timeout);
    [[nodiscard]] std::expected<Lease, SqlError> acquire();

private:
    void give_back(std::unique_ptr<Connection> connection);

    const SessionFactory open_;
    const std::size_t max_connections_;
    const std::chrono::milliseconds acquire_timeout_;
    std::mutex mutex_;
    std::condition_variable returned_;
    std::size_t in_use_ = 0;
    std::vector<std::unique_ptr<Connection>> idle_;
};

} // namespace concordat::postgres
