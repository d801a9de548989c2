#pragma once

// The logic of PostgresResource on sessions and work of any kind. PostgresResource gives it libpq
// and the service's callback; the simulator gives it a modelled database.
//
// Threading and errors: as Resource. Sessions must be set up as LibpqConnection::open() does it.

#include "participant-sdk/src/postgres/branch_work.hpp"
#include "participant-sdk/src/postgres/connection.hpp"

#include <concordat/postgres.hpp>
#include <concordat/resource.hpp>

#include <memory>

namespace concordat::postgres {

/// Of the options: not the URL, nor what concerns a single session (its time-outs).
[[nodiscard]] std::shared_ptr<Resource> prepared_branches(
    const PostgresOptions& options, SessionFactory sessions, BranchWork work,
    AfterCommit after_commit = [](Connection&) {});

} // namespace concordat::postgres
