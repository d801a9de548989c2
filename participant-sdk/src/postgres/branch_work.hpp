#pragma once

// Runs the service's callback in a transaction that the SDK has begun and will end.

#include "participant-sdk/src/postgres/connection.hpp"

#include <concordat/postgres.hpp>

#include <functional>
#include <string>
#include <string_view>

namespace concordat::postgres {

/// The service's work on a session whose transaction is open. Throws nothing.
using BranchWork =
    std::function<VoteCast(Connection& connection, const BranchKey& key, std::string_view payload)>;

/// `work` on sessions of libpq_sessions().
[[nodiscard]] BranchWork on_libpq(PostgresWork work);

/// PostgresOptions::after_commit on a session without a transaction. Throws nothing.
using AfterCommit = std::function<void(Connection& connection)>;

/// `act`, which may be empty, on sessions of libpq_sessions().
[[nodiscard]] AfterCommit on_libpq(std::function<void(pqxx::connection_base&)> act);

/// Whatever the callback throws becomes a no with its text.
[[nodiscard]] VoteCast run_work(const PostgresWork& work, Connection& connection,
                                const BranchKey& key, std::string_view payload);
/// Both on sessions of libpq_sessions(). The text of what it threw; empty when it returned.
[[nodiscard]] std::string run_second_phase(const PostgresSecondPhase& work, Connection& connection,
                                           const BranchKey& key, std::string_view payload);

/// The reason of a no that an error of the server caused. It begins with "retryable: " when the
/// same work may succeed in a new transaction.
[[nodiscard]] std::string reason_of(std::string_view sqlstate, const std::string& text);

} // namespace concordat::postgres
