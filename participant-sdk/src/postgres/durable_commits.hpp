#pragma once

// What a session runs first whose commits are promises to others: where the database's or the
// role's default is synchronous_commit=off, a crash would take back what was acknowledged.

namespace concordat::postgres {

inline constexpr const char* sql_durable_commits =
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') = 'off'";

} // namespace concordat::postgres
