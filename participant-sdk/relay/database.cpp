#include "participant-sdk/relay/database.hpp"

#include <arpa/inet.h>
#include <endian.h>
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <new>
#include <utility>

namespace concordat::relay {
namespace {

// From the server's catalogue; fixed for built-in types.
constexpr Oid oid_bytea = 17;
constexpr Oid oid_int8 = 20;
constexpr Oid oid_int2 = 21;
constexpr Oid oid_int4 = 23;
constexpr Oid oid_text = 25;
constexpr Oid oid_int2_array = 1005;
constexpr Oid oid_int8_array = 1016;
constexpr Oid oid_text_array = 1009;
constexpr Oid oid_uuid = 2950;
constexpr Oid oid_uuid_array = 2951;
constexpr Oid oid_xid8 = 5069;
constexpr Oid oid_xid8_array = 271;

template <typename Integer>
void append_big_endian(std::string& out, Integer value) {
    for (int shift = static_cast<int>(sizeof(Integer)) * 8 - 8; shift >= 0; shift -= 8) {
        out.push_back(static_cast<char>(static_cast<std::uint64_t>(value) >> shift));
    }
}

// The header of a one-dimensional array without NULLs in the binary format.
std::string array_header(std::size_t size, Oid element) {
    std::string out;
    append_big_endian(out, static_cast<std::int32_t>(size == 0 ? 0 : 1));
    append_big_endian(out, std::int32_t{0});
    append_big_endian(out, static_cast<std::uint32_t>(element));
    if (size != 0) {
        append_big_endian(out, static_cast<std::int32_t>(size));
        append_big_endian(out, std::int32_t{1});
    }
    return out;
}

template <typename Integer>
std::string integer_array(std::span<const Integer> values, Oid element) {
    std::string out = array_header(values.size(), element);
    out.reserve(out.size() + values.size() * (4 + sizeof(Integer)));
    for (const Integer value : values) {
        append_big_endian(out, static_cast<std::int32_t>(sizeof(Integer)));
        append_big_endian(out, value);
    }
    return out;
}

std::string one_line(const char* message) {
    std::string line = message == nullptr ? "" : message;
    while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) {
        line.pop_back();
    }
    std::ranges::replace(line, '\n', ' ');
    return line;
}

} // namespace

std::int16_t Result::int16(int row, int column) const noexcept {
    std::uint16_t raw = 0;
    std::memcpy(&raw, PQgetvalue(result_.get(), row, column), sizeof raw);
    return static_cast<std::int16_t>(be16toh(raw));
}

std::int32_t Result::int32(int row, int column) const noexcept {
    std::uint32_t raw = 0;
    std::memcpy(&raw, PQgetvalue(result_.get(), row, column), sizeof raw);
    return static_cast<std::int32_t>(be32toh(raw));
}

std::int64_t Result::int64(int row, int column) const noexcept {
    std::uint64_t raw = 0;
    std::memcpy(&raw, PQgetvalue(result_.get(), row, column), sizeof raw);
    return static_cast<std::int64_t>(be64toh(raw));
}

bool Result::boolean(int row, int column) const noexcept {
    return *PQgetvalue(result_.get(), row, column) != 0;
}

Result Result::row_alone(int row) const {
    Result copy(PQcopyResult(result_.get(), PG_COPYRES_ATTRS));
    if (copy.result_ == nullptr) {
        throw std::bad_alloc();
    }
    for (int column = 0; column < PQnfields(result_.get()); ++column) {
        const int length = is_null(row, column) ? -1 : PQgetlength(result_.get(), row, column);
        if (PQsetvalue(copy.result_.get(), 0, column, PQgetvalue(result_.get(), row, column),
                       length) == 0) {
            throw std::bad_alloc();
        }
    }
    return copy;
}

std::int64_t Result::affected_rows() const noexcept {
    const char* text = PQcmdTuples(result_.get());
    return *text == '\0' ? 0 : std::strtoll(text, nullptr, 10);
}

void Parameters::add(Oid type, std::string value) {
    types_.push_back(type);
    values_.emplace_back(std::move(value));
}

Parameters& Parameters::int16(std::int16_t value) {
    std::string out;
    append_big_endian(out, value);
    add(oid_int2, std::move(out));
    return *this;
}

