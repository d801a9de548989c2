#pragma once

// What the example services have in common: options, schema, the participant and its HTTP server,
// registration at the coordinator, and an orderly end on SIGTERM.

#include <concordat/client.hpp>
#include <concordat/http_message.hpp>
#include <concordat/postgres.hpp>

#include <nlohmann/json.hpp>
#include <pqxx/pqxx>

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace example {

using Json = nlohmann::json;

struct Options {
    std::string listen = "127.0.0.1:0"; ///< port 0: chosen by the system and printed
    std::string database;               ///< libpq URL
    std::vector<std::string> coordinators;
    std::string name;      ///< under which the service is registered
    std::string advertise; ///< base URL for the coordinator and peers; default: the listener's
    bool register_self = true;
    std::string token_file; ///< bearer token for the coordinator
    std::size_t workers = 8;
    std::chrono::milliseconds recovery_interval{1000};
    std::chrono::milliseconds recovery_grace{5000};
};

/// Reads flags, then the environment (SERVICE_LISTEN, SERVICE_DATABASE, SERVICE_COORDINATORS, …).
/// Ends the process after --help and after an error. `more` may add options of the service's own.
void read_options(int argc, char** argv, const std::string& description, Options& options,
                  std::vector<std::pair<std::string, std::string*>> more = {});

/// One request of the service's own API. Exceptions become a 500.
using Route = std::function<concordat::HttpResponse(const concordat::HttpRequest&)>;

struct Service {
    std::string schema;           ///< SQL that creates the business tables if they are missing
    concordat::PostgresWork work; ///< the service's share of a transaction
    Route route;
    std::function<void(pqxx::connection_base&)> after_commit{}; ///< see concordat::PostgresOptions
};

/// Runs until SIGTERM or SIGINT; returns the process's exit status.
int run(const Options& options, const Service& service);

[[nodiscard]] concordat::ClientOptions client_options(const Options& options);

/// Runs `action` in a local transaction on a connection of this thread.
template <class Action>
auto in_database(const std::string& url, const Action& action) {
    thread_local std::unique_ptr<pqxx::connection> connection;
    if (!connection || !connection->is_open()) {
        connection = std::make_unique<pqxx::connection>(url);
    }
    try {
        pqxx::work transaction(*connection);
        auto result = action(transaction);
        transaction.commit();
        return result;
    } catch (const pqxx::broken_connection&) {
        connection.reset(); // the next request makes a new one
        throw;
    }
}

[[nodiscard]] concordat::HttpResponse answer(int status, const Json& body);
/// The rest of `target` after `prefix`, without a query: "/stock/apple" → "apple".
[[nodiscard]] std::string after(std::string_view target, std::string_view prefix);

} // namespace example
