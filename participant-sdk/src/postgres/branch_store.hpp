#pragma once

// The SQL of the branch tables (migrations/participant/000001): what both styles of branch share.
//
// Every path that may prepare, commit in one phase or abort a branch first takes the branch's
// advisory transaction lock. A prepared transaction keeps it, so "is somebody preparing this
// branch, or has done so" is answered at once instead of by waiting for a row.
//
// Threading: stateless but for the pool; any thread. Errors: SqlError.

#include "participant-sdk/src/postgres/connection_pool.hpp"

#include <concordat/postgres.hpp>
#include <concordat/resource.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::postgres {

/// What the database says about a branch at one moment.
struct BranchFacts {
    std::optional<Outcome> outcome;
    std::string reason;
    bool is_read_only = false; ///< voted so and left: it has no outcome, and never will
    bool prepared = false;     ///< or reserved, in the reservation style
};

enum class Style : std::uint8_t { prepared_transaction, reservation };

class BranchStore {
public:
    BranchStore(const PostgresOptions& options, SessionFactory sessions, Style style);

    [[nodiscard]] std::expected<ConnectionPool::Lease, SqlError> connect() {
        return pool_.acquire();
    }

    /// `<prefix>:<xid>:<branch>`.
    [[nodiscard]] std::string gid(const BranchKey& key) const;
    [[nodiscard]] std::optional<BranchKey> key_of_gid(std::string_view gid) const;

    /// SQL: remembers context and epoch in a committed row; one result row: the highest epoch. The
    /// context is the one of that epoch: a BEGIN that was lost had another capability. The commit
    /// is not flushed by itself: every answer that relies on it flushes the WAL behind it.
    [[nodiscard]] std::string sql_remember(const PrepareOrder& order) const;
    /// The same as one statement of a transaction that is open already.
    [[nodiscard]] std::string sql_upsert(const PrepareOrder& order) const;
    /// SQL: begins the transaction of the service's work.
    [[nodiscard]] std::string sql_begin() const;
    /// SQL inside a transaction: claims the branch by writing its 'committed' row. Affects no row
    /// when the branch is finished, prepared, or being worked on elsewhere.
    [[nodiscard]] std::string sql_claim(const BranchKey& key) const;
    /// SQL expression: the branch's advisory lock is taken, or not, without waiting.
    [[nodiscard]] std::string sql_try_lock(const BranchKey& key) const;

    [[nodiscard]] std::expected<BranchFacts, SqlError> facts(Connection& connection,
                                                             const BranchKey& key) const;
    /// Writes a tombstone, waiting at most `lock_timeout` for whoever holds the branch. The facts
    /// that are true afterwards; without an outcome, the branch is still held.
    [[nodiscard]] std::expected<BranchFacts, SqlError>
    write_tombstone(Connection& connection, const BranchKey& key, std::string_view reason,
                    std::chrono::milliseconds lock_timeout) const;
    [[nodiscard]] std::expected<AcceptorState, NotDone>
    change_acceptor(const BranchKey& key, const Resource::AcceptorRule& rule);
    [[nodiscard]] std::expected<std::vector<InDoubtBranch>, NotDone>
    in_doubt(std::chrono::milliseconds min_age, std::size_t limit);
    [[nodiscard]] std::expected<std::size_t, NotDone> forget_finished();
    /// Keeps an alarm for people. Best effort: the caller reports the alarm in its answer anyway.
    void record_alarm(Connection& connection, const BranchKey& key, std::string_view kind,
                      std::string_view detail) const;
    [[nodiscard]] std::string problem();

private:
    [[nodiscard]] std::expected<AcceptorState, SqlError>
    store_acceptor(Connection& connection, const BranchKey& key, const AcceptorState& before,
                   const AcceptorState& after) const;
    [[nodiscard]] std::string sql_in_doubt(std::chrono::milliseconds min_age,
                                           std::size_t limit) const;

    const Style style_;
    const std::string prefix_;
    const std::size_t max_connections_;
    const Isolation isolation_;
    const std::chrono::hours outcome_retention_;
    ConnectionPool pool_;
};

/// "(xid, branch)" as SQL literals.
[[nodiscard]] std::string sql_key(const BranchKey& key);
/// What a row (outcome, reason) of concordat_outcome says, or that there is none.
[[nodiscard]] BranchFacts facts_of(const Rows& outcome);
/// How an error of the database is reported when nothing was, or may have been, done.
[[nodiscard]] NotDone not_done(const SqlError& error, NotDone::Kind kind);
/// Before anything was sent to the server that could last.
[[nodiscard]] inline NotDone nothing_done(const SqlError& error) {
    return not_done(error, NotDone::Kind::later);
}

[[nodiscard]] std::string encode_context(const PrepareOrder& order);
[[nodiscard]] std::optional<BranchContext> decode_context(std::string_view text);

} // namespace concordat::postgres
