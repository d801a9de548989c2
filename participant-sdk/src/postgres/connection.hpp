#pragma once

// One session of a database, and what comes back from it.
//
// An interface, so that the logic of branches also runs on a modelled database (tests/simulation);
// the real one is LibpqConnection.
//
// Threading: one thread at a time. Errors: SqlError, never an exception. After `connection_lost`
// the effect of the statements is unknown and the session is of no more use.

#include <libpq-fe.h>

#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
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

/// Result of one statement: libpq's own, read in place, or the cells of a modelled database.
class Rows {
public:
    using Cell = std::optional<std::string>; ///< nothing: NULL
    using Table = std::vector<std::vector<Cell>>;

    explicit Rows(PGresult* result) : result_(result, &PQclear) {}
    /// As the server would word the tag: "SELECT 1", "PREPARE TRANSACTION", …
    Rows(Table table, std::string tag)
        : result_(nullptr, &PQclear),
          modelled_(std::make_unique<const Modelled>(std::move(table), std::move(tag))) {}
    [[nodiscard]] std::size_t size() const {
        return result_ ? static_cast<std::size_t>(PQntuples(result_.get()))
                       : modelled_->table.size();
    }
    [[nodiscard]] std::string_view text(std::size_t row, int column) const {
        return result_ ? PQgetvalue(result_.get(), static_cast<int>(row), column)
                       : std::string_view(modelled_text(row, column));
    }
    [[nodiscard]] bool is_null(std::size_t row, int column) const;
    [[nodiscard]] bool is_true(std::size_t row, int column) const {
        return text(row, column) == "t";
    }
    [[nodiscard]] std::uint64_t number(std::size_t row, int column) const;
    /// "INSERT 0 1", "PREPARE TRANSACTION", …
    [[nodiscard]] std::string_view tag() const {
        return result_ ? PQcmdStatus(result_.get()) : std::string_view(modelled_->tag);
    }
    [[nodiscard]] std::uint64_t affected() const;

private:
    struct Modelled {
        Table table;
        std::string tag;
    };
    [[nodiscard]] std::string_view modelled_text(std::size_t row, int column) const;

    std::unique_ptr<PGresult, decltype(&PQclear)> result_;
    std::unique_ptr<const Modelled> modelled_; ///< when there is no result_
};

using SqlResult = std::expected<std::vector<Rows>, SqlError>;

class Connection {
public:
    Connection() = default;
    virtual ~Connection() = default;
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    /// Sends the statements in one round trip; one result per statement, up to the first error.
    [[nodiscard]] virtual SqlResult run(const std::string& statements) = 0;
    /// Ends whatever transaction is open. False: the session is of no more use.
    virtual bool reset() = 0;
    [[nodiscard]] virtual bool is_usable() const = 0;
};

/// Opens one more session. Called from any thread, and from several at once.
using SessionFactory = std::function<std::expected<std::unique_ptr<Connection>, SqlError>()>;

/// `text` as an SQL literal with its quotes, for UTF-8 sessions with standard_conforming_strings
/// on. Bytes that are not UTF-8 become question marks: a reason may be any bytes, and its row must
/// be written all the same.
[[nodiscard]] std::string quoted_literal(std::string_view text);

} // namespace concordat::postgres