Parameters& Parameters::int32(std::int32_t value) {
    std::string out;
    append_big_endian(out, value);
    add(oid_int4, std::move(out));
    return *this;
}

Parameters& Parameters::int64(std::int64_t value) {
    std::string out;
    append_big_endian(out, value);
    add(oid_int8, std::move(out));
    return *this;
}

Parameters& Parameters::text(std::string_view value) {
    add(oid_text, std::string(value));
    return *this;
}

Parameters& Parameters::bytes(std::optional<std::string_view> value) {
    types_.push_back(oid_bytea);
    values_.push_back(value ? std::optional<std::string>(*value) : std::nullopt);
    return *this;
}

Parameters& Parameters::int16_array(std::span<const std::int16_t> values) {
    add(oid_int2_array, integer_array(values, oid_int2));
    return *this;
}

Parameters& Parameters::int64_array(std::span<const std::int64_t> values) {
    add(oid_int8_array, integer_array(values, oid_int8));
    return *this;
}

Parameters& Parameters::xid8_array(std::span<const std::uint64_t> values) {
    add(oid_xid8_array, integer_array(values, oid_xid8));
    return *this;
}

Parameters& Parameters::uuid_array(std::span<const Uuid> values) {
    std::string out = array_header(values.size(), oid_uuid);
    for (const Uuid& value : values) {
        append_big_endian(out, static_cast<std::int32_t>(value.size()));
        out.append(value.data(), value.size());
    }
    add(oid_uuid_array, std::move(out));
    return *this;
}

Parameters& Parameters::text_array(std::span<const std::string> values) {
    std::string out = array_header(values.size(), oid_text);
    for (const std::string& value : values) {
        append_big_endian(out, static_cast<std::int32_t>(value.size()));
        out += value;
    }
    add(oid_text_array, std::move(out));
    return *this;
}

std::string format_uuid(std::string_view bytes) {
    std::string text;
    text.reserve(36);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            text.push_back('-');
        }
        constexpr std::string_view digits = "0123456789abcdef";
        const auto byte = static_cast<unsigned char>(bytes[i]);
        text.push_back(digits[byte >> 4U]);
        text.push_back(digits[byte & 15U]);
    }
    return text;
}

std::expected<Connection, DatabaseError> Connection::open(const std::string& conninfo,
                                                          std::chrono::milliseconds timeout,
                                                          std::span<const std::string> settings) {
    // libpq reads a whole second at least; 2 is its own minimum.
    const auto seconds = std::max<std::int64_t>(2, (timeout.count() + 999) / 1000);
    const std::string connect_timeout = std::to_string(seconds);
    const std::string user_timeout = std::to_string(timeout.count());
    const char* names[] = {"dbname",     "application_name", "connect_timeout",
                           "keepalives", "keepalives_idle",  "tcp_user_timeout",
                           nullptr};
    const char* values[] = {conninfo.c_str(),
                            "concordat-relay",
                            connect_timeout.c_str(),
                            "1",
                            "5",
                            user_timeout.c_str(),
                            nullptr};
    Connection connection(PQconnectdbParams(names, values, 1));
    if (PQstatus(connection.connection_.get()) != CONNECTION_OK) {
        return std::unexpected(connection.error(nullptr));
    }
    for (const std::string& setting : settings) {
        const std::unique_ptr<PGresult, void (*)(PGresult*)> result(
            PQexec(connection.connection_.get(), ("SET " + setting).c_str()), PQclear);
        if (PQresultStatus(result.get()) != PGRES_COMMAND_OK) {
            return std::unexpected(connection.error(result.get()));
        }
    }
    // Notices (a repeated LISTEN, say) are not for the operator's log.
    PQsetNoticeReceiver(connection.connection_.get(), [](void*, const PGresult*) {}, nullptr);
    if (PQsetnonblocking(connection.connection_.get(), 1) != 0) {
        return std::unexpected(connection.error(nullptr));
    }
    connection.timeout_ = timeout;
    return connection;
}

