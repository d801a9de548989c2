#include "tests/simulation/modelled_postgres.hpp"

#include <algorithm>
#include <utility>

namespace concordat::simulation {
namespace {

using postgres::Rows;
using postgres::SqlError;

constexpr Milliseconds default_lock_timeout = 1'500;
constexpr Milliseconds deadlock_timeout = 400;
constexpr Milliseconds wal_writer_delay = 600; ///< after three of its rounds all is flushed

std::unexpected<SqlError> failed(std::string_view state, std::string message) {
    return std::unexpected(SqlError{std::string(state), std::move(message), false});
}

std::unexpected<SqlError> gone() {
    return std::unexpected(SqlError{{}, "server closed the connection unexpectedly", true});
}

Rows tagged(std::string tag) {
    return {{}, std::move(tag)};
}

} // namespace

RowName row_name(char table, const std::string& xid, const std::string& branch) {
    return table + xid + '/' + branch;
}

// ---------------------------------------------------------------- sessions

ModelledPostgres::BackendPtr ModelledPostgres::connect(std::shared_ptr<ClientProcess> client) {
    if (!is_up_) {
        return nullptr;
    }
    auto backend = std::make_shared<Backend>();
    backend->client = std::move(client);
    backends_.push_back(backend);
    return backend;
}

std::optional<postgres::SqlResult> ModelledPostgres::round_trip(Backend& backend,
                                                                const std::string& text) {
    if (backend.is_killed || fibers_.is_draining()) {
        return std::nullopt;
    }
    backend.is_running = true;
    std::vector<Rows> results;
    std::optional<SqlError> failure;
    for (const std::string_view one : split_statements(text)) {
        if (!results.empty() && timeline_.chance(100) && !pass(backend, timeline_.pick(2))) {
            break;
        }
        const auto statement = parse_statement(one);
        if (!statement) {
            fibers_.fail(std::make_exception_ptr(
                Violation("the modelled database does not know: " + std::string(one))));
            backend.is_killed = true;
            break;
        }
        auto result = execute(backend, *statement);
        if (backend.is_killed || (!result && result.error().connection_lost)) {
            break;
        }
        if (!result) {
            failure = std::move(result.error());
            break;
        }
        results.push_back(std::move(*result));
    }
    if (const auto transaction = backend.transaction; transaction && !backend.is_killed) {
        if (failure && !transaction->is_implicit) {
            transaction->has_failed = true;
        } else if (failure) {
            roll_back(backend);
        } else if (transaction->is_implicit) {
            if (auto ended = commit(backend); !ended) {
                failure = std::move(ended.error());
            }
        }
    }
    backend.is_running = false;
    if (backend.is_killed || !backend.has_client || fibers_.is_draining()) {
        end(backend);
        return std::nullopt;
    }
    return failure ? postgres::SqlResult(std::unexpected(std::move(*failure)))
                   : postgres::SqlResult(std::move(results));
}

void ModelledPostgres::hang_up(const BackendPtr& backend) {
    backend->has_client = false;
    if (!backend->is_running) {
        end(*backend);
    }
}

void ModelledPostgres::hang_up(const ClientProcess& client) {
    const auto all = backends_; // which shrink
    for (const BackendPtr& backend : all) {
        if (backend->client.get() == &client) {
            hang_up(backend);
        }
    }
}

void ModelledPostgres::end(Backend& backend) {
    backend.is_killed = true;
    roll_back(backend);
    std::erase_if(backends_, [&](const BackendPtr& one) { return one.get() == &backend; });
}

bool ModelledPostgres::pass(Backend& backend, Milliseconds duration) {
    backend.waiting = fibers_.ticket();
    fibers_.sleep(duration);
    backend.waiting.reset();
    return !backend.is_killed && !fibers_.is_draining();
}

// ---------------------------------------------------------------- locks

bool ModelledPostgres::try_acquire(Transaction& transaction, const std::string& name) {
    Lock& lock = locks_[name];
    if (lock.owner == 0) {
        lock.owner = transaction.number;
        transaction.locks.push_back(name);
    }
    return lock.owner == transaction.number;
}

std::optional<SqlError> ModelledPostgres::acquire(Backend& backend, const std::string& name) {
    Transaction& transaction = *backend.transaction;
    const Milliseconds started = timeline_.now();
    for (;;) {
        if (try_acquire(transaction, name)) {
            return std::nullopt;
        }
        const Milliseconds waited = timeline_.now() - started;
        if (waited >= transaction.lock_timeout) {
            return SqlError{std::string(postgres::sqlstate::lock_not_available),
                            "canceling statement due to lock timeout", false};
        }
        if (waited >= deadlock_timeout && is_deadlocked(backend, name)) {
            return SqlError{std::string(postgres::sqlstate::deadlock_detected), "deadlock detected",
                            false};
        }
        Lock& lock = locks_[name];
        lock.waiters.push_back(fibers_.ticket());
        backend.waits_for = lock.owner;
        const Milliseconds next = waited < deadlock_timeout
                                      ? std::min(deadlock_timeout, transaction.lock_timeout)
                                      : transaction.lock_timeout;
        const bool goes_on = pass(backend, next - waited);
        backend.waits_for = 0;
        if (!goes_on) {
            return gone().error();
        }
    }
}

void ModelledPostgres::release_locks(const Transaction& transaction) {
    for (const std::string& name : transaction.locks) {
        const auto lock = locks_.find(name);
        for (const Fibers::Ticket& waiter : lock->second.waiters) {
            fibers_.wake(waiter);
        }
        locks_.erase(lock);
    }
}

bool ModelledPostgres::is_deadlocked(const Backend& backend, const std::string& name) const {
    std::uint64_t next = locks_.at(name).owner;
    for (std::size_t hops = 0; hops <= backends_.size() && next != 0; ++hops) {
        if (next == backend.transaction->number) {
            return true;
        }
        const auto owner = std::ranges::find_if(backends_, [&](const BackendPtr& other) {
            return other->transaction && other->transaction->number == next;
        });
        next = owner == backends_.end() ? 0 : (*owner)->waits_for; // a prepared one waits for none
    }
    return false;
}

// ---------------------------------------------------------------- transactions

void ModelledPostgres::begin(Backend& backend, TransactionIsolation isolation, bool is_implicit) {
    auto transaction = std::make_shared<Transaction>();
    transaction->number = ++last_transaction_;
    transaction->isolation = isolation;
    transaction->is_implicit = is_implicit;
    transaction->is_synchronous = backend.is_synchronous;
    transaction->lock_timeout = default_lock_timeout;
    backend.transaction = std::move(transaction);
}

void ModelledPostgres::roll_back(Backend& backend) {
    if (const auto transaction = std::exchange(backend.transaction, nullptr)) {
        release_locks(*transaction);
    }
}

ModelledPostgres::OneResult ModelledPostgres::commit(Backend& backend) {
    if (!backend.transaction) {
        return tagged("COMMIT"); // with a warning
    }
    if (backend.transaction->has_failed) {
        roll_back(backend);
        return tagged("ROLLBACK");
    }
    if (backend.transaction->isolation == TransactionIsolation::serializable &&
        observer_.goes_wrong(Fault::serialization_failure, 10)) {
        roll_back(backend);
        return failed(postgres::sqlstate::serialization_failure, "could not serialize access");
    }
    auto record = std::make_shared<WalRecord>();
    record->transaction = std::exchange(backend.transaction, nullptr);
    if (record->transaction->writes.empty()) {
        release_locks(*record->transaction);
    } else if (record->transaction->is_synchronous) {
        if (!flush(backend, record)) {
            return gone();
        }
    } else {
        record->written_at = timeline_.now();
        wal_.push_back(record);
        apply(*record);
        drop_flushed();
    }
    return tagged("COMMIT");
}

// Whatever comes of it, the session is in no transaction afterwards.
ModelledPostgres::OneResult ModelledPostgres::prepare(Backend& backend, const std::string& gid) {
    if (!backend.transaction || backend.transaction->has_failed) {
        roll_back(backend);
        return tagged("ROLLBACK"); // P7
    }
    if (backend.transaction->isolation == TransactionIsolation::serializable &&
        observer_.goes_wrong(Fault::serialization_failure, 10)) {
        roll_back(backend);
        return failed(postgres::sqlstate::serialization_failure, "could not serialize access");
    }
    if (prepared_.contains(gid) || preparing_.contains(gid)) {
        roll_back(backend);
        return failed(postgres::sqlstate::duplicate_object,
                      "transaction identifier \"" + gid + "\" is already in use");
    }
    if (prepared_.size() + preparing_.size() >= most_prepared_) {
        static_cast<void>(observer_.goes_wrong(Fault::no_room_for_prepared, 1000));
        roll_back(backend);
        return failed(postgres::sqlstate::out_of_memory,
                      "maximum number of prepared transactions reached");
    }
    auto record = std::make_shared<WalRecord>();
    record->kind = WalRecord::Kind::prepare;
    record->transaction = std::exchange(backend.transaction, nullptr);
    record->gid = gid;
    preparing_.insert(gid);
    return flush(backend, record) ? OneResult(tagged("PREPARE TRANSACTION")) : gone();
}

ModelledPostgres::OneResult ModelledPostgres::finish_prepared(Backend& backend,
                                                              const std::string& gid, bool commit) {
    const auto found = prepared_.find(gid);
    if (found == prepared_.end()) {
        return failed(postgres::sqlstate::undefined_object,
                      "prepared transaction with identifier \"" + gid + "\" does not exist");
    }
    if (std::exchange(found->second.is_busy, true)) {
        return failed(postgres::sqlstate::not_in_prerequisite_state,
                      "prepared transaction with identifier \"" + gid + "\" is busy");
    }
    auto record = std::make_shared<WalRecord>();
    record->kind = commit ? WalRecord::Kind::commit_prepared : WalRecord::Kind::rollback_prepared;
    record->transaction = found->second.transaction;
    record->gid = gid;
    if (!flush(backend, record)) {
        return gone();
    }
    return tagged(commit ? "COMMIT PREPARED" : "ROLLBACK PREPARED");
}

const Row* ModelledPostgres::visible(const Transaction& transaction, const RowName& name) const {
    if (const auto own = transaction.writes.find(name); own != transaction.writes.end()) {
        return own->second ? &*own->second : nullptr;
    }
    const auto committed = rows_.find(name);
    return committed != rows_.end() && committed->second.row ? &*committed->second.row : nullptr;
}

bool ModelledPostgres::changed_since_snapshot(const Transaction& transaction,
                                              const RowName& name) const {
    const auto committed = rows_.find(name);
    return transaction.snapshot && !transaction.writes.contains(name) && committed != rows_.end() &&
           committed->second.changed_at > *transaction.snapshot;
}

// ---------------------------------------------------------------- durability

// The record is in the WAL; when it is flushed, the transaction becomes visible and then lets its
// locks go. Nothing but a crash of the server stops a backend on this way.
bool ModelledPostgres::flush(Backend& backend, const WalRecordPtr& record) {
    record->written_at = timeline_.now();
    wal_.push_back(record);
    backend.is_flushing = true;
    fibers_.sleep(observer_.goes_wrong(Fault::slow_statement, 10) ? timeline_.between(20, 400)
                                                                  : timeline_.pick(3));
    backend.is_flushing = false;
    if (record->is_settled || fibers_.is_draining()) {
        return false;
    }
    for (const WalRecordPtr& one : wal_) {
        one->is_flushed = true;
        if (one == record) {
            break;
        }
    }
    apply(*record);
    drop_flushed();
    return true;
}

void ModelledPostgres::drop_flushed() {
    while (!wal_.empty() && wal_.front()->is_applied &&
           (wal_.front()->is_flushed ||
            wal_.front()->written_at + wal_writer_delay < timeline_.now())) {
        wal_.pop_front();
    }
}

void ModelledPostgres::apply(WalRecord& record) {
    record.is_applied = true;
    switch (record.kind) {
    case WalRecord::Kind::commit:
        apply_writes(record);
        release_locks(*record.transaction);
        return;
    case WalRecord::Kind::prepare:
        preparing_.erase(record.gid);
        prepared_[record.gid] = {record.transaction, clock(), false};
        observer_.prepared(record.gid);
        return;
    case WalRecord::Kind::commit_prepared:
        apply_writes(record);
        prepared_.erase(record.gid);
        release_locks(*record.transaction);
        return;
    case WalRecord::Kind::rollback_prepared:
        prepared_.erase(record.gid);
        release_locks(*record.transaction);
        observer_.rolled_back(record.gid);
        return;
    }
}

void ModelledPostgres::apply_writes(WalRecord& record) {
    ++last_change_;
    for (const auto& [name, row] : record.transaction->writes) {
        Version& version = rows_[name];
        record.before.emplace_back(name, version);
        version = {row, last_change_};
        const std::string branch = name.substr(1);
        if (row && name.front() == 'o') {
            observer_.decided(branch, std::get<OutcomeRow>(*row).outcome);
        } else if (row && name.front() == 'b') {
            const auto& before = record.before.back().second.row;
            observer_.acceptor_changed(branch, before ? std::get<BranchRow>(*before) : BranchRow{},
                                       std::get<BranchRow>(*row));
        }
    }
}

void ModelledPostgres::undo(WalRecord& record) {
    for (auto& [name, version] : record.before) {
        rows_[name] = {std::move(version.row), ++last_change_};
    }
}

void ModelledPostgres::crash() {
    is_up_ = false;
    std::size_t kept = timeline_.pick(wal_.size() + 1);
    for (std::size_t i = kept; i < wal_.size(); ++i) {
        kept = wal_[i]->is_flushed ? i + 1 : kept;
    }
    for (std::size_t i = wal_.size(); i > kept; --i) {
        WalRecord& lost = *wal_[i - 1];
        if (lost.is_applied) {
            undo(lost);
        } else if (lost.kind == WalRecord::Kind::commit || lost.kind == WalRecord::Kind::prepare) {
            release_locks(*lost.transaction);
        }
    }
    for (std::size_t i = 0; i < wal_.size(); ++i) {
        wal_[i]->is_settled = true;
        if (i < kept && !wal_[i]->is_applied) {
            apply(*wal_[i]);
        }
    }
    wal_.clear();
    preparing_.clear();
    for (auto& [gid, one] : prepared_) {
        one.is_busy = false;
    }
    for (const BackendPtr& backend : std::exchange(backends_, {})) {
        backend->is_killed = true;
        roll_back(*backend);
        if (backend->waiting) {
            fibers_.wake(*backend->waiting);
        }
    }
}

bool ModelledPostgres::kill_a_backend() {
    if (backends_.empty()) {
        return false;
    }
    // One that is at work, if there is any: the others are noticed by nobody.
    std::vector<BackendPtr> candidates;
    std::ranges::copy_if(backends_, std::back_inserter(candidates),
                         [](const BackendPtr& one) { return one->is_running; });
    const auto& from = candidates.empty() ? backends_ : candidates;
    const BackendPtr victim = from[timeline_.pick(from.size())];
    victim->is_killed = true;
    if (!victim->is_running) {
        end(*victim);
    } else if (victim->waiting && !victim->is_flushing) {
        fibers_.wake(*victim->waiting);
    }
    return true;
}

void ModelledPostgres::forget_prepared() {
    for (const auto& [gid, one] : std::exchange(prepared_, {})) {
        release_locks(*one.transaction);
    }
}

void ModelledPostgres::apply_again(const std::string& xid) {
    auto& account = rows_[row_name('a', "again", xid)];
    account.row = AccountRow{1};
}

// ---------------------------------------------------------------- what the run looks at

std::int64_t ModelledPostgres::clock() const {
    // An hour after its epoch, so that a clock that is set back is not negative.
    return 3'600'000 + static_cast<std::int64_t>(timeline_.now()) + clock_offset_;
}

std::int64_t ModelledPostgres::balance() const {
    std::int64_t sum = 0;
    for (const auto& [name, version] : rows_) {
        if (name.front() == 'a' && version.row) {
            sum += std::get<AccountRow>(*version.row).amount;
        }
    }
    return sum;
}

std::vector<std::string> ModelledPostgres::prepared_gids() const {
    std::vector<std::string> gids;
    for (const auto& [gid, one] : prepared_) {
        gids.push_back(gid);
    }
    return gids;
}

bool ModelledPostgres::is_quiet() const {
    return prepared_.empty() && preparing_.empty() && locks_.empty() &&
           std::ranges::none_of(backends_, [](const BackendPtr& one) {
               return one->transaction != nullptr || one->is_running;
           });
}

} // namespace concordat::simulation
