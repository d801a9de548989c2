#pragma once

// One attempt of a participant to end a quorum 3PC transaction without the coordinator: a proposer
// with one ballot. Pure: messages in, what to do next out. A time-out starts it and never decides
// anything (Q11).
//
//   asking for promises ──quorum──▶ asking to accept a value ──quorum──▶ decided
//          └── a higher ballot, or too few answers ──▶ lost: try again later, in a higher round
//
// Sources: as acceptor.hpp; the value rule is Q7: the value of the highest accepted ballot among a
// quorum of promises, abort if there is none.
//
// Threading: one thread.

#include "participant-sdk/src/wire/participant_contract.hpp"

#include <concordat/resource.hpp>

#include <cstdint>
#include <optional>
#include <set>

namespace concordat::participant {

class Terminator {
public:
    enum class Phase : std::uint8_t { promising, accepting, decided };

    /// The coordinator group's number as an acceptor, whichever of its nodes answers; no branch
    /// has it.
    static constexpr std::uint16_t coordinator_group = 0xFFFF;
    /// No ballot is above one of this round.
    static constexpr std::uint32_t last_round = 0xFFFF'FFFF;

    /// `self`: this participant's branch, below coordinator_group; `above.round` is below
    /// last_round. `quorum`: acceptors needed, out of all of them, also
    /// those that are never asked; `above`: the highest ballot known to have been promised.
    Terminator(std::uint16_t self, std::uint16_t quorum, const Ballot& above);

    [[nodiscard]] Phase phase() const noexcept { return phase_; }
    [[nodiscard]] const Ballot& ballot() const noexcept { return ballot_; }
    /// While accepting: the value to propose. When decided: the outcome.
    [[nodiscard]] Outcome value() const noexcept { return value_; }
    /// The highest ballot that any answer named: the next attempt must be above it.
    [[nodiscard]] const Ballot& highest_seen() const noexcept { return highest_seen_; }

    /// An answer of an acceptor, a branch or the coordinator group, to the request of the present
    /// phase.
    void on_promise(std::uint16_t acceptor, const wire::BallotAnswer& answer);
    /// No more promises will be waited for: with a quorum of them, goes on to accepting. All that
    /// arrived count, not just the first ones: more of them find an accepted commit more often.
    void end_promises();
    void on_accept(std::uint16_t acceptor, const wire::BallotAnswer& answer);

private:
    void learn(const wire::BallotAnswer& answer);
    void decide(Outcome outcome);

    const std::uint16_t quorum_;
    Ballot ballot_;
    Phase phase_ = Phase::promising;
    Outcome value_ = Outcome::aborted;
    std::optional<Ballot> highest_accepted_;
    Ballot highest_seen_;
    std::set<std::uint16_t> granted_; ///< in the present phase; a repeated answer counts once
};

} // namespace concordat::participant
