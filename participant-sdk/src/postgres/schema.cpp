#include "participant-sdk/src/postgres/connection.hpp"
#include "participant-sdk/src/postgres/migrations.hpp"

#include <concordat/postgres.hpp>

#include <fmt/format.h>

#include <utility>

namespace concordat {

namespace {

using postgres::Connection;
using postgres::SqlError;

PostgresError error_of(const SqlError& error) {
    return {error.sqlstate, error.message};
}

std::expected<std::unique_ptr<Connection>, PostgresError> connect(const std::string& url) {
    auto connection = Connection::open({.url = url});
    if (!connection) {
        return std::unexpected(error_of(connection.error()));
    }
    return std::move(*connection);
}

int newest_version() {
    int newest = 0;
    for (const postgres::Migration& migration : postgres::migrations()) {
        newest = std::max(newest, migration.version);
    }
    return newest;
}

} // namespace

std::expected<void, PostgresError> apply_participant_schema(const std::string& url) {
    auto connection = connect(url);
    if (!connection) {
        return std::unexpected(connection.error());
    }
    // One replica migrates, the others wait for it and then find nothing left to do.
    const auto locked =
        (*connection)
            ->run("SET lock_timeout = '60s'; SET client_min_messages = warning; "
                  "SELECT pg_advisory_lock(hashtextextended('concordat schema', 0)); "
                  "CREATE TABLE IF NOT EXISTS concordat_schema_version ("
                  "version integer PRIMARY KEY, name text NOT NULL, "
                  "applied_at timestamptz NOT NULL DEFAULT now())");
    if (!locked) {
        return std::unexpected(error_of(locked.error()));
    }
    for (const postgres::Migration& migration : postgres::migrations()) {
        const auto known = (*connection)
                               ->run(fmt::format("SELECT FROM concordat_schema_version "
                                                 "WHERE version = {}",
                                                 migration.version));
        if (!known) {
            return std::unexpected(error_of(known.error()));
        }
        if (known->front().size() > 0) {
            continue;
        }
        const auto applied =
            (*connection)
                ->run(fmt::format("BEGIN; {}\n; INSERT INTO concordat_schema_version "
                                  "(version, name) VALUES ({}, {}); COMMIT",
                                  migration.sql, migration.version,
                                  postgres::quoted(migration.name)));
        if (!applied) {
            return std::unexpected(PostgresError{
                applied.error().sqlstate,
                fmt::format("migration {}: {}", migration.name, applied.error().message)});
        }
    }
    return {};
}

std::expected<void, PostgresError> check_participant_schema(const std::string& url) {
    auto connection = connect(url);
    if (!connection) {
        return std::unexpected(connection.error());
    }
    const auto version =
        (*connection)->run("SELECT coalesce(max(version), 0) FROM concordat_schema_version");
    if (!version && version.error().sqlstate != postgres::sqlstate::undefined_table) {
        return std::unexpected(error_of(version.error()));
    }
    const auto found = version ? version->front().number(0, 0) : 0;
    if (found < static_cast<std::uint64_t>(newest_version())) {
        return std::unexpected(PostgresError{
            {},
            fmt::format("the participant's tables have version {}, this library needs {}; apply "
                        "migrations/participant or call apply_participant_schema()",
                        found, newest_version())});
    }
    return {};
}

} // namespace concordat
