#include "participant-sdk/src/postgres/libpq_connection.hpp"
#include "participant-sdk/src/postgres/migrations.hpp"

#include <concordat/postgres.hpp>

#include <fmt/format.h>

#include <utility>

namespace concordat {

namespace {

using postgres::Connection;
using postgres::LibpqConnection;
using postgres::SqlError;

PostgresError error_of(const SqlError& error) {
    return {error.sqlstate, error.message};
}

std::expected<std::unique_ptr<Connection>, PostgresError> connect(const std::string& url) {
    auto connection = LibpqConnection::open({.url = url});
    if (!connection) {
        return std::unexpected(error_of(connection.error()));
    }
    return std::move(*connection);
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
                                  postgres::quoted_literal(migration.name)));
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
    // The tables themselves, not the record of who applied what: a service may run the files with
    // the migration tool of its own.
    const auto missing = (*connection)
                             ->run("SELECT string_agg(name, ', ') FROM unnest(ARRAY["
                                   "'concordat_outcome', 'concordat_branch', 'concordat_alarm']) "
                                   "AS name WHERE to_regclass(name) IS NULL");
    if (!missing) {
        return std::unexpected(error_of(missing.error()));
    }
    if (!missing->front().is_null(0, 0)) {
        return std::unexpected(
            PostgresError{{},
                          fmt::format("missing: {}; apply migrations/participant or call "
                                      "apply_participant_schema()",
                                      missing->front().text(0, 0))});
    }
    return {};
}

} // namespace concordat
