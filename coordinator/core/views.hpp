#pragma once

// What clients see of a transaction: the replicated record, enriched with what the leader knows.

#include "coordinator/core/replicated_state.hpp"
#include "coordinator/core/volatile_transaction.hpp"

namespace concordat::core {

/// `known` is null on a follower and for transactions that finished long ago. A timeline is built
/// only on request: most replies do not need one and its strings cost more than the transaction.
[[nodiscard]] TransactionView make_view(const TransactionRecord& record,
                                        const VolatileTransaction* known, bool with_timeline);

[[nodiscard]] const char* name_of(EventKind kind) noexcept;

/// BEGIN of a single submitted branch: the participant decides by itself (one-phase commit).
/// A function of replicated facts only, so that every leader comes to the same conclusion.
[[nodiscard]] inline bool is_one_phase(Mode mode, std::size_t branches) noexcept {
    return mode == Mode::submit && branches == 1;
}

/// Who must accept in quorum 3PC: participants, and the coordinator group iff they are even in
/// number, so that the number of acceptors is odd.
struct Quorum {
    std::size_t accepts_needed = 0;
    bool coordinator_is_acceptor = false;
};
[[nodiscard]] inline Quorum quorum_of(const VolatileTransaction& transaction) noexcept {
    const std::size_t participants = transaction.branches.size();
    const bool one_more = coordinator_accepts(participants);
    return {(participants + (one_more ? 1 : 0)) / 2 + 1, one_more};
}

} // namespace concordat::core
