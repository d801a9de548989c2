#pragma once

// Branches on PostgreSQL (12 or newer), with the service's own SQL.
//
// PostgresResource runs the service's work inside a transaction and ends it with PREPARE
// TRANSACTION. The row (xid, branch, 'committed') of concordat_outcome is written inside that
// transaction, so it exists exactly when the branch committed; an abort or a no leaves the same key
// as 'aborted', a tombstone that a late prepare runs into. So a branch has three states without one
// more write: prepared (pg_prepared_xacts), committed, aborted. Needs max_prepared_transactions >
// 0.
//
// ReservationResource is for databases without prepared transactions: prepare reserves, commit
// confirms, abort releases, each in a local transaction that is guarded by the same tables.
//
// Durability: a vote, an acknowledgement or a promise is returned after the WAL that holds it is
// flushed (synchronous_commit is switched on for them whatever the role's default). A fail-over to
// an asynchronous standby loses prepared branches and cannot be hidden: use a synchronous standby.
// Threading: see Resource; a call holds one connection of the pool while it runs.

#include <concordat/identifiers.hpp>
#include <concordat/resource.hpp>

#include <pqxx/pqxx>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace concordat {

enum class Isolation : std::uint8_t { read_committed, repeatable_read, serializable };

struct PostgresOptions {
    std::string url; ///< libpq connection string or URL
    /// Of this pool. Twice the participant's workers and two more serve all its threads at once.
    std::size_t max_connections = 18;
    std::chrono::milliseconds connect_timeout{5000};
    std::chrono::milliseconds acquire_timeout{5000}; ///< waiting for a free connection
    std::chrono::milliseconds lock_timeout{5000};    ///< of the service's statements in prepare
    std::chrono::milliseconds statement_timeout{30000};
    Isolation isolation = Isolation::read_committed; ///< of the service's work
    /// `[A-Za-z0-9_-]{1,32}`, first part of the global ids `<prefix>:<xid>:<branch>`; recovery
    /// looks only at its own.
    std::string gid_prefix = "concordat";
    /// How long outcome rows are kept. A prepare that is delayed longer would not find its
    /// tombstone; zero keeps them for ever.
    std::chrono::hours outcome_retention{24 * 30};
    /// Called after a branch has committed, on its connection, which has no transaction then, and
    /// before the commit is acknowledged: keep it short. Best effort: not called when the answer of
    /// the database was lost; what it throws is ignored. For services with an outbox:
    /// `concordat::outbox::wake`, so that an idle relay does not sleep on.
    std::function<void(pqxx::connection_base&)> after_commit;
};

struct PostgresError {
    std::string sqlstate; ///< empty when it did not come from the server
    std::string detail;
};

/// A branch while the service's work runs.
class PostgresBranch {
public:
    PostgresBranch(const BranchKey& key, std::string_view payload,
                   pqxx::transaction_base& transaction)
        : key_(key), payload_(payload), transaction_(transaction) {}
    [[nodiscard]] const BranchKey& key() const noexcept { return key_; }
    /// JSON text as the client sent it; valid during the call.
    [[nodiscard]] std::string_view payload() const noexcept { return payload_; }
    /// Where the service's SQL runs. It must not be committed, aborted or kept: the SDK ends it.
    [[nodiscard]] pqxx::transaction_base& transaction() const noexcept { return transaction_; }

private:
    const BranchKey& key_;
    std::string_view payload_;
    pqxx::transaction_base& transaction_;
};

[[nodiscard]] inline VoteCast vote_yes() {
    return {Vote::yes, {}};
}
[[nodiscard]] inline VoteCast vote_no(std::string reason) {
    return {Vote::no, std::move(reason)};
}
/// Nothing was changed; the branch needs no second phase.
[[nodiscard]] inline VoteCast vote_read_only() {
    return {Vote::read_only, {}};
}

/// The service's work. Anything it throws is a no with the exception's text as its reason, and
/// nothing of its SQL remains. A deadlock or serialization failure is a no that the client may
/// repeat as a new transaction.
using PostgresWork = std::function<VoteCast(PostgresBranch&)>;
/// Second phase of the reservation style. What it throws is retried with the next delivery.
using PostgresSecondPhase = std::function<void(PostgresBranch&)>;

/// Creates or upgrades the tables concordat_… of the current schema with the SDK's own migrations
/// (the files of migrations/participant). Idempotent, safe from several replicas at once. Not for a
/// database to which the files are applied by another tool.
[[nodiscard]] std::expected<void, PostgresError> apply_participant_schema(const std::string& url);
/// An error when the tables are missing, whoever was to make them.
[[nodiscard]] std::expected<void, PostgresError> check_participant_schema(const std::string& url);

class PostgresResource final : public Resource {
public:
    /// Connects once to check the schema and the server's settings; an error leaves nothing behind.
    [[nodiscard]] static std::expected<std::shared_ptr<PostgresResource>, PostgresError>
    open(PostgresOptions options, PostgresWork work);
    ~PostgresResource() override;

    std::expected<VoteCast, NotDone> prepare(const PrepareOrder& order) override;
    std::expected<void, NotDone> commit(const BranchKey& key) override;
    std::expected<void, NotDone> abort(const BranchKey& key) override;
    std::expected<OnePhaseResult, NotDone> commit_one_phase(const PrepareOrder& order) override;
    std::expected<AcceptorState, NotDone> change_acceptor(const BranchKey& key,
                                                          const AcceptorRule& rule) override;
    std::expected<std::vector<InDoubtBranch>, NotDone> in_doubt(std::chrono::milliseconds min_age,
                                                                std::size_t limit) override;
    std::expected<std::size_t, NotDone> forget_finished() override;
    std::string problem() override;

private:
    class Impl;
    explicit PostgresResource(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

struct ReservationWork {
    PostgresWork reserve;        ///< prepare
    PostgresSecondPhase confirm; ///< commit
    PostgresSecondPhase release; ///< abort of a reserved branch
};

class ReservationResource final : public Resource {
public:
    [[nodiscard]] static std::expected<std::shared_ptr<ReservationResource>, PostgresError>
    open(PostgresOptions options, ReservationWork work);
    ~ReservationResource() override;

    std::expected<VoteCast, NotDone> prepare(const PrepareOrder& order) override;
    std::expected<void, NotDone> commit(const BranchKey& key) override;
    std::expected<void, NotDone> abort(const BranchKey& key) override;
    std::expected<OnePhaseResult, NotDone> commit_one_phase(const PrepareOrder& order) override;
    std::expected<AcceptorState, NotDone> change_acceptor(const BranchKey& key,
                                                          const AcceptorRule& rule) override;
    std::expected<std::vector<InDoubtBranch>, NotDone> in_doubt(std::chrono::milliseconds min_age,
                                                                std::size_t limit) override;
    std::expected<std::size_t, NotDone> forget_finished() override;
    std::string problem() override;

private:
    class Impl;
    explicit ReservationResource(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

} // namespace concordat
