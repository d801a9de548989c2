// `concordat inbox status`: what consumers remember. An inbox has no server of its own, and its
// database is usually not the one that a relay serves, so it is read where it is.

#include "coordinator/cli/commands.hpp"
#include "coordinator/cli/documents.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <pqxx/pqxx>

#include <algorithm>
#include <cstdlib>
#include <memory>

namespace concordat::cli {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t counting_limit = 100'000;

// One document. Consumers are found by skipping from one key to the next, and counting stops at the
// limit per consumer and day: an inbox may hold hundreds of millions of ids.
constexpr const char* sql_status = R"(
WITH RECURSIVE seen AS (
    (SELECT day, consumer FROM concordat_inbox ORDER BY day, consumer LIMIT 1)
    UNION ALL
    SELECT n.day, n.consumer FROM seen s CROSS JOIN LATERAL (
        SELECT i.day, i.consumer FROM concordat_inbox i
         WHERE (i.day, i.consumer) > (s.day, s.consumer) ORDER BY i.day, i.consumer LIMIT 1) n),
counted AS (
    SELECT s.consumer, s.day, (SELECT count(*) FROM (
        SELECT FROM concordat_inbox i WHERE i.day = s.day AND i.consumer = s.consumer LIMIT 100000) l) AS ids
      FROM seen s),
consumers AS (
    SELECT consumer, sum(ids) AS ids,
           min(day) FILTER (WHERE day > '1970-01-01') AS first_day,
           max(day) FILTER (WHERE day > '1970-01-01') AS last_day,
           coalesce(sum(ids) FILTER (WHERE day = (now() AT TIME ZONE 'UTC')::date), 0) AS ids_today,
           coalesce(sum(ids) FILTER (WHERE day = '1970-01-01'), 0) AS ids_without_time,
           bool_or(ids >= 100000) AS more
      FROM counted GROUP BY consumer),
days AS (
    SELECT to_date(right(c.relname, 8), 'YYYYMMDD') AS day
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'concordat_inbox'::regclass AND c.relname ~ '^concordat_inbox_[0-9]{8}$')
SELECT json_build_object(
    'consumers', coalesce((SELECT json_agg(row_to_json(c) ORDER BY c.consumer) FROM consumers c), '[]'),
    'partitions', (SELECT count(*) FROM days),
    'oldest_partition', (SELECT min(day) FROM days),
    'newest_partition', (SELECT max(day) FROM days),
    'has_partition_of_tomorrow', EXISTS (SELECT FROM days WHERE day = (now() AT TIME ZONE 'UTC')::date + 1),
    'ids_in_default_partition', (SELECT count(*) FROM (SELECT FROM concordat_inbox_default LIMIT 100000) d),
    'bytes', (SELECT coalesce(sum(pg_total_relation_size(i.inhrelid)), 0) FROM pg_inherits i
               WHERE i.inhparent = 'concordat_inbox'::regclass))::text)";

/// A member as a cell of a table; empty when it is null.
std::string cell(const Json& object, const char* name) {
    const Json& value = object.at(name);
    if (value.is_null()) {
        return {};
    }
    return value.is_string() ? value.get<std::string>() : value.dump();
}

void print_status(const Json& status) {
    std::vector<Row> rows{{"CONSUMER", "IDS", "OF TODAY", "FIRST DAY", "LAST DAY", "WITHOUT TIME"}};
    for (const Json& item : status.at("consumers")) {
        rows.push_back({cell(item, "consumer"),
                        cell(item, "ids") + (item.at("more").get<bool>() ? " or more" : ""),
                        cell(item, "ids_today"), cell(item, "first_day"), cell(item, "last_day"),
                        cell(item, "ids_without_time")});
    }
    fmt::print("{}\n", format_table(rows));
    fmt::print("{:<20} {} days, {} to {}\n", "partitions", cell(status, "partitions"),
               cell(status, "oldest_partition"), cell(status, "newest_partition"));
    const auto apart = status.at("ids_in_default_partition").get<std::int64_t>();
    fmt::print("{:<20} {}{}\n", "in the default one", apart,
               apart >= counting_limit ? " or more" : "");
    fmt::print("{:<20} {:.1f} MiB\n", "size",
               static_cast<double>(status.at("bytes").get<std::int64_t>()) / (1 << 20));
    if (!status.at("has_partition_of_tomorrow").get<bool>()) {
        fmt::print("\nThere is no partition for tomorrow: nobody maintains the inbox. Ids then go "
                   "to the default\npartition and stay. Run SELECT concordat_inbox_maintain() "
                   "daily.\n");
    }
}

ExitCode read_status(pqxx::connection& connection, const Settings& settings) {
    pqxx::read_transaction transaction(connection);
    const auto milliseconds = static_cast<std::int64_t>(settings.timeout_seconds * 1000);
    transaction.exec(fmt::format("SET LOCAL statement_timeout = {}", milliseconds));
    const auto there = transaction.exec("SELECT to_regclass('concordat_inbox') IS NOT NULL");
    if (!there.at(0).at(0).as<bool>()) {
        fmt::print(stderr, "concordat: there is no table concordat_inbox in this database; see "
                           "migrations/participant\n");
        return ExitCode::not_found;
    }
    const auto text = transaction.exec(sql_status).at(0).at(0).as<std::string>();
    if (settings.json) {
        fmt::print("{}\n", text);
    } else {
        print_status(Json::parse(text));
    }
    return ExitCode::ok;
}

ExitCode show_status(const std::string& database, const Settings& settings) {
    if (settings.curl) {
        fmt::print(stderr, "concordat: an inbox is read in its database, not by HTTP\n");
        return ExitCode::usage;
    }
    ::setenv("PGCONNECT_TIMEOUT", "5", 0);
    ::setenv("PGAPPNAME", "concordat", 0);
    std::unique_ptr<pqxx::connection> connection;
    try {
        connection = std::make_unique<pqxx::connection>(database);
    } catch (const std::exception& error) {
        fmt::print(stderr, "concordat: {}\n", error.what());
        return ExitCode::unreachable;
    }
    try {
        return read_status(*connection, settings);
    } catch (const std::exception& error) {
        fmt::print(stderr, "concordat: {}\n", error.what());
        return ExitCode::unhealthy;
    }
}

} // namespace

void add_inbox_commands(CommandLine& line) {
    CLI::App& group = *line.parser.add_subcommand("inbox", "The inbox of one database");
    group.require_subcommand(1);
    auto database = std::make_shared<std::string>();
    CLI::App& command =
        *group.add_subcommand("status", "Show what each consumer remembers, and the partitions");
    command
        .add_option("--database", *database,
                    "libpq connection string; passwords belong into PGPASSFILE")
        ->envname("CONCORDAT_DATABASE")
        ->required();
    command.callback([&line, database] {
        line.action = [database](Session& session) {
            return show_status(*database, session.settings());
        };
    });
}

} // namespace concordat::cli
