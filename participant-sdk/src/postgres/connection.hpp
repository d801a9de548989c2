#pragma once

// One connection to PostgreSQL, usable through libpq and through libpqxx.
//
// Why both: the service's callback gets a libpqxx transaction, but the SDK must send several
// statements in one round trip, see the command tag of PREPARE TRANSACTION (it is ROLLBACK when the
// transaction had failed, with no error), and stop waiting for a server that hangs.
//
// Threading: one thread at a time. Errors: SqlError, never an exception. After `connection_lost`
// the effect of the statements is unknown and the connection is of no more use.

#include <libpq-fe.h>
#include <pqxx/pqxx>

#include <chrono>
#include <cstddef>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::postgres {

struct SqlError {
    std::string sqlstate; ///< empty when the server said nothing
    std::string message;
    bool connection_lost = false;
};

namespace sqlstate {
inline constexpr std::string_view undefined_object = "42704";
inline constexpr std::string_view duplicate_object = "42710";
inline constexpr std::string_view not_in_prerequisite_state = "55000"; ///< busy, or not configured
inline constexpr std::string_view out_of_memory = "53200"; ///< too many prepared transactions
inline constexpr std::string_view lock_not_available = "55P03";
inline constexpr std::string_view serialization_failure = "40001";
inline constexpr std::string_view deadlock_detected = "40P01";
inline constexpr std::string_view undefined_table = "42P01";
} // namespace sqlstate

/// Result of one statement.
class Rows {
public:
    explicit Rows(PGresult* result) : result_(result, &PQclear) {}
    [[nodiscard]] std::size_t size() const {
        return static_cast<std::size_t>(PQntuples(result_.get()));
    }
    [[nodiscard]] std::string_view text(std::size_t row, int column) const {
        return PQgetvalue(result_.get(), static_cast<int>(row), column);
    }
    [[nodiscard]] bool is_null(std::size_t row, int column) const {
        return PQgetisnull(result_.get(), static_cast<int>(row), column) != 0;
    }
    [[nodiscard]] bool is_true(std::size_t row, int column) const {
        return text(row, column) == "t";
    }
    [[nodiscard]] std::uint64_t number(std::size_t row, int column) const;
    /// "INSERT 0 1", "PREPARE TRANSACTION", …
    [[nodiscard]] std::string_view tag() const { return PQcmdStatus(result_.get()); }
    [[nodiscard]] std::uint64_t affected() const;

private:
    std::unique_ptr<PGresult, decltype(&PQclear)> result_;
};

using SqlResult = std::expected<std::vector<Rows>, SqlError>;

struct ConnectionSettings {
    std::string url;
    std::chrono::milliseconds connect_timeout{5000};
    std::chrono::milliseconds lock_timeout{5000};
    std::chrono::milliseconds statement_timeout{30000};
};

class Connection {
public:
    [[nodiscard]] static std::expected<std::unique_ptr<Connection>, SqlError>
    open(const ConnectionSettings& settings);
    ~Connection();
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    /// Sends the statements in one round trip; one result per statement, up to the first error.
    /// Waits for the server a little longer than its own statement time-out.
    [[nodiscard]] SqlResult run(const std::string& statements);
    /// Ends whatever transaction is open. False: the connection is of no more use.
    bool reset();
    [[nodiscard]] bool is_usable() const;
    [[nodiscard]] pqxx::connection_base& pqxx_connection();

private:
    struct Handles;
    Connection(std::unique_ptr<Handles> handles, std::chrono::milliseconds answer_timeout);
    [[nodiscard]] SqlError lost(std::string message);
    [[nodiscard]] bool wait_readable(std::chrono::steady_clock::time_point deadline) const;

    std::unique_ptr<Handles> handles_;
    std::chrono::milliseconds answer_timeout_;
    bool lost_ = false;
};

/// `text` as an SQL literal with its quotes, for sessions of open(): UTF-8, with
/// standard_conforming_strings on. Bytes that are not UTF-8 become question marks: a reason may be
/// any bytes, and its row must be written all the same.
[[nodiscard]] std::string quoted(std::string_view text);

} // namespace concordat::postgres
