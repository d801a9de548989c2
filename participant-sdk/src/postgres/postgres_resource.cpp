#include "participant-sdk/src/failpoint/failpoint.hpp"
#include "participant-sdk/src/postgres/branch_store.hpp"
#include "participant-sdk/src/postgres/libpq_connection.hpp"
#include "participant-sdk/src/postgres/prepared_branches.hpp"

#include <concordat/postgres.hpp>

#include <fmt/format.h>

#include <array>
#include <utility>

namespace concordat {

namespace {

using postgres::BranchFacts;
using postgres::BranchStore;
using postgres::Connection;
using postgres::nothing_done;
using postgres::SqlError;
namespace sqlstate = postgres::sqlstate;

// An abort that meets a branch at work waits in slices, because the branch may become prepared
// meanwhile, and then it must be rolled back instead of waited for.
constexpr std::chrono::milliseconds tombstone_wait{50};
constexpr int tombstone_attempts = 20;
constexpr int lookup_attempts = 5;
constexpr std::chrono::milliseconds soon{50};

NotDone later(std::string reason) {
    return {NotDone::Kind::later, std::move(reason), std::nullopt, soon};
}

// What is known when the branch could not even be claimed: nothing was done now, but a repetition
// is worth while at once if the connection was a stale one, or another delivery has just finished.
NotDone not_entered(const SqlError& error) {
    const bool repeat = error.connection_lost || error.sqlstate == sqlstate::serialization_failure;
    return postgres::not_done(error, repeat ? NotDone::Kind::unknown : NotDone::Kind::later);
}

// A first attempt may have had an effect: that a second one did nothing does not take it back.
template <class T>
std::expected<T, NotDone> after_unknown(std::expected<T, NotDone> second) {
    if (!second && second.error().kind == NotDone::Kind::later) {
        second.error().kind = NotDone::Kind::unknown;
    }
    return second;
}

NotDone refused(std::string reason, std::optional<Outcome> outcome) {
    return {NotDone::Kind::refused, std::move(reason), outcome, {}};
}

class PreparedBranches final : public Resource {
public:
    PreparedBranches(const PostgresOptions& options, postgres::SessionFactory sessions,
                     postgres::BranchWork work, postgres::AfterCommit after_commit)
        : store_(options, std::move(sessions), postgres::Style::prepared_transaction),
          work_(std::move(work)),
          after_commit_(std::move(after_commit)) {}

    std::expected<VoteCast, NotDone> prepare(const PrepareOrder& order) override {
        // The connection may be a stale one of the pool, or break in the middle (the branch is then
        // prepared, or it is not): the second attempt begins by looking.
        auto result = prepare_once(order);
        if (!result && result.error().kind == NotDone::Kind::unknown) {
            result = after_unknown(prepare_once(order));
        }
        return result;
    }

    std::expected<void, NotDone> commit(const BranchKey& key) override {
        auto lease = store_.connect();
        if (!lease) {
            return std::unexpected(nothing_done(lease.error()));
        }
        const std::string statement = fmt::format("COMMIT PREPARED '{}'", store_.gid(key));
        for (int attempt = 0; attempt < lookup_attempts; ++attempt) {
            CONCORDAT_FAILPOINT("branch.commit_prepared.before");
            const auto done = (*lease)->run(statement);
            CONCORDAT_FAILPOINT("branch.commit_prepared.after");
            if (done) {
                after_commit_(**lease);
                return {};
            }
            const std::string& state = done.error().sqlstate;
            if (state != sqlstate::undefined_object &&
                state != sqlstate::not_in_prerequisite_state) {
                return std::unexpected(postgres::not_done(done.error(), NotDone::Kind::unknown));
            }
            const auto facts = store_.facts(**lease, key);
            if (!facts) {
                return std::unexpected(nothing_done(facts.error()));
            }
            if (facts->outcome == Outcome::committed || facts->is_read_only) {
                return {};
            }
            if (facts->outcome == Outcome::aborted) {
                store_.record_alarm(**lease, key, "heuristic_outcome",
                                    "commit was decided, the branch is aborted");
                return std::unexpected(refused("the branch is aborted", Outcome::aborted));
            }
            if (!facts->prepared && state == sqlstate::undefined_object) {
                store_.record_alarm(**lease, key, "prepared_branch_lost",
                                    "commit was decided, the prepared transaction is gone");
                return std::unexpected(refused("the prepared transaction is lost", std::nullopt));
            }
        }
        return std::unexpected(later("the prepared transaction is busy"));
    }

