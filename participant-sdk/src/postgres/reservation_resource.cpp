#include "participant-sdk/src/postgres/branch_store.hpp"
#include "participant-sdk/src/postgres/branch_work.hpp"
#include "participant-sdk/src/postgres/libpq_connection.hpp"

#include <concordat/postgres.hpp>

#include <fmt/format.h>

#include <utility>

namespace concordat {

namespace {

using postgres::BranchStore;
using postgres::Connection;
using postgres::nothing_done;
using postgres::sql_key;

constexpr std::chrono::milliseconds soon{50};

NotDone later(std::string reason) {
    return {NotDone::Kind::later, std::move(reason), std::nullopt, soon};
}

NotDone refused(std::string reason, std::optional<Outcome> outcome) {
    return {NotDone::Kind::refused, std::move(reason), outcome, {}};
}

// A branch whose lock is held, as its rows say.
struct LockedBranch {
    std::optional<Outcome> outcome;
    std::string reason;
    bool is_read_only = false; ///< voted so and left
    bool reserved = false;
    std::string payload;
    std::uint64_t epoch = 0;
};

} // namespace

class ReservationResource::Impl {
public:
    Impl(PostgresOptions options, ReservationWork work)
        : store(options,
                postgres::libpq_sessions({.url = options.url,
                                          .connect_timeout = options.connect_timeout,
                                          .lock_timeout = options.lock_timeout,
                                          .statement_timeout = options.statement_timeout}),
                postgres::Style::reservation),
          work_(std::move(work)),
          after_commit_(postgres::on_libpq(options.after_commit)) {}

    std::expected<VoteCast, NotDone> prepare(const PrepareOrder& order) {
        return with_branch<VoteCast>(order.key, store.sql_upsert(order),
                                     [&](Connection& connection, LockedBranch& branch) {
                                         return reserve(connection, order, branch);
                                     });
    }

    std::expected<void, NotDone> commit(const BranchKey& key) {
        return with_branch<void>(key, {}, [&](Connection& connection, LockedBranch& branch) {
            return confirm(connection, key, branch);
        });
    }

    std::expected<void, NotDone> abort(const BranchKey& key) {
        return with_branch<void>(key, {}, [&](Connection& connection, LockedBranch& branch) {
            return release(connection, key, branch);
        });
    }

    // One local transaction would do if the service had one piece of work for it; it has two.
    std::expected<OnePhaseResult, NotDone> commit_one_phase(const PrepareOrder& order) {
        const auto vote = prepare(order);
        if (!vote) {
            NotDone failure = vote.error(); // another delivery may be at work on it, and commit it
            failure.kind = NotDone::Kind::unknown;
            return std::unexpected(std::move(failure));
        }
        if (vote->vote == Vote::no) {
            return OnePhaseResult{Outcome::aborted, vote->reason};
        }
        if (vote->vote == Vote::read_only) {
            return OnePhaseResult{Outcome::committed, {}};
        }
        if (const auto committed = commit(order.key); !committed) {
            NotDone failure = committed.error();
            failure.kind = NotDone::Kind::unknown; // it is reserved now
            return std::unexpected(std::move(failure));
        }
        return OnePhaseResult{Outcome::committed, {}};
    }

    BranchStore store;

private:
    // Runs `act` in a transaction that holds the branch's lock. `first` is SQL sent before the
    // branch is read. `act` ends the transaction; what it leaves open is rolled back.
    template <class T, class Act>
    std::expected<T, NotDone> with_branch(const BranchKey& key, const std::string& first,
                                          const Act& act) {
        auto lease = store.connect();
        if (!lease) {
            return std::unexpected(nothing_done(lease.error()));
        }
        const auto read = (*lease)->run(
            fmt::format("{} SELECT pg_advisory_xact_lock(hashtextextended('{}', 0)); {} "
                        "SELECT reserved, coalesce(payload, ''), epoch FROM concordat_branch "
                        "WHERE (xid, branch) = {}; "
                        "SELECT outcome, reason FROM concordat_outcome WHERE (xid, branch) = {}",
                        store.sql_begin(), store.gid(key), first, sql_key(key), sql_key(key)));
        if (!read) {
            return std::unexpected(nothing_done(read.error()));
        }
        const postgres::Rows& row = (*read)[read->size() - 2];
        const postgres::Rows& outcome = read->back();
        LockedBranch branch;
        if (row.size() == 1) {
            branch.reserved = row.is_true(0, 0);
            branch.payload = row.text(0, 1);
            branch.epoch = row.number(0, 2);
        }
        postgres::BranchFacts facts = postgres::facts_of(outcome);
        branch.outcome = facts.outcome;
        branch.reason = std::move(facts.reason);
        branch.is_read_only = facts.is_read_only;
        return act(**lease, branch);
    }

    static std::expected<void, NotDone> finish(Connection& connection,
                                               const std::string& statements) {
        const auto done = connection.run(statements + "COMMIT");
        if (!done) {
            return std::unexpected(postgres::not_done(done.error(), NotDone::Kind::unknown));
        }
        if (done->back().tag() != "COMMIT") { // a statement of the work had failed
            return std::unexpected(later("a statement of the work had failed"));
        }
        return {};
    }

    static std::string sql_outcome(const BranchKey& key, Outcome outcome, std::string_view reason) {
        return fmt::format(
            "INSERT INTO concordat_outcome (xid, branch, outcome, reason) "
            "VALUES ('{0}', {1}, '{2}', {3}); UPDATE concordat_branch "
            "SET reserved = false, payload = NULL WHERE (xid, branch) = ('{0}', {1}); ",
            key.xid.value(), key.branch, name_of(outcome), postgres::quoted_literal(reason));
    }

