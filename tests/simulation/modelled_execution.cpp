// What each statement does, and what the server answers.

#include "tests/simulation/modelled_postgres.hpp"

#include <algorithm>
#include <utility>

namespace concordat::simulation {
namespace {

using postgres::Rows;
using postgres::SqlError;
using Cell = Rows::Cell;

constexpr std::int64_t day = 86'400'000;

std::unexpected<SqlError> failed(std::string_view state, std::string message) {
    return std::unexpected(SqlError{std::string(state), std::move(message), false});
}

std::unexpected<SqlError> not_serializable() {
    return failed(postgres::sqlstate::serialization_failure,
                  "could not serialize access due to concurrent update");
}

Rows tagged(std::string tag) {
    return {{}, std::move(tag)};
}

Rows one_row(std::vector<Cell> cells, std::string tag = "SELECT 1") {
    Rows::Table table;
    table.push_back(std::move(cells));
    return {std::move(table), std::move(tag)};
}

Rows truth(bool value) {
    return one_row({value ? "t" : "f"});
}

} // namespace

ModelledPostgres::OneResult ModelledPostgres::execute(Backend& backend,
                                                      const Statement& statement) {
    switch (statement.shape) {
    case Shape::begin:
    case Shape::begin_repeatable_read:
    case Shape::begin_serializable:
    case Shape::commit:
    case Shape::rollback:
    case Shape::prepare_transaction:
    case Shape::commit_prepared:
    case Shape::rollback_prepared:
    case Shape::set_asynchronous:
        return execute_ending(backend, statement);
    default:
        break;
    }
    if (!backend.transaction) {
        begin(backend, TransactionIsolation::read_committed, true);
    }
    Transaction& transaction = *backend.transaction;
    if (transaction.has_failed) {
        return failed("25P02", "current transaction is aborted, commands ignored until end of "
                               "transaction block");
    }
    if (transaction.isolation != TransactionIsolation::read_committed && !transaction.snapshot) {
        transaction.snapshot = last_change_;
    }
    return execute_branch(backend, statement);
}

ModelledPostgres::OneResult ModelledPostgres::execute_ending(Backend& backend,
                                                             const Statement& statement) {
    switch (statement.shape) {
    case Shape::begin:
        begin(backend, TransactionIsolation::read_committed, false);
        return tagged("BEGIN");
    case Shape::begin_repeatable_read:
        begin(backend, TransactionIsolation::repeatable_read, false);
        return tagged("BEGIN");
    case Shape::begin_serializable:
        begin(backend, TransactionIsolation::serializable, false);
        return tagged("BEGIN");
    case Shape::commit:
        return commit(backend);
    case Shape::prepare_transaction:
        return prepare(backend, statement.text(0));
    case Shape::commit_prepared:
    case Shape::rollback_prepared:
        return finish_prepared(backend, statement.text(0),
                               statement.shape == Shape::commit_prepared);
    case Shape::set_asynchronous:
        backend.is_synchronous = false;
        if (backend.transaction) {
            backend.transaction->is_synchronous = false;
        }
        return tagged("SET");
    default:
        roll_back(backend);
        return tagged("ROLLBACK");
    }
}

ModelledPostgres::OneResult ModelledPostgres::execute_branch(Backend& backend,
                                                             const Statement& statement) {
    Transaction& transaction = *backend.transaction;
    switch (statement.shape) {
    case Shape::set_local_asynchronous:
        transaction.is_synchronous = false;
        return tagged("SET");
    case Shape::set_local_lock_timeout:
        transaction.lock_timeout = static_cast<Milliseconds>(statement.number(0));
        return tagged("SET");
    case Shape::lock_branch:
        if (auto error = acquire(backend, 'L' + statement.text(0))) {
            return std::unexpected(std::move(*error));
        }
        return one_row({""});
    case Shape::try_lock_branch:
        return truth(try_acquire(transaction, 'L' + statement.text(0)));
    case Shape::upsert_branch:
    case Shape::upsert_branch_once:
        return upsert_branch(backend, statement);
    case Shape::insert_branch: {
        BranchRow row;
        row.created_at = clock();
        return insert(backend, row_name('b', statement.text(0), statement.text(1)), row,
                      OnConflict::nothing);
    }
    case Shape::read_acceptor:
        return read_acceptor(backend, statement);
    case Shape::update_acceptor:
    case Shape::update_acceptor_unset:
        return update_acceptor(backend, statement);
    case Shape::is_prepared: {
        return truth(prepared_.contains(statement.text(0)));
    }
    case Shape::list_prepared:
        return list_prepared(statement);
    case Shape::forget_branches:
    case Shape::forget_outcomes:
        return forget(backend, statement);
    case Shape::record_alarm:
        return tagged("INSERT 0 1"); // nobody reads it here
    case Shape::book:
        return book(backend, statement);
    default:
        return execute_outcome(backend, statement);
    }
}

ModelledPostgres::OneResult ModelledPostgres::execute_outcome(Backend& backend,
                                                              const Statement& statement) {
    const RowName name = row_name('o', statement.text(0), statement.text(1));
    switch (statement.shape) {
    case Shape::claim:
        if (!try_acquire(*backend.transaction, 'L' + statement.text(2))) {
            return tagged("INSERT 0 0");
        }
        [[fallthrough]];
    case Shape::claim_unlocked:
        return insert(backend, name, OutcomeRow{"committed", {}, clock()}, OnConflict::nothing);
    case Shape::insert_tombstone:
        return insert(backend, name, OutcomeRow{"aborted", statement.text(2), clock()},
                      OnConflict::nothing);
    case Shape::insert_refusal:
        return insert(backend, name, OutcomeRow{"aborted", statement.text(2), clock()},
                      OnConflict::error);
    case Shape::delete_outcome:
    case Shape::keep_read_only:
        return change_outcome(backend, name, statement.shape == Shape::keep_read_only);
    default:
        return read_outcome(backend, statement);
    }
}

// ON CONFLICT waits for a transaction that is inserting the same key, and for nobody else.
ModelledPostgres::OneResult ModelledPostgres::insert(Backend& backend, const RowName& name, Row row,
                                                     OnConflict on_conflict) {
    Transaction& transaction = *backend.transaction;
    for (const bool is_locked : {false, true}) {
        if (is_locked) {
            if (auto error = acquire(backend, name)) {
                return std::unexpected(std::move(*error));
            }
        }
        if (visible(transaction, name) == nullptr) {
            continue;
        }
        if (on_conflict == OnConflict::error) {
            return failed("23505", "duplicate key value violates unique constraint");
        }
        if (changed_since_snapshot(transaction, name)) {
            return not_serializable();
        }
        return tagged("INSERT 0 0");
    }
    transaction.writes[name] = std::move(row);
    return tagged("INSERT 0 1");
}

ModelledPostgres::OneResult ModelledPostgres::change_outcome(Backend& backend, const RowName& name,
                                                             bool keep) {
    const std::string command = keep ? "UPDATE " : "DELETE ";
    Transaction& transaction = *backend.transaction;
    if (visible(transaction, name) == nullptr) {
        return tagged(command + '0');
    }
    if (auto error = acquire(backend, name)) {
        return std::unexpected(std::move(*error));
    }
    if (changed_since_snapshot(transaction, name)) {
        return not_serializable();
    }
    const Row* found = visible(transaction, name);
    if (found == nullptr) {
        return tagged(command + '0');
    }
    std::optional<Row> changed;
    if (keep) {
        changed = *found;
        std::get<OutcomeRow>(*changed).outcome = "read_only";
    }
    transaction.writes[name] = std::move(changed);
    return tagged(command + '1');
}

ModelledPostgres::OneResult ModelledPostgres::read_outcome(const Backend& backend,
                                                           const Statement& statement) const {
    const Row* found =
        visible(*backend.transaction, row_name('o', statement.text(0), statement.text(1)));
    if (found == nullptr) {
        return tagged("SELECT 0");
    }
    const auto& row = std::get<OutcomeRow>(*found);
    return one_row({row.outcome, row.reason});
}

ModelledPostgres::OneResult ModelledPostgres::upsert_branch(Backend& backend,
                                                            const Statement& statement) {
    const RowName name = row_name('b', statement.text(0), statement.text(1));
    if (auto error = acquire(backend, name)) {
        return std::unexpected(std::move(*error));
    }
    BranchRow row;
    row.created_at = clock();
    if (const Row* known = visible(*backend.transaction, name)) {
        row = std::get<BranchRow>(*known);
    }
    const bool is_later = statement.number(2) > row.epoch;
    row.epoch = std::max(row.epoch, statement.number(2));
    if (!row.context || (is_later && statement.shape == Shape::upsert_branch)) {
        row.context = statement.values[3];
    }
    const std::string epoch = std::to_string(row.epoch);
    backend.transaction->writes[name] = std::move(row);
    return one_row({epoch}, "INSERT 0 1");
}

ModelledPostgres::OneResult ModelledPostgres::read_acceptor(Backend& backend,
                                                            const Statement& statement) {
    const RowName name = row_name('b', statement.text(0), statement.text(1));
    if (auto error = acquire(backend, name)) {
        return std::unexpected(std::move(*error));
    }
    const Row* found = visible(*backend.transaction, name);
    if (found == nullptr) {
        return tagged("SELECT 0");
    }
    const auto& row = std::get<BranchRow>(*found);
    std::vector<Cell> cells{row.context, row.promised_round, row.promised_proposer};
    if (row.accepted) {
        cells.insert(cells.end(),
                     {row.accepted->round, row.accepted->proposer, row.accepted->value});
    } else {
        cells.resize(6);
    }
    return one_row(std::move(cells));
}

ModelledPostgres::OneResult ModelledPostgres::update_acceptor(Backend& backend,
                                                              const Statement& statement) {
    const std::size_t key = statement.values.size() - 2;
    const RowName name = row_name('b', statement.text(key), statement.text(key + 1));
    if (auto error = acquire(backend, name)) {
        return std::unexpected(std::move(*error));
    }
    const Row* found = visible(*backend.transaction, name);
    if (found == nullptr) {
        return tagged("UPDATE 0");
    }
    BranchRow row = std::get<BranchRow>(*found);
    row.promised_round = statement.text(0);
    row.promised_proposer = statement.text(1);
    row.accepted.reset();
    if (statement.shape == Shape::update_acceptor) {
        row.accepted = {statement.text(2), statement.text(3), statement.text(4)};
    }
    backend.transaction->writes[name] = std::move(row);
    return tagged("UPDATE 1");
}

ModelledPostgres::OneResult ModelledPostgres::list_prepared(const Statement& statement) const {
    const std::string& prefix = statement.text(2);
    const std::int64_t now = clock();
    const std::int64_t newest = now - statement.number(3);
    std::vector<std::pair<std::int64_t, std::string>> found;
    for (const auto& [gid, one] : prepared_) {
        if (gid.starts_with(prefix) && one.prepared_at <= newest) {
            found.emplace_back(one.prepared_at, gid);
        }
    }
    std::ranges::sort(found);
    found.resize(std::min(found.size(), static_cast<std::size_t>(statement.number(4))));
    Rows::Table table;
    for (const auto& [prepared_at, gid] : found) {
        std::string key = gid.substr(prefix.size());
        std::ranges::replace(key, ':', '/');
        const auto branch = rows_.find('b' + key);
        Cell context;
        if (branch != rows_.end() && branch->second.row) {
            context = std::get<BranchRow>(*branch->second.row).context;
        }
        table.push_back({gid, std::to_string(now - prepared_at), std::move(context)});
    }
    const std::string tag = "SELECT " + std::to_string(table.size());
    return Rows(std::move(table), tag);
}

// The rows that nobody holds; a real server would wait for the others.
ModelledPostgres::OneResult ModelledPostgres::forget(Backend& backend, const Statement& statement) {
    const bool of_branches = statement.shape == Shape::forget_branches;
    std::vector<RowName> old;
    for (const auto& [name, version] : rows_) {
        if (!version.row || locks_.contains(name) || name.front() != (of_branches ? 'b' : 'o')) {
            continue;
        }
        if (!of_branches) {
            if (std::get<OutcomeRow>(*version.row).decided_at < clock() - 30 * day) {
                old.push_back(name);
            }
            continue;
        }
        const auto& row = std::get<BranchRow>(*version.row);
        const auto outcome = rows_.find('o' + name.substr(1));
        const bool is_decided = outcome != rows_.end() && outcome->second.row;
        std::string gid = statement.text(0) + name.substr(1);
        std::ranges::replace(gid, '/', ':');
        if (row.created_at < clock() - day && !prepared_.contains(gid) &&
            (is_decided || (row.promised_round == "0" && !row.accepted))) {
            old.push_back(name);
        }
    }
    for (const RowName& name : old) {
        if (try_acquire(*backend.transaction, name)) {
            backend.transaction->writes[name] = std::nullopt;
        }
    }
    return tagged("DELETE " + std::to_string(old.size()));
}

ModelledPostgres::OneResult ModelledPostgres::book(Backend& backend, const Statement& statement) {
    if (observer_.goes_wrong(Fault::serialization_failure, 8)) {
        return not_serializable();
    }
    if (observer_.goes_wrong(Fault::deadlock, 5)) {
        return failed(postgres::sqlstate::deadlock_detected, "deadlock detected");
    }
    if (observer_.goes_wrong(Fault::failed_statement, 20)) {
        return failed("23514", "new row violates check constraint");
    }
    const RowName name = 'a' + statement.text(1);
    if (auto error = acquire(backend, name)) {
        return std::unexpected(std::move(*error));
    }
    Transaction& transaction = *backend.transaction;
    if (changed_since_snapshot(transaction, name)) {
        return not_serializable();
    }
    const Row* known = visible(transaction, name);
    AccountRow row = known != nullptr ? std::get<AccountRow>(*known) : AccountRow{};
    row.amount += statement.number(0);
    transaction.writes[name] = row;
    return tagged("UPDATE 1");
}

} // namespace concordat::simulation
