#pragma once

// One PostgreSQL server, as far as a participant can tell it from a real one: sessions with
// transactions, row locks and advisory locks with time-outs and deadlocks, prepared transactions
// that keep their locks and outlive crashes, a WAL whose unflushed end a crash takes away, command
// tags and SQLSTATEs. Sources: the PostgreSQL manual (transaction isolation, two-phase commit,
// asynchronous commit), twophase.c and xact.c for the order of events in PREPARE and COMMIT.
//
// What it is not: SQL. It knows the statements of modelled_statements.hpp; any other is a
// Violation.
//
// Threading: one; statements run in fibers and wait in virtual time.

#include "participant-sdk/src/postgres/connection.hpp"
#include "tests/simulation/fiber.hpp"
#include "tests/simulation/modelled_statements.hpp"
#include "tests/simulation/trace.hpp"

#include <cstdint>
#include <deque>
#include <expected>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

namespace concordat::simulation {

struct OutcomeRow {
    std::string outcome;
    std::string reason;
    std::int64_t decided_at = 0;
};
struct BranchRow {
    struct Accepted {
        std::string round;
        std::string proposer;
        std::string value;
        bool operator==(const Accepted&) const = default;
    };
    std::int64_t epoch = 0;
    std::optional<std::string> context;
    std::string promised_round = "0";
    std::string promised_proposer = "0";
    std::optional<Accepted> accepted;
    std::int64_t created_at = 0;
};
struct AccountRow {
    std::int64_t amount = 0;
};
using Row = std::variant<OutcomeRow, BranchRow, AccountRow>;

/// A row, or a lock: 'o' (outcome), 'b' (branch) or 'a' (account) before the key, 'L' before a gid.
using RowName = std::string;
[[nodiscard]] RowName row_name(char table, const std::string& xid, const std::string& branch);

/// What the run learns of a database, at the moment at which it becomes true there.
class DatabaseObserver {
public:
    virtual ~DatabaseObserver() = default;
    /// Shall this go wrong now? It counts what it lets go wrong.
    virtual bool goes_wrong(Fault fault, unsigned permille) = 0;
    virtual void prepared(const std::string& gid) = 0;
    virtual void rolled_back(const std::string& gid) = 0;
    /// An outcome row is visible. `xid/branch`.
    virtual void decided(const std::string& branch, const std::string& outcome) = 0;
    virtual void acceptor_changed(const std::string& branch, const BranchRow& before,
                                  const BranchRow& after) = 0;
};

/// A process of the service, as its sessions see it.
struct ClientProcess {
    bool is_dead = false;
    Milliseconds paused_until = 0;
};

enum class TransactionIsolation : std::uint8_t { read_committed, repeatable_read, serializable };

class ModelledPostgres {
public:
    struct Transaction {
        std::uint64_t number = 0;
        TransactionIsolation isolation = TransactionIsolation::read_committed;
        std::optional<std::uint64_t> snapshot; ///< repeatable read and above, from its first use
        bool is_implicit = false;              ///< of a round trip without a BEGIN
        bool has_failed = false;
        bool is_synchronous = true;
        Milliseconds lock_timeout = 0;
        std::map<RowName, std::optional<Row>> writes; ///< nothing: deleted
        std::vector<std::string> locks;
    };

    /// The server's side of a session.
    struct Backend {
        std::shared_ptr<ClientProcess> client;
        std::shared_ptr<Transaction> transaction;
        bool is_synchronous = true;
        bool is_running = false;     ///< a round trip
        bool is_killed = false;      ///< answers nothing any more
        bool has_client = true;      ///< without one it ends its round trip and then itself
        bool is_flushing = false;    ///< past the point at which it could be stopped
        std::uint64_t waits_for = 0; ///< number of a transaction
        std::optional<Fibers::Ticket> waiting;
    };
    using BackendPtr = std::shared_ptr<Backend>;

    ModelledPostgres(Timeline& timeline, Fibers& fibers, DatabaseObserver& observer)
        : timeline_(timeline), fibers_(fibers), observer_(observer) {}

    // For sessions.

    /// Nothing when the server is down.
    [[nodiscard]] BackendPtr connect(std::shared_ptr<ClientProcess> client);
    /// One round trip. Nothing: the backend is gone, what it did is unknown to the client.
    [[nodiscard]] std::optional<postgres::SqlResult> round_trip(Backend& backend,
                                                                const std::string& text);
    /// The client is gone. The backend notices when it next reads from it.
    void hang_up(const BackendPtr& backend);
    /// All sessions of a process that is gone.
    void hang_up(const ClientProcess& client);

    // Faults.

    /// kill -9 of the server: every session breaks, the unflushed end of the WAL may be lost.
    void crash();
    void start() { is_up_ = true; }
    [[nodiscard]] bool is_up() const noexcept { return is_up_; }
    /// Ends a session of the server's choice; false when there is none.
    bool kill_a_backend();
    void set_room_for_prepared(std::size_t most) { most_prepared_ = most; }
    void jump_clock(std::int64_t milliseconds) { clock_offset_ += milliseconds; }
    /// Breaks what a database never breaks: prepared transactions vanish.
    void forget_prepared();
    /// The same: the effect of a committed branch is applied once more.
    void apply_again(const std::string& xid);

    // For the observer of the run.

