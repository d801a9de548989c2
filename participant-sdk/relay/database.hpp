// A thin owner of a libpq connection for the relay's statements.
//
// What: connect, blocking and non-blocking execution, binary parameters and results.
// Why libpq and not libpqxx: binary results that are handed to Kafka without a copy, and several
// connections driven by one thread without blocking.
//
// Threading: a connection belongs to one thread. Ownership: a Result owns its PGresult; views into
// it are valid as long as it lives, also after it is moved.
// Errors: DatabaseError; `connection_lost` says that the connection is of no more use. The effect
// of a statement whose connection is lost is unknown.
#pragma once

#include <libpq-fe.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace concordat::relay {

struct DatabaseError {
    bool connection_lost = false;
    std::string detail; // one line
};

// The 16 bytes of a UUID, in the order in which they are written.
using Uuid = std::array<char, 16>;

class Result {
public:
    explicit Result(PGresult* result) noexcept : result_(result) {}

    [[nodiscard]] int rows() const noexcept { return PQntuples(result_.get()); }
    [[nodiscard]] bool is_null(int row, int column) const noexcept {
        return PQgetisnull(result_.get(), row, column) != 0;
    }
    // The bytes as the server sent them, in binary format.
    [[nodiscard]] std::string_view bytes(int row, int column) const noexcept {
        return {PQgetvalue(result_.get(), row, column),
                static_cast<std::size_t>(PQgetlength(result_.get(), row, column))};
    }
    [[nodiscard]] std::int16_t int16(int row, int column) const noexcept;
    [[nodiscard]] std::int32_t int32(int row, int column) const noexcept;
    [[nodiscard]] std::int64_t int64(int row, int column) const noexcept;
    [[nodiscard]] bool boolean(int row, int column) const noexcept;
    [[nodiscard]] std::string text(int row, int column) const {
        return std::string(bytes(row, column));
    }
    [[nodiscard]] std::int64_t affected_rows() const noexcept;
    // A copy of one row, so that the others can be let go.
    [[nodiscard]] Result row_alone(int row) const;

private:
    struct Clear {
        void operator()(PGresult* result) const noexcept { PQclear(result); }
    };
    std::unique_ptr<PGresult, Clear> result_;
};

// Parameters in binary format, with their types. Copies what it is given.
class Parameters {
public:
    Parameters& int16(std::int16_t value);
    Parameters& int32(std::int32_t value);
    Parameters& int64(std::int64_t value);
    Parameters& text(std::string_view value);
    Parameters& bytes(std::optional<std::string_view> value);
    Parameters& int16_array(std::span<const std::int16_t> values);
    Parameters& int64_array(std::span<const std::int64_t> values);
    Parameters& xid8_array(std::span<const std::uint64_t> values);
    Parameters& uuid_array(std::span<const Uuid> values);
    Parameters& text_array(std::span<const std::string> values);

private:
    friend class Connection;
    void add(Oid type, std::string value);

    std::vector<Oid> types_;
    std::vector<std::optional<std::string>> values_;
};

// A 16-byte UUID as libpq delivers it, in its usual text form.
[[nodiscard]] std::string format_uuid(std::string_view bytes);

class Connection {
public:
    // `settings` are SET commands run first, "name = value" each.
    [[nodiscard]] static std::expected<Connection, DatabaseError>
    open(const std::string& conninfo, std::chrono::milliseconds timeout,
         std::span<const std::string> settings);

    // Blocks until the statement is done or the timeout given to open() is over, which counts as a
    // lost connection. SQL text is prepared on first use and kept by address:
    // pass string literals.
    [[nodiscard]] std::expected<Result, DatabaseError> execute(const char* sql,
                                                               const Parameters& parameters);

    // The non-blocking pair: send(), then advance() whenever socket() is readable (or writable, if
    // wants_write()) until it returns a value. One statement at a time; one that has to be prepared
    // first does not block either.
    [[nodiscard]] std::expected<void, DatabaseError> send(const char* sql,
                                                          const Parameters& parameters);
    [[nodiscard]] std::expected<std::optional<Result>, DatabaseError> advance();
    [[nodiscard]] bool busy() const noexcept { return busy_; }
    [[nodiscard]] bool wants_write() const noexcept { return wants_write_; }
    [[nodiscard]] int socket() const noexcept { return PQsocket(connection_.get()); }
    // Takes notifications that have arrived; true if there was one.
    [[nodiscard]] std::expected<bool, DatabaseError> take_notifications();

private:
    struct Finish {
        void operator()(PGconn* connection) const noexcept { PQfinish(connection); }
    };
    explicit Connection(PGconn* connection) noexcept : connection_(connection) {}
    [[nodiscard]] DatabaseError error(const PGresult* result) const;
    [[nodiscard]] std::expected<void, DatabaseError> run(std::ptrdiff_t number,
                                                         const Parameters& parameters);
    void mark_sent();

    std::unique_ptr<PGconn, Finish> connection_;
    std::vector<const char*> prepared_;
    std::optional<std::pair<const char*, Parameters>> waits_; // to be run once it is prepared
    std::unique_ptr<PGresult, void (*)(PGresult*)> pending_{nullptr, PQclear};
    std::chrono::milliseconds timeout_{10'000};
    bool busy_ = false;
    bool wants_write_ = false;
};

} // namespace concordat::relay
