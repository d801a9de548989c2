#include "tests/simulation/modelled_statements.hpp"

#include <charconv>
#include <utility>

namespace concordat::simulation {
namespace {

// In a form, ? stands for a literal: a quoted text, a number or NULL.
constexpr std::pair<Shape, std::string_view> forms[] = {
    {Shape::begin, "BEGIN"},
    {Shape::begin_repeatable_read, "BEGIN ISOLATION LEVEL REPEATABLE READ"},
    {Shape::begin_serializable, "BEGIN ISOLATION LEVEL SERIALIZABLE"},
    {Shape::commit, "COMMIT"},
    {Shape::rollback, "ROLLBACK"},
    {Shape::prepare_transaction, "PREPARE TRANSACTION ?"},
    {Shape::commit_prepared, "COMMIT PREPARED ?"},
    {Shape::rollback_prepared, "ROLLBACK PREPARED ?"},
    {Shape::set_local_asynchronous, "SET LOCAL synchronous_commit = off"},
    {Shape::set_asynchronous, "SET synchronous_commit = off"},
    {Shape::set_local_lock_timeout, "SET LOCAL lock_timeout = ?"},
    {Shape::lock_branch, "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))"},
    {Shape::try_lock_branch, "SELECT pg_try_advisory_xact_lock(hashtextextended(?, 0))"},
    {Shape::upsert_branch,
     "INSERT INTO concordat_branch AS b (xid, branch, epoch, context, payload) "
     "VALUES (?, ?, ?, ?, ?) ON CONFLICT (xid, branch) DO UPDATE "
     "SET epoch = greatest(b.epoch, excluded.epoch), "
     "context = CASE WHEN excluded.epoch > b.epoch THEN excluded.context "
     "ELSE coalesce(b.context, excluded.context) END, "
     "payload = coalesce(b.payload, excluded.payload) RETURNING epoch"},
    {Shape::upsert_branch_once,
     "INSERT INTO concordat_branch AS b (xid, branch, epoch, context, payload) "
     "VALUES (?, ?, ?, ?, ?) ON CONFLICT (xid, branch) DO UPDATE "
     "SET epoch = greatest(b.epoch, excluded.epoch), "
     "context = coalesce(b.context, excluded.context), "
     "payload = coalesce(b.payload, excluded.payload) RETURNING epoch"},
    {Shape::insert_branch,
     "INSERT INTO concordat_branch (xid, branch) VALUES (?, ?) ON CONFLICT DO NOTHING"},
    {Shape::read_acceptor,
     "SELECT context, promised_round, promised_proposer, accepted_round, accepted_proposer, "
     "accepted_value FROM concordat_branch WHERE (xid, branch) = (?, ?) FOR UPDATE"},
    {Shape::update_acceptor_unset,
     "UPDATE concordat_branch SET (promised_round, promised_proposer) = (?, ?), "
     "(accepted_round, accepted_proposer, accepted_value) = (NULL, NULL, NULL) "
     "WHERE (xid, branch) = (?, ?)"},
    {Shape::update_acceptor,
     "UPDATE concordat_branch SET (promised_round, promised_proposer) = (?, ?), "
     "(accepted_round, accepted_proposer, accepted_value) = (?, ?, ?) "
     "WHERE (xid, branch) = (?, ?)"},
    {Shape::claim,
     "INSERT INTO concordat_outcome (xid, branch, outcome) SELECT ?, ?, 'committed' "
     "WHERE pg_try_advisory_xact_lock(hashtextextended(?, 0)) ON CONFLICT DO NOTHING"},
    {Shape::claim_unlocked,
     "INSERT INTO concordat_outcome (xid, branch, outcome) SELECT ?, ?, 'committed' "
     "ON CONFLICT DO NOTHING"},
    {Shape::insert_tombstone, "INSERT INTO concordat_outcome (xid, branch, outcome, reason) "
                              "VALUES (?, ?, 'aborted', ?) ON CONFLICT DO NOTHING"},
    {Shape::insert_refusal,
     "INSERT INTO concordat_outcome (xid, branch, outcome, reason) VALUES (?, ?, 'aborted', ?)"},
    {Shape::read_outcome,
     "SELECT outcome, reason FROM concordat_outcome WHERE (xid, branch) = (?, ?)"},
    {Shape::delete_outcome, "DELETE FROM concordat_outcome WHERE (xid, branch) = (?, ?)"},
    {Shape::keep_read_only,
     "UPDATE concordat_outcome SET outcome = 'read_only' WHERE (xid, branch) = (?, ?)"},
    {Shape::is_prepared, "SELECT EXISTS (SELECT FROM pg_prepared_xacts WHERE gid = ? "
                         "AND database = current_database())"},
    {Shape::list_prepared,
     "SELECT p.gid, (extract(epoch FROM clock_timestamp() - p.prepared) * 1000)::bigint, "
     "(SELECT b.context FROM concordat_branch b "
     "WHERE b.xid = split_part(substr(p.gid, ?), ':', 1) "
     "AND b.branch = split_part(substr(p.gid, ?), ':', 2)::integer) "
     "FROM pg_prepared_xacts p WHERE p.database = current_database() "
     "AND p.gid ~ '^[^:]+:[A-Za-z0-9._-]{1,64}:[0-9]{1,5}$' AND starts_with(p.gid, ?) "
     "AND p.prepared <= clock_timestamp() - ? * interval '1 ms' ORDER BY p.prepared LIMIT ?"},
    {Shape::forget_branches,
     "DELETE FROM concordat_branch WHERE ctid = ANY (ARRAY("
     "SELECT b.ctid FROM concordat_branch b "
     "LEFT JOIN concordat_outcome o ON (o.xid, o.branch) = (b.xid, b.branch) "
     "WHERE b.created_at < now() - interval '1 day' AND NOT b.reserved "
     "AND (o.outcome IS NOT NULL OR (b.promised_round = 0 AND b.accepted_round IS NULL)) "
     "AND NOT EXISTS (SELECT FROM pg_prepared_xacts p "
     "WHERE p.gid = ? || b.xid || ':' || b.branch) LIMIT ?))"},
    {Shape::forget_outcomes,
     "DELETE FROM concordat_outcome WHERE ctid = ANY (ARRAY(SELECT ctid FROM concordat_outcome "
     "WHERE decided_at < now() - interval ? LIMIT ?))"},
    {Shape::record_alarm,
     "INSERT INTO concordat_alarm AS a (xid, branch, kind, detail) VALUES (?, ?, ?, ?) "
     "ON CONFLICT (xid, branch, kind) DO UPDATE SET seen = a.seen + 1, last_seen = now()"},
    {Shape::book, "UPDATE account SET amount = amount + ? WHERE id = ?"},
};

// Reads a literal at the start of `text` and cuts it off.
bool take_literal(std::string_view& text, std::optional<std::string>& value) {
    if (text.starts_with("NULL")) {
        text.remove_prefix(4);
        value.reset();
        return true;
    }
    value.emplace();
    if (!text.starts_with('\'')) {
        const std::size_t length = text.find_first_not_of("-0123456789");
        value->assign(text.substr(0, length));
        text.remove_prefix(value->size());
        return !value->empty();
    }
    for (std::size_t at = 1; at < text.size(); ++at) {
        const std::size_t quote = text.find('\'', at);
        if (quote == std::string_view::npos) {
            return false;
        }
        value->append(text.substr(at, quote - at));
        at = quote + 1;
        if (at == text.size() || text[at] != '\'') {
            text.remove_prefix(at);
            return true;
        }
        *value += '\''; // two of them are one
    }
    return false;
}

bool matches(std::string_view text, std::string_view form,
             std::vector<std::optional<std::string>>& values) {
    values.clear();
    for (;;) {
        const std::size_t literal = form.find('?');
        const std::string_view fixed = form.substr(0, literal);
        if (!text.starts_with(fixed)) {
            return false;
        }
        text.remove_prefix(fixed.size());
        if (literal == std::string_view::npos) {
            return text.empty();
        }
        form.remove_prefix(literal + 1);
        if (!take_literal(text, values.emplace_back())) {
            return false;
        }
    }
}

} // namespace

std::int64_t Statement::number(std::size_t index) const {
    std::int64_t value = 0;
    const std::string& digits = text(index);
    std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return value;
}

std::vector<std::string_view> split_statements(std::string_view text) {
    std::vector<std::string_view> statements;
    bool is_quoted = false;
    std::size_t from = 0;
    for (std::size_t at = 0; at <= text.size(); ++at) {
        if (at < text.size() && text[at] == '\'') {
            is_quoted = !is_quoted;
        }
        if (at < text.size() && (is_quoted || text[at] != ';')) {
            continue;
        }
        std::string_view one = text.substr(from, at - from);
        while (one.starts_with(' ')) {
            one.remove_prefix(1);
        }
        while (one.ends_with(' ')) {
            one.remove_suffix(1);
        }
        if (!one.empty()) {
            statements.push_back(one);
        }
        from = at + 1;
    }
    return statements;
}

std::optional<Statement> parse_statement(std::string_view text) {
    Statement statement;
    for (const auto& [shape, form] : forms) {
        if (matches(text, form, statement.values)) {
            statement.shape = shape;
            return statement;
        }
    }
    return std::nullopt;
}

} // namespace concordat::simulation