    std::expected<VoteCast, NotDone> reserve(Connection& connection, const PrepareOrder& order,
                                             const LockedBranch& branch) {
        if (branch.epoch > order.epoch) {
            return std::unexpected(refused("a later epoch has been seen", std::nullopt));
        }
        if (branch.outcome == Outcome::aborted) {
            return vote_no(branch.reason);
        }
        if (branch.reserved || branch.outcome == Outcome::committed) {
            return vote_yes();
        }
        if (branch.is_read_only) {
            return vote_read_only();
        }
        VoteCast vote = postgres::run_work(work_.reserve, connection, order.key, order.payload);
        if (vote.vote == Vote::read_only && order.context.protocol == Protocol::three_phase) {
            vote.vote = Vote::yes; // needed as an acceptor
        }
        if (vote.vote != Vote::no) {
            // A read-only vote stays behind, as in PostgresResource.
            const std::string mark =
                vote.vote == Vote::yes
                    ? fmt::format("UPDATE concordat_branch SET reserved = true, "
                                  "created_at = clock_timestamp() WHERE (xid, branch) = {}; ",
                                  sql_key(order.key))
                    : fmt::format("INSERT INTO concordat_outcome (xid, branch, outcome) "
                                  "VALUES ('{}', {}, 'read_only'); ",
                                  order.key.xid.value(), order.key.branch);
            const auto done = finish(connection, mark);
            if (done) {
                return vote;
            }
            if (done.error().kind == NotDone::Kind::unknown && !connection.is_usable()) {
                return std::unexpected(done.error());
            }
            vote = vote_no(done.error().reason);
        }
        if (!connection.reset()) {
            return std::unexpected(later("the connection to the database broke: " + vote.reason));
        }
        const auto facts = store.write_tombstone(connection, order.key, vote.reason, soon);
        if (!facts) {
            return std::unexpected(nothing_done(facts.error()));
        }
        if (facts->outcome != Outcome::aborted) {
            return std::unexpected(later("the branch is being worked on"));
        }
        return vote;
    }

    std::expected<void, NotDone> confirm(Connection& connection, const BranchKey& key,
                                         const LockedBranch& branch) {
        if (branch.outcome == Outcome::committed || branch.is_read_only) {
            return {};
        }
        if (branch.outcome == Outcome::aborted || !branch.reserved) {
            connection.reset();
            const bool aborted = branch.outcome.has_value();
            store.record_alarm(connection, key,
                               aborted ? "heuristic_outcome" : "prepared_branch_lost",
                               "commit was decided, the branch is not reserved");
            return std::unexpected(refused(
                aborted ? "the branch is aborted" : "the reservation is lost", branch.outcome));
        }
        const std::string failure =
            postgres::run_second_phase(work_.confirm, connection, key, branch.payload);
        if (!failure.empty()) {
            return std::unexpected(later("confirm: " + failure));
        }
        auto done = finish(connection, sql_outcome(key, Outcome::committed, {}));
        if (done) {
            after_commit_(connection);
        }
        return done;
    }

    std::expected<void, NotDone> release(Connection& connection, const BranchKey& key,
                                         const LockedBranch& branch) {
        if (branch.outcome == Outcome::aborted || branch.is_read_only) {
            return {};
        }
        if (branch.outcome == Outcome::committed) {
            connection.reset();
            store.record_alarm(connection, key, "heuristic_outcome",
                               "abort was decided, the branch is committed");
            return std::unexpected(refused("the branch is committed", Outcome::committed));
        }
        if (branch.reserved) {
            const std::string failure =
                postgres::run_second_phase(work_.release, connection, key, branch.payload);
            if (!failure.empty()) {
                return std::unexpected(later("release: " + failure));
            }
        }
        return finish(connection, sql_outcome(key, Outcome::aborted, "aborted by the coordinator"));
    }

    ReservationWork work_;
    const postgres::AfterCommit after_commit_;
};

ReservationResource::ReservationResource(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ReservationResource::~ReservationResource() = default;

std::expected<std::shared_ptr<ReservationResource>, PostgresError>
ReservationResource::open(PostgresOptions options, ReservationWork work) {
    if (auto checked = check_participant_schema(options.url); !checked) {
        return std::unexpected(checked.error());
    }
    auto impl = std::make_unique<Impl>(std::move(options), std::move(work));
    return std::shared_ptr<ReservationResource>(new ReservationResource(std::move(impl)));
}

std::expected<VoteCast, NotDone> ReservationResource::prepare(const PrepareOrder& order) {
    return impl_->prepare(order);
}
std::expected<void, NotDone> ReservationResource::commit(const BranchKey& key) {
    return impl_->commit(key);
}
std::expected<void, NotDone> ReservationResource::abort(const BranchKey& key) {
    return impl_->abort(key);
}
std::expected<OnePhaseResult, NotDone>
ReservationResource::commit_one_phase(const PrepareOrder& order) {
    return impl_->commit_one_phase(order);
}
std::expected<AcceptorState, NotDone>
ReservationResource::change_acceptor(const BranchKey& key, const AcceptorRule& rule) {
    return impl_->store.change_acceptor(key, rule);
}
std::expected<std::vector<InDoubtBranch>, NotDone>
ReservationResource::in_doubt(std::chrono::milliseconds min_age, std::size_t limit) {
    return impl_->store.in_doubt(min_age, limit);
}
std::expected<std::size_t, NotDone> ReservationResource::forget_finished() {
    return impl_->store.forget_finished();
}
std::string ReservationResource::problem() {
    return impl_->store.problem();
}

} // namespace concordat