    std::expected<void, NotDone> abort(const BranchKey& key) override {
        auto lease = store_.connect();
        if (!lease) {
            return std::unexpected(nothing_done(lease.error()));
        }
        const std::string statement = fmt::format("ROLLBACK PREPARED '{}'", store_.gid(key));
        for (int attempt = 0; attempt < tombstone_attempts; ++attempt) {
            CONCORDAT_FAILPOINT("branch.rollback_prepared.before");
            const auto done = (*lease)->run(statement);
            CONCORDAT_FAILPOINT("branch.rollback_prepared.after");
            if (!done && done.error().sqlstate != sqlstate::undefined_object &&
                done.error().sqlstate != sqlstate::not_in_prerequisite_state) {
                return std::unexpected(postgres::not_done(done.error(), NotDone::Kind::unknown));
            }
            const auto facts =
                store_.write_tombstone(**lease, key, "aborted by the coordinator", tombstone_wait);
            if (!facts) {
                return std::unexpected(postgres::not_done(facts.error(), NotDone::Kind::unknown));
            }
            CONCORDAT_FAILPOINT("branch.abort_tombstone.after");
            if (facts->outcome == Outcome::aborted || facts->is_read_only) {
                return {};
            }
            if (facts->outcome == Outcome::committed) {
                store_.record_alarm(**lease, key, "heuristic_outcome",
                                    "abort was decided, the branch is committed");
                return std::unexpected(refused("the branch is committed", Outcome::committed));
            }
        }
        return std::unexpected(later("the branch is still being worked on"));
    }

    std::expected<OnePhaseResult, NotDone> commit_one_phase(const PrepareOrder& order) override {
        auto result = one_phase_once(order);
        if (!result && result.error().kind == NotDone::Kind::unknown) {
            result = after_unknown(one_phase_once(order));
        }
        return result;
    }

    std::expected<AcceptorState, NotDone> change_acceptor(const BranchKey& key,
                                                          const AcceptorRule& rule) override {
        return store_.change_acceptor(key, rule);
    }
    std::expected<std::vector<InDoubtBranch>, NotDone> in_doubt(std::chrono::milliseconds min_age,
                                                                std::size_t limit) override {
        return store_.in_doubt(min_age, limit);
    }
    std::expected<std::size_t, NotDone> forget_finished() override {
        return store_.forget_finished();
    }
    std::string problem() override { return store_.problem(); }

private:
    std::expected<VoteCast, NotDone> prepare_once(const PrepareOrder& order) {
        auto lease = store_.connect();
        if (!lease) {
            return std::unexpected(nothing_done(lease.error()));
        }
        Connection& connection = **lease;
        const auto entered = connection.run(store_.sql_remember(order) + store_.sql_begin() +
                                            store_.sql_claim(order.key));
        if (!entered) {
            return std::unexpected(not_entered(entered.error()));
        }
        if ((*entered)[2].number(0, 0) > order.epoch) {
            connection.reset();
            return std::unexpected(refused("a later epoch has been seen", std::nullopt));
        }
        if (entered->back().affected() == 0) {
            return vote_of_known_branch(connection, order.key);
        }
        VoteCast vote = work_(connection, order.key, order.payload);
        // A read-only branch leaves the protocol; in quorum 3PC it is needed as an acceptor.
        if (vote.vote == Vote::read_only && order.context.protocol == Protocol::three_phase) {
            vote.vote = Vote::yes;
        }
        switch (vote.vote) {
        case Vote::yes:
            return end_with_prepare(connection, order.key);
        case Vote::read_only:
            return end_read_only(connection, order.key);
        case Vote::no:
            return end_with_no(connection, order.key, vote.reason);
        }
        return end_with_no(connection, order.key, "the work gave no valid vote");
    }

