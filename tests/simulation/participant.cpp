#include "tests/simulation/participant.hpp"

#include <charconv>

namespace concordat::simulation {
namespace {

using core::CallResult;
using core::Outcome;

std::int64_t amount_in(const core::ParticipantCall& call) {
    std::int64_t amount = 0;
    if (call.payload) {
        std::from_chars(call.payload->data(), call.payload->data() + call.payload->size(), amount);
    }
    return amount;
}

} // namespace

std::optional<Outcome> Participant::outcome_of(const Branch& branch) {
    if (branch.state == State::committed) {
        return Outcome::committed;
    }
    if (branch.state == State::aborted) {
        return Outcome::aborted;
    }
    return std::nullopt;
}

std::vector<std::string> Participant::in_doubt() const {
    std::vector<std::string> xids;
    for (const auto& [xid, branch] : branches_) {
        if (branch.state == State::prepared) {
            xids.push_back(xid);
        }
    }
    return xids;
}

// ---------------------------------------------------------------- calls of the coordinator

CallResult Participant::serve(const core::ParticipantCall& call) {
    const std::string& xid = call.key.xid.value();
    Branch& branch = branches_[xid];
    host_.timeline().trace(static_cast<std::uint64_t>(call.key.operation) * 256 +
                           call.key.branch.value());
    switch (call.key.operation) {
    case core::Operation::prepare:
        return prepare(call, branch);
    case core::Operation::commit_one_phase:
        return one_phase(call, branch);
    case core::Operation::pre_commit:
        return pre_commit(call, branch);
    case core::Operation::learn:
        if (const auto outcome = outcome_of(branch)) {
            return {call.key, CallResult::Decided{*outcome}};
        }
        return {call.key, CallResult::Done{}};
    case core::Operation::commit:
        if (branch.state == State::unknown || branch.state == State::aborted) {
            Ledger::commit_without_vote(xid);
        }
        if (host_.bug() == Bug::effect_applied_twice && branch.state == State::committed) {
            balance_ += branch.amount;
        }
        end(xid, branch, Outcome::committed);
        return {call.key, CallResult::Done{}};
    case core::Operation::abort:
        if (branch.state == State::committed) { // by an earlier transaction of this name
            return {call.key, CallResult::Decided{Outcome::committed}};
        }
        end(xid, branch, Outcome::aborted);
        return {call.key, CallResult::Done{}};
    }
    return {call.key, CallResult::Unknown{"no such operation"}};
}

CallResult Participant::prepare(const core::ParticipantCall& call, Branch& branch) {
    if (call.epoch.value() < branch.highest_epoch) {
        return {call.key, CallResult::Unknown{"stale epoch"}};
    }
    branch.highest_epoch = call.epoch.value();
    const std::string& xid = call.key.xid.value();
    if (const auto outcome = outcome_of(branch)) {
        return {call.key, CallResult::Decided{*outcome}};
    }
    if (branch.state == State::unknown) {
        if (host_.timeline().chance(60)) {
            end(xid, branch, Outcome::aborted); // a tombstone: refused for ever
            return {call.key, CallResult::Voted{core::Vote::no, "declined"}};
        }
        branch.amount = amount_in(call);
        branch.number = call.key.branch.value();
        branch.protocol = call.protocol;
        branch.quorum = call.quorum;
        for (const core::Peer& peer : call.peers) {
            branch.peers.push_back(peer.participant.value());
        }
        host_.ledger().voted_yes(xid, name_);
        if (branch.amount == 0 && call.protocol == core::Protocol::two_phase) {
            branch.state = State::read_only;
        } else {
            branch.state = State::prepared;
            watch(xid);
        }
    }
    if (branch.state == State::read_only) {
        return {call.key, CallResult::Voted{core::Vote::read_only, {}}};
    }
    if (host_.bug() == Bug::participant_commits_unasked) {
        end(xid, branch, Outcome::committed);
    }
    return {call.key, CallResult::Voted{core::Vote::yes, {}}};
}

CallResult Participant::one_phase(const core::ParticipantCall& call, Branch& branch) {
    if (branch.state == State::unknown) {
        const bool declines = host_.timeline().chance(60);
        branch.amount = amount_in(call);
        if (!declines) {
            host_.ledger().voted_yes(call.key.xid.value(), name_);
        }
        branch.state = State::prepared; // prepare and end are one local transaction
        end(call.key.xid.value(), branch, declines ? Outcome::aborted : Outcome::committed);
    }
    return {call.key, CallResult::Decided{outcome_of(branch).value_or(Outcome::aborted)}};
}

CallResult Participant::pre_commit(const core::ParticipantCall& call, Branch& branch) {
    if (const auto outcome = outcome_of(branch)) {
        return {call.key, CallResult::Decided{*outcome}};
    }
    if (branch.state != State::prepared) {
        return {call.key, CallResult::Unknown{"not prepared"}};
    }
    const bool accepted_it = branch.accepted == Ballot{};
    if (branch.promised > Ballot{} && !accepted_it &&
        host_.bug() != Bug::acceptor_ignores_promises) {
        return {call.key, CallResult::Refused{"ballot"}};
    }
    if (!accepted_it) {
        branch.accepted = Ballot{};
        branch.accepted_value = Outcome::committed;
    }
    return {call.key, CallResult::Done{}};
}

void Participant::end(const std::string& xid, Branch& branch, Outcome outcome) {
    if (branch.state == State::read_only || outcome_of(branch) == outcome) {
        return;
    }
    host_.ledger().ended(xid, name_, outcome);
    if (outcome == Outcome::committed) {
        balance_ += branch.amount;
        branch.state = State::committed;
    } else {
        branch.state = State::aborted;
    }
    terminations_.erase(xid);
}

// ---------------------------------------------------------------- branches in doubt

void Participant::watch(const std::string& xid) {
    host_.timeline().after(host_.timeline().between(300, 1'500), [this, xid, life = life_] {
        if (life == life_ && up_) {
            resolve(xid);
        }
    });
}

void Participant::resolve(const std::string& xid) {
    Branch& branch = branches_[xid];
    if (branch.state != State::prepared) {
        return;
    }
    if (host_.bug() == Bug::participant_decides_by_timeout) {
        end(xid, branch, Outcome::aborted);
        return;
    }
    if (branch.protocol == core::Protocol::three_phase && host_.timeline().chance(500)) {
        terminate(xid, branch);
    } else {
        host_.inquire(name_, xid);
    }
    watch(xid);
}

void Participant::learn_outcome(const std::string& xid, Outcome outcome) {
    Branch& branch = branches_[xid];
    if (branch.state == State::unknown && outcome == Outcome::committed) {
        Ledger::commit_without_vote(xid);
    }
    if (branch.state != State::committed || outcome == Outcome::committed) {
        end(xid, branch, outcome);
    }
}

void Participant::terminate(const std::string& xid, Branch& branch) {
    const Ballot ballot{branch.promised.round + 1, branch.number + 1};
    terminations_[xid] = Termination{.ballot = ballot};
    promised(xid, ballot, promise(xid, ballot));
    for (const std::string& peer : branch.peers) {
        host_.send(peer, [host = &host_, from = name_, xid, ballot](Participant& other) {
            const BallotAnswer answer = other.promise(xid, ballot);
            host->send(from, [xid, ballot, answer](Participant& asker) {
                asker.promised(xid, ballot, answer);
            });
        });
    }
}

BallotAnswer Participant::promise(const std::string& xid, Ballot ballot) {
    Branch& branch = branches_[xid];
    if (host_.bug() == Bug::acceptor_forgets && host_.timeline().chance(500)) {
        branch.promised = Ballot{};
        branch.accepted.reset();
    }
    if (branch.state == State::unknown) {
        end(xid, branch, Outcome::aborted); // Q2: it may still refuse, and does
    }
    if (const auto outcome = outcome_of(branch)) {
        return {.outcome = outcome};
    }
    if (ballot <= branch.promised) {
        return {};
    }
    branch.promised = ballot;
    return {.granted = true, .accepted = branch.accepted, .accepted_value = branch.accepted_value};
}

void Participant::promised(const std::string& xid, Ballot ballot, const BallotAnswer& answer) {
    const auto found = terminations_.find(xid);
    if (found == terminations_.end() || found->second.ballot != ballot || found->second.accepting) {
        return;
    }
    Branch& branch = branches_[xid];
    if (answer.outcome) {
        end(xid, branch, *answer.outcome);
        return;
    }
    Termination& own = found->second;
    own.promises += answer.granted ? 1 : 0;
    if (answer.accepted && (!own.highest || *own.highest < *answer.accepted)) {
        own.highest = answer.accepted;
        own.value = answer.accepted_value;
    }
    const std::size_t needed = host_.bug() == Bug::minority_terminates ? 1 : branch.quorum;
    if (own.promises < needed) {
        return;
    }
    if (host_.bug() == Bug::termination_ignores_accepted) {
        own.value = Outcome::aborted;
    }
    own.accepting = true;
    const Outcome value = own.value;
    const std::vector<std::string> peers = branch.peers;
    for (const std::string& peer : peers) {
        host_.send(peer, [host = &host_, from = name_, xid, ballot, value](Participant& other) {
            const BallotAnswer reply = other.accept(xid, ballot, value);
            host->send(from, [xid, ballot, reply](Participant& asker) {
                asker.accepted(xid, ballot, reply);
            });
        });
    }
    accepted(xid, ballot, accept(xid, ballot, value));
}

BallotAnswer Participant::accept(const std::string& xid, Ballot ballot, Outcome value) {
    Branch& branch = branches_[xid];
    if (const auto outcome = outcome_of(branch)) {
        return {.outcome = outcome};
    }
    if (branch.state != State::prepared || ballot < branch.promised) {
        return {};
    }
    branch.promised = ballot;
    branch.accepted = ballot;
    branch.accepted_value = value;
    return {.granted = true};
}

void Participant::accepted(const std::string& xid, Ballot ballot, const BallotAnswer& answer) {
    const auto found = terminations_.find(xid);
    if (found == terminations_.end() || found->second.ballot != ballot) {
        return;
    }
    Branch& branch = branches_[xid];
    if (answer.outcome) {
        end(xid, branch, *answer.outcome);
        return;
    }
    found->second.accepts += answer.granted ? 1 : 0;
    const std::size_t needed = host_.bug() == Bug::minority_terminates ? 1 : branch.quorum;
    if (found->second.accepts < needed) {
        return;
    }
    const Outcome outcome = found->second.value;
    const std::vector<std::string> peers = branch.peers;
    end(xid, branch, outcome);
    for (const std::string& peer : peers) {
        host_.send(peer, [xid, outcome](Participant& other) { other.learn_outcome(xid, outcome); });
    }
}

// ---------------------------------------------------------------- life

void Participant::crash() {
    up_ = false;
    ++life_;
    terminations_.clear();
    for (auto& [xid, branch] : branches_) {
        if (branch.state == State::prepared && host_.bug() == Bug::participant_forgets_prepared) {
            branch = Branch{};
        }
    }
}

void Participant::start() {
    if (up_) {
        return;
    }
    up_ = true;
    ++life_;
    for (const std::string& xid : in_doubt()) {
        watch(xid);
    }
}

} // namespace concordat::simulation