DatabaseError Connection::error(const PGresult* result) const {
    const bool lost = PQstatus(connection_.get()) != CONNECTION_OK;
    if (result == nullptr) {
        return {.connection_lost = lost, .detail = one_line(PQerrorMessage(connection_.get()))};
    }
    const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    // 57P01..57P04: the server is shutting down and will close the connection.
    const bool shutting_down = state != nullptr && std::strncmp(state, "57P0", 4) == 0;
    return {.connection_lost = lost || shutting_down,
            .detail = one_line(PQresultErrorMessage(result))};
}

std::expected<void, DatabaseError> Connection::send(const char* sql, const Parameters& parameters) {
    const auto found = std::ranges::find(prepared_, sql);
    const auto number = found - prepared_.begin();
    if (found != prepared_.end()) {
        return run(number, parameters);
    }
    if (PQsendPrepare(connection_.get(), fmt::format("s{}", number).c_str(), sql,
                      static_cast<int>(parameters.types_.size()), parameters.types_.data()) != 1) {
        return std::unexpected(error(nullptr));
    }
    waits_.emplace(sql, parameters);
    mark_sent();
    return {};
}

std::expected<void, DatabaseError> Connection::run(std::ptrdiff_t number,
                                                   const Parameters& parameters) {
    std::vector<const char*> values;
    std::vector<int> lengths;
    for (const auto& value : parameters.values_) {
        values.push_back(value ? value->data() : nullptr);
        lengths.push_back(value ? static_cast<int>(value->size()) : 0);
    }
    const std::vector<int> formats(values.size(), 1);
    if (PQsendQueryPrepared(connection_.get(), fmt::format("s{}", number).c_str(),
                            static_cast<int>(values.size()), values.data(), lengths.data(),
                            formats.data(), 1) != 1) {
        return std::unexpected(error(nullptr));
    }
    mark_sent();
    return {};
}

void Connection::mark_sent() {
    busy_ = true;
    wants_write_ = PQflush(connection_.get()) == 1;
}

std::expected<std::optional<Result>, DatabaseError> Connection::advance() {
    if (wants_write_) {
        const int flushed = PQflush(connection_.get());
        if (flushed < 0) {
            return std::unexpected(error(nullptr));
        }
        wants_write_ = flushed == 1;
    }
    if (PQconsumeInput(connection_.get()) != 1) {
        return std::unexpected(error(nullptr));
    }
    while (PQisBusy(connection_.get()) == 0) {
        PGresult* next = PQgetResult(connection_.get());
        if (next != nullptr) {
            pending_.reset(next);
            continue;
        }
        busy_ = false;
        const auto waiting = std::exchange(waits_, std::nullopt);
        const auto status = PQresultStatus(pending_.get());
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
            DatabaseError failure = error(pending_.get());
            pending_.reset();
            return std::unexpected(std::move(failure));
        }
        if (!waiting) {
            return std::optional<Result>(Result(pending_.release()));
        }
        pending_.reset();
        prepared_.push_back(waiting->first);
        if (const auto sent = run(std::ssize(prepared_) - 1, waiting->second); !sent) {
            return std::unexpected(sent.error());
        }
    }
    return std::optional<Result>{};
}

std::expected<Result, DatabaseError> Connection::execute(const char* sql,
                                                         const Parameters& parameters) {
    if (const auto sent = send(sql, parameters); !sent) {
        return std::unexpected(sent.error());
    }
    const auto deadline = std::chrono::steady_clock::now() + timeout_;
    for (;;) {
        auto advanced = advance();
        if (!advanced) {
            return std::unexpected(advanced.error());
        }
        if (advanced->has_value()) {
            return std::move(**advanced);
        }
        pollfd wait{.fd = socket(),
                    .events = static_cast<short>(POLLIN | (wants_write_ ? POLLOUT : 0)),
                    .revents = 0};
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(
            deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0) {
            return std::unexpected(
                DatabaseError{.connection_lost = true, .detail = "the statement timed out"});
        }
        ::poll(&wait, 1, static_cast<int>(left.count()));
    }
}

std::expected<bool, DatabaseError> Connection::take_notifications() {
    if (PQconsumeInput(connection_.get()) != 1) {
        return std::unexpected(error(nullptr));
    }
    bool any = false;
    while (PGnotify* notification = PQnotifies(connection_.get())) {
        PQfreemem(notification);
        any = true;
    }
    return any;
}

} // namespace concordat::relay
