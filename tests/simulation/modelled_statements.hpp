#pragma once

// The SQL that the participant side sends, by its shape: the modelled database knows these
// statements and no others, so a statement that the SDK learns must be learnt here too.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::simulation {

enum class Shape : std::uint8_t {
    begin,
    begin_repeatable_read,
    begin_serializable,
    commit,
    rollback,
    prepare_transaction, ///< gid
    commit_prepared,     ///< gid
    rollback_prepared,   ///< gid
    set_local_asynchronous,
    set_asynchronous,
    set_local_lock_timeout, ///< ms
    lock_branch,            ///< gid
    try_lock_branch,        ///< gid
    upsert_branch,          ///< xid, branch, epoch, context, payload: a later epoch's context
    upsert_branch_once,     ///< the same, with the first context
    insert_branch,          ///< xid, branch
    read_acceptor,          ///< xid, branch
    update_acceptor,        ///< promised (2), accepted (2), value, xid, branch
    update_acceptor_unset,  ///< promised (2), xid, branch
    claim,                  ///< xid, branch, gid
    claim_unlocked,         ///< xid, branch
    insert_tombstone,       ///< xid, branch, reason; nothing on conflict
    insert_refusal,         ///< xid, branch, reason; an error on conflict
    read_outcome,           ///< xid, branch
    delete_outcome,         ///< xid, branch
    keep_read_only,         ///< xid, branch
    is_prepared,            ///< gid
    list_prepared,          ///< prefix length, prefix, age in ms, limit
    forget_branches,        ///< prefix, limit
    forget_outcomes,        ///< hours, limit
    record_alarm,           ///< xid, branch, kind, detail
    book,                   ///< amount, account: the work of the service
};

struct Statement {
    Shape shape = Shape::begin;
    std::vector<std::optional<std::string>> values; ///< nothing: NULL

    /// A value that is not NULL.
    [[nodiscard]] const std::string& text(std::size_t index) const { return *values[index]; }
    [[nodiscard]] std::int64_t number(std::size_t index) const;
};

/// The statements of one round trip, without the semicolons between them.
[[nodiscard]] std::vector<std::string_view> split_statements(std::string_view text);
/// Nothing for a statement of no known shape.
[[nodiscard]] std::optional<Statement> parse_statement(std::string_view text);

} // namespace concordat::simulation
