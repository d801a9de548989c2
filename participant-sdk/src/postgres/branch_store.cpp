#include "participant-sdk/src/postgres/branch_store.hpp"

#include "participant-sdk/src/failpoint/acceptor_kinds.hpp"
#include "participant-sdk/src/wire/participant_contract.hpp"

#include <fmt/format.h>

#include <charconv>
#include <utility>

namespace concordat::postgres {

namespace {

constexpr std::chrono::milliseconds soon{50};
constexpr std::size_t forget_batch = 1000;

Outcome outcome_of(std::string_view text) {
    return text == "committed" ? Outcome::committed : Outcome::aborted;
}

std::string sql_ballot(const Ballot& ballot) {
    return fmt::format("{}, {}", ballot.round, ballot.proposer);
}

} // namespace

std::string sql_key(const BranchKey& key) {
    return fmt::format("('{}', {})", key.xid.value(), key.branch);
}

BranchFacts facts_of(const Rows& outcome) {
    BranchFacts facts;
    if (outcome.size() == 1) {
        facts.is_read_only = outcome.text(0, 0) == "read_only";
        if (!facts.is_read_only) {
            facts.outcome = outcome_of(outcome.text(0, 0));
        }
        facts.reason = outcome.text(0, 1);
    }
    return facts;
}

NotDone not_done(const SqlError& error, NotDone::Kind kind) {
    std::string reason = error.message;
    while (!reason.empty() && reason.back() == '\n') {
        reason.pop_back();
    }
    if (!error.sqlstate.empty()) {
        reason = fmt::format("SQLSTATE {}: {}", error.sqlstate, reason);
    }
    return {.kind = kind, .reason = std::move(reason), .outcome = {}, .retry_after = soon};
}

// The context is kept in the form in which it arrived: one decoder, one set of limits.
std::string encode_context(const PrepareOrder& order) {
    wire::BranchRequest request;
    request.three_phase = order.context.protocol == Protocol::three_phase;
    request.participant = order.context.participant;
    for (const Peer& peer : order.context.peers) {
        request.participants.push_back({peer.branch, peer.participant, peer.base_url});
    }
    request.quorum = order.context.quorum;
    request.coordinator_is_acceptor = order.context.coordinator_is_acceptor;
    request.capability = order.context.capability;
    request.coordinators = order.context.coordinators;
    return wire::encode(request);
}

std::optional<BranchContext> decode_context(std::string_view text) {
    auto request = wire::decode_request("x", 0, text);
    if (!request) {
        return std::nullopt;
    }
    BranchContext context;
    context.participant = std::move(request->participant);
    context.protocol = request->three_phase ? Protocol::three_phase : Protocol::two_phase;
    for (wire::Peer& peer : request->participants) {
        context.peers.push_back(
            {peer.branch, std::move(peer.participant), std::move(peer.base_url)});
    }
    context.quorum = request->quorum;
    context.coordinator_is_acceptor = request->coordinator_is_acceptor;
    context.capability = std::move(request->capability);
    context.coordinators = std::move(request->coordinators);
    return context;
}

BranchStore::BranchStore(const PostgresOptions& options, SessionFactory sessions, Style style)
    : style_(style),
      prefix_(options.gid_prefix),
      max_connections_(options.max_connections),
      isolation_(options.isolation),
      outcome_retention_(options.outcome_retention),
      pool_(std::move(sessions), options.max_connections, options.acquire_timeout) {}

std::string BranchStore::gid(const BranchKey& key) const {
    return fmt::format("{}:{}:{}", prefix_, key.xid.value(), key.branch);
}

std::optional<BranchKey> BranchStore::key_of_gid(std::string_view gid) const {
    if (!gid.starts_with(prefix_ + ':')) {
        return std::nullopt;
    }
    gid.remove_prefix(prefix_.size() + 1);
    const std::size_t colon = gid.rfind(':');
    if (colon == std::string_view::npos) {
        return std::nullopt;
    }
    const auto xid = Xid::parse(gid.substr(0, colon));
    std::uint16_t branch = 0;
    const char* const end = gid.data() + gid.size();
    const auto parsed = std::from_chars(gid.data() + colon + 1, end, branch);
    if (!xid || parsed.ec != std::errc{} || parsed.ptr != end) {
        return std::nullopt;
    }
    return BranchKey{*xid, branch};
}

std::string BranchStore::sql_upsert(const PrepareOrder& order) const {
    const bool keep_payload = style_ == Style::reservation && !order.payload.empty();
    return fmt::format("INSERT INTO concordat_branch AS b (xid, branch, epoch, context, payload) "
                       "VALUES ('{}', {}, {}, {}, {}) ON CONFLICT (xid, branch) DO UPDATE "
                       "SET epoch = greatest(b.epoch, excluded.epoch), "
                       "context = CASE WHEN excluded.epoch > b.epoch THEN excluded.context "
                       "ELSE coalesce(b.context, excluded.context) END, "
                       "payload = coalesce(b.payload, excluded.payload) RETURNING epoch; ",
                       order.key.xid.value(), order.key.branch, order.epoch,
                       quoted_literal(encode_context(order)),
                       keep_payload ? quoted_literal(order.payload) : "NULL");
}

std::string BranchStore::sql_remember(const PrepareOrder& order) const {
    return "BEGIN; SET LOCAL synchronous_commit = off; " + sql_upsert(order) + "COMMIT; ";
}

std::string BranchStore::sql_begin() const {
    switch (isolation_) {
    case Isolation::read_committed:
        return "BEGIN; ";
    case Isolation::repeatable_read:
        return "BEGIN ISOLATION LEVEL REPEATABLE READ; ";
    case Isolation::serializable:
        return "BEGIN ISOLATION LEVEL SERIALIZABLE; ";
    }
    return "BEGIN; ";
}

std::string BranchStore::sql_try_lock(const BranchKey& key) const {
    return fmt::format("pg_try_advisory_xact_lock(hashtextextended('{}', 0))", gid(key));
}

std::string BranchStore::sql_claim(const BranchKey& key) const {
    return fmt::format("INSERT INTO concordat_outcome (xid, branch, outcome) "
                       "SELECT '{}', {}, 'committed' WHERE {} ON CONFLICT DO NOTHING; ",
                       key.xid.value(), key.branch, sql_try_lock(key));
}

std::expected<BranchFacts, SqlError> BranchStore::facts(Connection& connection,
                                                        const BranchKey& key) const {
    const std::string prepared =
        style_ == Style::prepared_transaction
            ? fmt::format("EXISTS (SELECT FROM pg_prepared_xacts WHERE gid = '{}' "
                          "AND database = current_database())",
                          gid(key))
            : fmt::format("EXISTS (SELECT FROM concordat_branch WHERE (xid, branch) = {} "
                          "AND reserved)",
                          sql_key(key));
    // Prepared first, outcome second and on a later snapshot: a branch that is committed between
    // the two is seen twice rather than not at all.
    const auto answer =
        connection.run(fmt::format("SELECT {}; SELECT outcome, reason FROM concordat_outcome "
                                   "WHERE (xid, branch) = {}",
                                   prepared, sql_key(key)));
    if (!answer) {
        return std::unexpected(answer.error());
    }
    BranchFacts facts = facts_of((*answer)[1]);
    facts.prepared = !facts.outcome && (*answer)[0].is_true(0, 0);
    return facts;
}

std::expected<BranchFacts, SqlError>
BranchStore::write_tombstone(Connection& connection, const BranchKey& key, std::string_view reason,
                             std::chrono::milliseconds lock_timeout) const {
    const auto answer = connection.run(fmt::format(
        "BEGIN; SET LOCAL lock_timeout = {}; "
        "SELECT pg_advisory_xact_lock(hashtextextended('{}', 0)); "
        "INSERT INTO concordat_outcome (xid, branch, outcome, reason) "
        "VALUES ('{}', {}, 'aborted', {}) ON CONFLICT DO NOTHING; "
        "SELECT outcome, reason FROM concordat_outcome WHERE (xid, branch) = {}; COMMIT",
        lock_timeout.count(), gid(key), key.xid.value(), key.branch, quoted_literal(reason),
        sql_key(key)));
    if (!answer) {
        if (answer.error().sqlstate != sqlstate::lock_not_available || !connection.reset()) {
            return std::unexpected(answer.error());
        }
        return BranchFacts{};
    }
    return facts_of((*answer)[4]);
}

std::expected<AcceptorState, NotDone>
BranchStore::change_acceptor(const BranchKey& key, const Resource::AcceptorRule& rule) {
    auto lease = connect();
    if (!lease) {
        return std::unexpected(nothing_done(lease.error()));
    }
    Connection& connection = **lease;
    // The row lock orders concurrent rules; the advisory lock tells whether the branch is free.
    const auto read = connection.run(fmt::format(
        "BEGIN; INSERT INTO concordat_branch (xid, branch) VALUES {} ON CONFLICT DO NOTHING; "
        "SELECT context, promised_round, promised_proposer, accepted_round, accepted_proposer, "
        "accepted_value FROM concordat_branch WHERE (xid, branch) = {} FOR UPDATE; SELECT {}",
        sql_key(key), sql_key(key), sql_try_lock(key)));
    if (!read) {
        return std::unexpected(nothing_done(read.error()));
    }
    const auto known = facts(connection, key);
    if (!known) {
        return std::unexpected(nothing_done(known.error()));
    }
    const Rows& row = (*read)[2];
    if (row.size() != 1) { // between the two statements forget_finished() took it away
        return std::unexpected(NotDone{.kind = NotDone::Kind::later,
                                       .reason = "the branch has just been forgotten",
                                       .outcome = {},
                                       .retry_after = soon});
    }
    const bool is_free = (*read)[3].is_true(0, 0);
    if (!is_free && !known->outcome && !known->prepared) {
        return std::unexpected(NotDone{.kind = NotDone::Kind::later,
                                       .reason = "the branch is being worked on",
                                       .outcome = {},
                                       .retry_after = soon});
    }
    AcceptorState state;
    state.state = known->outcome ? (*known->outcome == Outcome::committed ? BranchState::committed
                                                                          : BranchState::aborted)
                  : known->prepared ? BranchState::prepared
                                    : BranchState::unknown;
    if (const auto context = decode_context(row.text(0, 0))) {
        state.capability = context->capability;
    }
    state.promised = {static_cast<std::uint32_t>(row.number(0, 1)),
                      static_cast<std::uint16_t>(row.number(0, 2))};
    if (!row.is_null(0, 3)) {
        state.accepted = Ballot{static_cast<std::uint32_t>(row.number(0, 3)),
                                static_cast<std::uint16_t>(row.number(0, 4))};
        state.accepted_value = outcome_of(row.text(0, 5));
    }
    const AcceptorState wanted = rule(state);
    if (wanted == state) {
        return state; // the lease rolls back what was only read
    }
    auto stored = store_acceptor(connection, key, state, wanted);
    if (!stored) {
        return std::unexpected(not_done(stored.error(), NotDone::Kind::unknown));
    }
    return *stored;
}

std::expected<AcceptorState, SqlError>
BranchStore::store_acceptor(Connection& connection, const BranchKey& key,
                            const AcceptorState& before, const AcceptorState& after) const {
    std::string statements = fmt::format(
        "UPDATE concordat_branch SET (promised_round, promised_proposer) = ({}), "
        "(accepted_round, accepted_proposer, accepted_value) = ({}, {}) "
        "WHERE (xid, branch) = {}; ",
        sql_ballot(after.promised), after.accepted ? sql_ballot(*after.accepted) : "NULL, NULL",
        after.accepted ? quoted_literal(name_of(after.accepted_value)) : "NULL", sql_key(key));
    if (before.state == BranchState::unknown && after.state == BranchState::aborted) {
        statements +=
            fmt::format("INSERT INTO concordat_outcome (xid, branch, outcome, reason) "
                        "VALUES ('{}', {}, 'aborted', 'refused before it was prepared'); ",
                        key.xid.value(), key.branch);
    }
    CONCORDAT_FAILPOINT("acceptor.*.before", failpoint::kind_of_step(before, after));
    const auto done = connection.run(statements + "COMMIT");
    CONCORDAT_FAILPOINT("acceptor.*.after", failpoint::kind_of_step(before, after));
    if (!done) {
        return std::unexpected(done.error());
    }
    return after;
}

std::string BranchStore::sql_in_doubt(std::chrono::milliseconds min_age, std::size_t limit) const {
    if (style_ == Style::reservation) {
        return fmt::format(
            "SELECT '{}:' || xid || ':' || branch, "
            "(extract(epoch FROM clock_timestamp() - created_at) * 1000)::bigint, context "
            "FROM concordat_branch WHERE reserved "
            "AND created_at <= clock_timestamp() - {} * interval '1 ms' "
            "ORDER BY created_at LIMIT {}",
            prefix_, min_age.count(), limit);
    }
    // Few rows on the left, each joined by key: the numbers after the last colon are the branch.
    return fmt::format(
        "SELECT p.gid, (extract(epoch FROM clock_timestamp() - p.prepared) * 1000)::bigint, "
        "(SELECT b.context FROM concordat_branch b "
        "WHERE b.xid = split_part(substr(p.gid, {0}), ':', 1) "
        "AND b.branch = split_part(substr(p.gid, {0}), ':', 2)::integer) "
        "FROM pg_prepared_xacts p WHERE p.database = current_database() "
        "AND p.gid ~ '^[^:]+:[A-Za-z0-9._-]{{1,64}}:[0-9]{{1,5}}$' AND starts_with(p.gid, {1}) "
        "AND p.prepared <= clock_timestamp() - {2} * interval '1 ms' "
        "ORDER BY p.prepared LIMIT {3}",
        prefix_.size() + 2, quoted_literal(prefix_ + ':'), min_age.count(), limit);
}

std::expected<std::vector<InDoubtBranch>, NotDone>
BranchStore::in_doubt(std::chrono::milliseconds min_age, std::size_t limit) {
    auto lease = connect();
    if (!lease) {
        return std::unexpected(nothing_done(lease.error()));
    }
    const auto answer = (*lease)->run(sql_in_doubt(min_age, limit));
    if (!answer) {
        return std::unexpected(nothing_done(answer.error()));
    }
    std::vector<InDoubtBranch> branches;
    const Rows& rows = answer->front();
    for (std::size_t row = 0; row < rows.size(); ++row) {
        const auto key = key_of_gid(rows.text(row, 0));
        if (!key) {
            continue; // not one of ours after all
        }
        InDoubtBranch branch{.key = *key,
                             .age = std::chrono::milliseconds(rows.number(row, 1)),
                             .context = decode_context(rows.text(row, 2))};
        branches.push_back(std::move(branch));
    }
    return branches;
}

std::expected<std::size_t, NotDone> BranchStore::forget_finished() {
    auto lease = connect();
    if (!lease) {
        return std::unexpected(nothing_done(lease.error()));
    }
    // A promise may be forgotten only when an outcome makes it meaningless.
    std::string statements = fmt::format(
        "DELETE FROM concordat_branch WHERE ctid = ANY (ARRAY("
        "SELECT b.ctid FROM concordat_branch b "
        "LEFT JOIN concordat_outcome o ON (o.xid, o.branch) = (b.xid, b.branch) "
        "WHERE b.created_at < now() - interval '1 day' AND NOT b.reserved "
        "AND (o.outcome IS NOT NULL OR (b.promised_round = 0 AND b.accepted_round IS NULL)) "
        "AND NOT EXISTS (SELECT FROM pg_prepared_xacts p "
        "WHERE p.gid = '{}:' || b.xid || ':' || b.branch) LIMIT {})); ",
        prefix_, forget_batch);
    if (outcome_retention_.count() > 0) {
        statements += fmt::format("DELETE FROM concordat_outcome WHERE ctid = ANY (ARRAY("
                                  "SELECT ctid FROM concordat_outcome "
                                  "WHERE decided_at < now() - interval '{} hours' LIMIT {}))",
                                  outcome_retention_.count(), forget_batch);
    }
    const auto answer = (*lease)->run(statements);
    if (!answer) {
        return std::unexpected(not_done(answer.error(), NotDone::Kind::unknown));
    }
    std::size_t removed = 0;
    for (const Rows& rows : *answer) {
        removed += rows.affected();
    }
    return removed;
}

void BranchStore::record_alarm(Connection& connection, const BranchKey& key, std::string_view kind,
                               std::string_view detail) const {
    (void)connection.run(fmt::format(
        "INSERT INTO concordat_alarm AS a (xid, branch, kind, detail) VALUES ('{}', {}, {}, {}) "
        "ON CONFLICT (xid, branch, kind) DO UPDATE SET seen = a.seen + 1, last_seen = now()",
        key.xid.value(), key.branch, quoted_literal(kind), quoted_literal(detail)));
}

std::string BranchStore::problem() {
    auto lease = connect();
    if (!lease) {
        return lease.error().message;
    }
    const auto answer = (*lease)->run(
        fmt::format("SELECT current_setting('max_prepared_transactions'), "
                    "(SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database() "
                    "AND starts_with(gid, {}) AND NOT pg_has_role(owner, 'USAGE')), "
                    "to_regclass('concordat_branch') IS NOT NULL, current_user",
                    quoted_literal(prefix_ + ':')));
    if (!answer) {
        return answer.error().message;
    }
    const Rows& row = answer->front();
    if (!row.is_true(0, 2)) {
        return "the branch tables are missing; apply the migrations of migrations/participant";
    }
    if (style_ == Style::reservation) {
        return {};
    }
    if (row.number(0, 0) < max_connections_) {
        return fmt::format("max_prepared_transactions is {} and must be at least {}, the number of "
                           "connections that may prepare at the same time",
                           row.number(0, 0), max_connections_);
    }
    if (row.number(0, 1) > 0) {
        return fmt::format("{} prepared branches belong to other roles than {} and cannot be "
                           "finished by it",
                           row.number(0, 1), row.text(0, 3));
    }
    return {};
}

} // namespace concordat::postgres