    // A repeated delivery: the answer is in the database.
    std::expected<VoteCast, NotDone> vote_of_known_branch(Connection& connection,
                                                          const BranchKey& key) {
        if (!connection.reset()) {
            return std::unexpected(later("the connection to the database broke"));
        }
        const auto facts = store_.facts(connection, key);
        if (!facts) {
            return std::unexpected(nothing_done(facts.error()));
        }
        if (facts->prepared || facts->outcome == Outcome::committed) {
            return vote_yes();
        }
        if (facts->is_read_only) {
            return vote_read_only();
        }
        if (facts->outcome == Outcome::aborted) {
            return vote_no(facts->reason);
        }
        return std::unexpected(later("the branch is being worked on"));
    }

    std::expected<VoteCast, NotDone> end_with_prepare(Connection& connection,
                                                      const BranchKey& key) {
        CONCORDAT_FAILPOINT("branch.prepare_transaction.before");
        const auto prepared =
            connection.run(fmt::format("PREPARE TRANSACTION '{}'", store_.gid(key)));
        CONCORDAT_FAILPOINT("branch.prepare_transaction.after");
        if (!prepared) {
            const SqlError& error = prepared.error();
            if (error.connection_lost) {
                return std::unexpected(postgres::not_done(error, NotDone::Kind::unknown));
            }
            if (error.sqlstate == sqlstate::duplicate_object) {
                return vote_of_known_branch(connection, key);
            }
            const bool no_room = error.sqlstate == sqlstate::not_in_prerequisite_state ||
                                 error.sqlstate == sqlstate::out_of_memory;
            return end_with_no(connection, key,
                               (no_room ? "resource: " : "") +
                                   postgres::reason_of(error.sqlstate, error.message));
        }
        // In a transaction that had failed, PREPARE TRANSACTION succeeds by rolling back.
        if (prepared->front().tag() != "PREPARE TRANSACTION") {
            return end_with_no(connection, key, "a statement of the branch's work had failed");
        }
        return vote_yes();
    }

    // The vote stays behind: it has left with the answer, and a PREPARE that is delivered once more
    // must not end as a no, which peers in doubt would take for the outcome.
    std::expected<VoteCast, NotDone> end_read_only(Connection& connection, const BranchKey& key) {
        const auto ended =
            connection.run(fmt::format("UPDATE concordat_outcome SET outcome = 'read_only' "
                                       "WHERE (xid, branch) = {}; COMMIT",
                                       postgres::sql_key(key)));
        if (!ended) {
            return end_with_no(connection, key,
                               postgres::reason_of(ended.error().sqlstate, ended.error().message));
        }
        return vote_read_only();
    }

    // The tombstone is written before the no leaves: whoever learns of the no may rely on it.
    std::expected<VoteCast, NotDone> end_with_no(Connection& connection, const BranchKey& key,
                                                 const std::string& reason) {
        if (!connection.reset()) {
            return std::unexpected(later("the connection to the database broke: " + reason));
        }
        CONCORDAT_FAILPOINT("branch.refusal_tombstone.before");
        const auto facts = store_.write_tombstone(connection, key, reason, tombstone_wait);
        CONCORDAT_FAILPOINT("branch.refusal_tombstone.after");
        if (!facts) {
            return std::unexpected(nothing_done(facts.error()));
        }
        if (facts->outcome != Outcome::aborted) {
            return std::unexpected(later("the branch is being worked on"));
        }
        return vote_no(reason);
    }

    std::expected<OnePhaseResult, NotDone> one_phase_once(const PrepareOrder& order) {
        auto lease = store_.connect();
        if (!lease) {
            return std::unexpected(nothing_done(lease.error()));
        }
        Connection& connection = **lease;
        const auto entered = connection.run(store_.sql_begin() + store_.sql_claim(order.key));
        if (!entered) {
            return std::unexpected(not_entered(entered.error()));
        }
        if (entered->back().affected() == 0) {
            return one_phase_of_known_branch(connection, order.key);
        }
        const VoteCast vote = work_(connection, order.key, order.payload);
        std::string reason = vote.reason;
        if (vote.vote != Vote::no) {
            CONCORDAT_FAILPOINT("branch.one_phase_commit.before");
            const auto committed = connection.run("COMMIT");
            CONCORDAT_FAILPOINT("branch.one_phase_commit.after");
            if (committed && committed->front().tag() == "COMMIT") {
                after_commit_(connection);
                return OnePhaseResult{Outcome::committed, {}};
            }
            if (!committed && committed.error().connection_lost) {
                return std::unexpected(
                    postgres::not_done(committed.error(), NotDone::Kind::unknown));
            }
            reason = committed ? "a statement of the branch's work had failed"
                               : postgres::reason_of(committed.error().sqlstate,
                                                     committed.error().message);
        }
        const auto ended = after_unknown(end_with_no(connection, order.key, reason));
        if (!ended) {
            return std::unexpected(ended.error());
        }
        return OnePhaseResult{Outcome::aborted, ended->reason};
    }

