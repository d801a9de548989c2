#pragma once

// What may go wrong in a run, and the bugs that can be put in on purpose.

#include "tests/simulation/timeline.hpp"

#include <cstdint>

namespace concordat::simulation {

/// How the network and the disks behave at the moment.
struct Weather {
    unsigned loss_permille = 0;
    unsigned duplication_permille = 0;
    Milliseconds max_delay = 10;
    Milliseconds max_disk_delay = 4;
};

/// Each breaks one rule of docs/concepts/protocols.md, outside of the code under test: a simulator
/// that does not notice them proves nothing.
enum class Bug : std::uint8_t {
    none,
    disk_loses_what_it_confirmed,   ///< a crash drops writes that were reported durable
    term_and_vote_not_durable,      ///< a node forgets its vote in a crash
    participant_forgets_prepared,   ///< a crash of a participant loses prepared branches
    participant_decides_by_timeout, ///< a branch in doubt rolls back by itself
    participant_commits_unasked,    ///< a vote is taken for a commit
    acceptor_forgets,               ///< promises and accepted ballots are lost now and then (Q1)
    acceptor_ignores_promises,      ///< ballot 0 is accepted after a higher promise (Q5)
    minority_terminates,            ///< one promise is enough to terminate (Q7)
    termination_ignores_accepted,   ///< a ballot aborts whatever was accepted before (Q7)
    effect_applied_twice,           ///< a repeated COMMIT is carried out again
    snapshot_loses_transactions,    ///< a restored snapshot lacks what is unfinished
    entries_applied_early,          ///< a client is told before the decision is durable
};
inline constexpr Bug last_bug = Bug::entries_applied_early;

} // namespace concordat::simulation