    [[nodiscard]] std::int64_t balance() const;
    [[nodiscard]] std::vector<std::string> prepared_gids() const;
    /// No transaction is open, and nobody but prepared transactions holds a lock.
    [[nodiscard]] bool is_quiet() const;

private:
    struct Version {
        std::optional<Row> row;
        std::uint64_t changed_at = 0;
    };
    struct Lock {
        std::uint64_t owner = 0; ///< number of a transaction
        std::vector<Fibers::Ticket> waiters;
    };
    struct Prepared {
        std::shared_ptr<Transaction> transaction;
        std::int64_t prepared_at = 0;
        bool is_busy = false;
    };
    struct WalRecord {
        enum class Kind : std::uint8_t { commit, prepare, commit_prepared, rollback_prepared };
        Kind kind = Kind::commit;
        std::shared_ptr<Transaction> transaction;
        std::string gid;
        Milliseconds written_at = 0;
        bool is_flushed = false;
        bool is_applied = false;
        bool is_settled = false; ///< by a crash, which either applied it or lost it
        std::vector<std::pair<RowName, Version>> before; ///< when it is applied
    };
    using WalRecordPtr = std::shared_ptr<WalRecord>;
    using Failed = std::unexpected<postgres::SqlError>;
    using OneResult = std::expected<postgres::Rows, postgres::SqlError>;

    // Statements (modelled_execution.cpp).
    [[nodiscard]] OneResult execute(Backend& backend, const Statement& statement);
    [[nodiscard]] OneResult execute_ending(Backend& backend, const Statement& statement);
    [[nodiscard]] OneResult execute_branch(Backend& backend, const Statement& statement);
    [[nodiscard]] OneResult execute_outcome(Backend& backend, const Statement& statement);
    [[nodiscard]] OneResult upsert_branch(Backend& backend, const Statement& statement);
    [[nodiscard]] OneResult read_acceptor(Backend& backend, const Statement& statement);
    [[nodiscard]] OneResult update_acceptor(Backend& backend, const Statement& statement);
    enum class OnConflict : std::uint8_t { nothing, error };
    [[nodiscard]] OneResult insert(Backend& backend, const RowName& name, Row row,
                                   OnConflict on_conflict);
    [[nodiscard]] OneResult change_outcome(Backend& backend, const RowName& name, bool keep);
    [[nodiscard]] OneResult read_outcome(const Backend& backend, const Statement& statement) const;
    [[nodiscard]] OneResult list_prepared(const Statement& statement) const;
    [[nodiscard]] OneResult forget(Backend& backend, const Statement& statement);
    [[nodiscard]] OneResult book(Backend& backend, const Statement& statement);

    // Transactions (modelled_postgres.cpp).
    void begin(Backend& backend, TransactionIsolation isolation, bool is_implicit);
    [[nodiscard]] OneResult commit(Backend& backend);
    [[nodiscard]] OneResult prepare(Backend& backend, const std::string& gid);
    [[nodiscard]] OneResult finish_prepared(Backend& backend, const std::string& gid, bool commit);
    void roll_back(Backend& backend);
    /// Takes a lock of the backend's transaction, waiting for it.
    [[nodiscard]] std::optional<postgres::SqlError> acquire(Backend& backend,
                                                            const std::string& name);
    [[nodiscard]] bool try_acquire(Transaction& transaction, const std::string& name);
    void release_locks(const Transaction& transaction);
    /// Would the backend wait for itself if it waited on for that lock?
    [[nodiscard]] bool is_deadlocked(const Backend& backend, const std::string& name) const;
    /// A row as the transaction sees it; null: there is none.
    [[nodiscard]] const Row* visible(const Transaction& transaction, const RowName& name) const;
    [[nodiscard]] bool changed_since_snapshot(const Transaction& transaction,
                                              const RowName& name) const;
    /// False: the server crashed meanwhile, and what became of the record was decided there.
    [[nodiscard]] bool flush(Backend& backend, const WalRecordPtr& record);
    void apply(WalRecord& record);
    void apply_writes(WalRecord& record);
    void undo(WalRecord& record);
    void drop_flushed();
    /// The backend ends: without its transaction, without an answer.
    void end(Backend& backend);
    [[nodiscard]] std::int64_t clock() const;
    /// Waits; false when the backend is to end.
    bool pass(Backend& backend, Milliseconds duration);

    Timeline& timeline_;
    Fibers& fibers_;
    DatabaseObserver& observer_;
    bool is_up_ = true;
    std::uint64_t last_transaction_ = 0;
    std::uint64_t last_change_ = 0;
    std::map<RowName, Version> rows_;
    std::map<std::string, Lock> locks_;
    std::map<std::string, Prepared> prepared_;
    std::set<std::string> preparing_;
    std::deque<WalRecordPtr> wal_; ///< what is not flushed, or not applied yet
    std::vector<BackendPtr> backends_;
    std::size_t most_prepared_ = 1000;
    std::int64_t clock_offset_ = 0;
};

/// Sessions of one process: the SDK's view of the server.
[[nodiscard]] postgres::SessionFactory modelled_sessions(ModelledPostgres& database, Fibers& fibers,
                                                         Timeline& timeline,
                                                         DatabaseObserver& observer,
                                                         std::shared_ptr<ClientProcess> process);

} // namespace concordat::simulation
