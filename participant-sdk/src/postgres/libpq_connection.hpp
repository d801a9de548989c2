#pragma once

// One connection to PostgreSQL, usable through libpq and through libpqxx.
//
// Why both: the service's callback gets a libpqxx transaction, but the SDK must send several
// statements in one round trip, see the command tag of PREPARE TRANSACTION (it is ROLLBACK when the
// transaction had failed, with no error), and stop waiting for a server that hangs.
//
// Threading and errors: as Connection.

#include "participant-sdk/src/postgres/connection.hpp"

#include <pqxx/pqxx>

#include <chrono>
#include <expected>
#include <memory>
#include <string>

namespace concordat::postgres {

struct ConnectionSettings {
    std::string url;
    std::chrono::milliseconds connect_timeout{5000};
    std::chrono::milliseconds lock_timeout{5000};
    std::chrono::milliseconds statement_timeout{30000};
};

class LibpqConnection final : public Connection {
public:
    [[nodiscard]] static std::expected<std::unique_ptr<LibpqConnection>, SqlError>
    open(const ConnectionSettings& settings);
    ~LibpqConnection() override;

    /// Waits for the server a little longer than its own statement time-out.
    [[nodiscard]] SqlResult run(const std::string& statements) override;
    bool reset() override;
    [[nodiscard]] bool is_usable() const override;
    [[nodiscard]] pqxx::connection_base& pqxx_connection();

private:
    struct Handles;
    LibpqConnection(std::unique_ptr<Handles> handles, std::chrono::milliseconds answer_timeout);
    [[nodiscard]] SqlError lost(std::string message);
    [[nodiscard]] bool wait_readable(std::chrono::steady_clock::time_point deadline) const;

    std::unique_ptr<Handles> handles_;
    std::chrono::milliseconds answer_timeout_;
    bool lost_ = false;
};

/// A factory of real connections.
[[nodiscard]] SessionFactory libpq_sessions(ConnectionSettings settings);

} // namespace concordat::postgres
