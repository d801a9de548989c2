#include "participant-sdk/src/participant/terminator.hpp"

#include <algorithm>

namespace concordat::participant {

Terminator::Terminator(std::uint16_t self, std::uint16_t quorum, const Ballot& above)
    : quorum_(quorum),
      ballot_{above.round + 1, static_cast<std::uint16_t>(self + 1)},
      highest_seen_(above) {}

void Terminator::decide(Outcome outcome) {
    phase_ = Phase::decided;
    value_ = outcome;
}

void Terminator::learn(const wire::BallotAnswer& answer) {
    highest_seen_ =
        std::max(highest_seen_, Ballot{answer.promised.round, answer.promised.proposer});
    if (answer.outcome) {
        decide(static_cast<Outcome>(*answer.outcome)); // Q8
    }
}

void Terminator::on_promise(std::uint16_t acceptor, const wire::BallotAnswer& answer) {
    if (phase_ != Phase::promising) {
        return;
    }
    learn(answer);
    if (phase_ == Phase::decided || !answer.granted) {
        return;
    }
    if (answer.accepted_ballot && answer.accepted_value) {
        const Ballot accepted{answer.accepted_ballot->round, answer.accepted_ballot->proposer};
        if (!highest_accepted_ || accepted > *highest_accepted_) {
            highest_accepted_ = accepted;
            value_ = static_cast<Outcome>(*answer.accepted_value);
        }
    }
    granted_.insert(acceptor);
}

void Terminator::end_promises() {
    if (phase_ == Phase::promising && granted_.size() >= quorum_) {
        phase_ = Phase::accepting;
        granted_.clear();
    }
}

void Terminator::on_accept(std::uint16_t acceptor, const wire::BallotAnswer& answer) {
    if (phase_ != Phase::accepting) {
        return;
    }
    const Outcome proposed = value_;
    learn(answer);
    if (phase_ == Phase::decided || !answer.granted) {
        return;
    }
    granted_.insert(acceptor);
    if (granted_.size() >= quorum_) {
        decide(proposed);
    }
}

} // namespace concordat::participant