    std::expected<OnePhaseResult, NotDone> one_phase_of_known_branch(Connection& connection,
                                                                     const BranchKey& key) {
        if (!connection.reset()) {
            return std::unexpected(later("the connection to the database broke"));
        }
        const auto facts = store_.facts(connection, key);
        if (!facts) {
            return std::unexpected(nothing_done(facts.error()));
        }
        if (facts->is_read_only) {
            return OnePhaseResult{Outcome::committed, {}};
        }
        if (!facts->outcome) {
            // Whoever works on it may commit it: "later" would say that nothing is done.
            NotDone busy = later("the branch is being worked on");
            busy.kind = NotDone::Kind::unknown;
            return std::unexpected(std::move(busy));
        }
        return OnePhaseResult{*facts->outcome, facts->reason};
    }

    BranchStore store_;
    const postgres::BranchWork work_;
    const postgres::AfterCommit after_commit_;
};

} // namespace

std::shared_ptr<Resource> postgres::prepared_branches(const PostgresOptions& options,
                                                      SessionFactory sessions, BranchWork work,
                                                      AfterCommit after_commit) {
    return std::make_shared<PreparedBranches>(options, std::move(sessions), std::move(work),
                                              std::move(after_commit));
}

class PostgresResource::Impl {
public:
    Impl(const PostgresOptions& options, PostgresWork work)
        : branches(postgres::prepared_branches(
              options,
              postgres::libpq_sessions({.url = options.url,
                                        .connect_timeout = options.connect_timeout,
                                        .lock_timeout = options.lock_timeout,
                                        .statement_timeout = options.statement_timeout}),
              postgres::on_libpq(std::move(work)), postgres::on_libpq(options.after_commit))) {}

    const std::shared_ptr<Resource> branches;
};

PostgresResource::PostgresResource(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PostgresResource::~PostgresResource() = default;

std::expected<std::shared_ptr<PostgresResource>, PostgresError>
PostgresResource::open(PostgresOptions options, PostgresWork work) {
    if (auto checked = check_participant_schema(options.url); !checked) {
        return std::unexpected(checked.error());
    }
    auto impl = std::make_unique<Impl>(options, std::move(work));
    return std::shared_ptr<PostgresResource>(new PostgresResource(std::move(impl)));
}

std::expected<VoteCast, NotDone> PostgresResource::prepare(const PrepareOrder& order) {
    return impl_->branches->prepare(order);
}
std::expected<void, NotDone> PostgresResource::commit(const BranchKey& key) {
    return impl_->branches->commit(key);
}
std::expected<void, NotDone> PostgresResource::abort(const BranchKey& key) {
    return impl_->branches->abort(key);
}
std::expected<OnePhaseResult, NotDone>
PostgresResource::commit_one_phase(const PrepareOrder& order) {
    return impl_->branches->commit_one_phase(order);
}
std::expected<AcceptorState, NotDone> PostgresResource::change_acceptor(const BranchKey& key,
                                                                        const AcceptorRule& rule) {
    return impl_->branches->change_acceptor(key, rule);
}
std::expected<std::vector<InDoubtBranch>, NotDone>
PostgresResource::in_doubt(std::chrono::milliseconds min_age, std::size_t limit) {
    return impl_->branches->in_doubt(min_age, limit);
}
std::expected<std::size_t, NotDone> PostgresResource::forget_finished() {
    return impl_->branches->forget_finished();
}
std::string PostgresResource::problem() {
    return impl_->branches->problem();
}

} // namespace concordat
