#include "participant-sdk/src/postgres/libpq_connection.hpp"

#include "participant-sdk/src/postgres/durable_commits.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <cerrno>
#include <utility>

namespace concordat::postgres {

namespace {

// Beyond the server's statement time-out: it answers by itself unless it hangs as a whole.
constexpr std::chrono::milliseconds answer_margin{5000};

// Connection parameters that the URL may override.
std::string with_defaults(const ConnectionSettings& settings) {
    const auto seconds = std::max<std::int64_t>(
        2, std::chrono::ceil<std::chrono::seconds>(settings.connect_timeout).count());
    const std::string defaults =
        fmt::format("connect_timeout={} tcp_user_timeout={} keepalives_idle=10", seconds,
                    (settings.statement_timeout + answer_margin).count());
    if (settings.url.starts_with("postgresql://") || settings.url.starts_with("postgres://")) {
        const char join = settings.url.find('?') == std::string::npos ? '?' : '&';
        std::string query = defaults;
        for (char& c : query) {
            c = c == ' ' ? '&' : c;
        }
        return settings.url + join + query;
    }
    return defaults + ' ' + settings.url;
}

#if PQXX_VERSION_MAJOR < 7
// libpqxx 6 hides the PGconn; the policy that makes it may keep a copy.
class RememberingPolicy : public pqxx::connect_direct {
public:
    using pqxx::connect_direct::connect_direct;
    handle do_startconnect(handle original) override {
        raw = pqxx::connect_direct::do_startconnect(original);
        return raw;
    }
    handle raw = nullptr;
};

class PolicyHolder {
public:
    explicit PolicyHolder(const std::string& options) : policy(options) {}
    RememberingPolicy policy;
};

class PqxxConnection final : private PolicyHolder, public pqxx::connection_base {
public:
    explicit PqxxConnection(const std::string& options)
        : PolicyHolder(options), pqxx::connection_base(policy) {
        init();
    }
    PqxxConnection(const PqxxConnection&) = delete;
    PqxxConnection& operator=(const PqxxConnection&) = delete;
    ~PqxxConnection() { close(); }
    [[nodiscard]] PGconn* raw() const { return policy.raw; }

    // A connection that comes back by itself would run the rest of a branch's work outside its
    // transaction, committing every statement at once.
    void stay_broken_when_broken() {
#    pragma GCC diagnostic push
#    pragma GCC diagnostic ignored "-Wdeprecated-declarations"
        inhibit_reactivation(true);
#    pragma GCC diagnostic pop
    }
};
#endif

} // namespace

struct LibpqConnection::Handles {
#if PQXX_VERSION_MAJOR < 7
    explicit Handles(const std::string& options) : connection(options) {
        connection.stay_broken_when_broken();
        raw = connection.raw();
    }
    PqxxConnection connection;
#else
    explicit Handles(const std::string& options)
        : raw(PQconnectdb(options.c_str())),
          connection(pqxx::connection::seize_raw_connection(raw)) {}
#endif
    PGconn* raw = nullptr;
#if PQXX_VERSION_MAJOR >= 7
    pqxx::connection connection;
#endif
};

LibpqConnection::LibpqConnection(std::unique_ptr<Handles> handles,
                                 std::chrono::milliseconds answer_timeout)
    : handles_(std::move(handles)), answer_timeout_(answer_timeout) {}

LibpqConnection::~LibpqConnection() = default;

std::expected<std::unique_ptr<LibpqConnection>, SqlError>
LibpqConnection::open(const ConnectionSettings& settings) {
    std::unique_ptr<LibpqConnection> connection;
    try {
        connection.reset(new LibpqConnection(std::make_unique<Handles>(with_defaults(settings)),
                                             settings.statement_timeout + answer_margin));
    } catch (const std::exception& error) {
        return std::unexpected(SqlError{{}, error.what(), true});
    }
    PQsetNoticeProcessor(connection->handles_->raw, [](void*, const char*) {}, nullptr);
    const auto prepared = connection->run(fmt::format(
        "SET lock_timeout = {}; SET statement_timeout = {}; SET standard_conforming_strings = on; "
        "SET client_encoding = 'UTF8'; "
        "SET default_transaction_isolation = 'read committed'; {}",
        settings.lock_timeout.count(), settings.statement_timeout.count(), sql_durable_commits));
    if (!prepared) {
        return std::unexpected(prepared.error());
    }
    return connection;
}

bool LibpqConnection::is_usable() const {
    return !lost_ && PQstatus(handles_->raw) == CONNECTION_OK;
}

pqxx::connection_base& LibpqConnection::pqxx_connection() {
    return handles_->connection;
}

SqlError LibpqConnection::lost(std::string message) {
    lost_ = true;
    if (message.empty()) {
        message = PQerrorMessage(handles_->raw);
    }
    return {.sqlstate = {}, .message = std::move(message), .connection_lost = true};
}

bool LibpqConnection::wait_readable(std::chrono::steady_clock::time_point deadline) const {
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(
            deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0) {
            return false;
        }
        pollfd socket{.fd = PQsocket(handles_->raw), .events = POLLIN, .revents = 0};
        const int ready = ::poll(&socket, 1, static_cast<int>(left.count()));
        if (ready > 0 || (ready < 0 && errno != EINTR)) {
            return true; // an error shows when the input is consumed
        }
    }
}

SqlResult LibpqConnection::run(const std::string& statements) {
    PGconn* const raw = handles_->raw;
    if (lost_ || PQsendQuery(raw, statements.c_str()) == 0) {
        return std::unexpected(lost(lost_ ? "the connection is lost" : std::string{}));
    }
    const auto deadline = std::chrono::steady_clock::now() + answer_timeout_;
    std::vector<Rows> results;
    std::optional<SqlError> failure;
    for (;;) {
        while (PQisBusy(raw) != 0) {
            if (!wait_readable(deadline)) {
                return std::unexpected(lost("the server does not answer"));
            }
            if (PQconsumeInput(raw) == 0) {
                return std::unexpected(lost({}));
            }
        }
        PGresult* const result = PQgetResult(raw);
        if (result == nullptr) {
            break;
        }
        Rows rows(result);
        const ExecStatusType status = PQresultStatus(result);
        if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
            results.push_back(std::move(rows));
        } else if (!failure) {
            const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
            failure = SqlError{state != nullptr ? state : "", PQresultErrorMessage(result), false};
        }
    }
    if (PQstatus(raw) != CONNECTION_OK) {
        return std::unexpected(lost(failure ? failure->message : std::string{}));
    }
    if (failure) {
        return std::unexpected(*failure);
    }
    return results;
}

bool LibpqConnection::reset() {
    if (!is_usable()) {
        return false;
    }
    if (PQtransactionStatus(handles_->raw) == PQTRANS_IDLE) {
        return true;
    }
    return run("ROLLBACK").has_value();
}

SessionFactory libpq_sessions(ConnectionSettings settings) {
    return
        [settings = std::move(settings)]() -> std::expected<std::unique_ptr<Connection>, SqlError> {
            return LibpqConnection::open(settings);
        };
}

} // namespace concordat::postgres
