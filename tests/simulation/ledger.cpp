#include "tests/simulation/ledger.hpp"

#include <algorithm>

namespace concordat::simulation {
namespace {

const char* name_of(core::Outcome outcome) {
    return outcome == core::Outcome::committed ? "committed" : "aborted";
}

} // namespace

void Ledger::planned(const std::string& xid, const std::map<std::string, std::int64_t>& amounts) {
    plans_.emplace(xid, amounts);
}

void Ledger::leads(log::Peer node, log::Term term) {
    if (leaders_.emplace(term, node).first->second != node) {
        throw Violation("two leaders in term " + std::to_string(term));
    }
}

void Ledger::applied(const log::Entry& entry, const std::vector<core::Command>& commands) {
    const auto [known, is_new] = history_.emplace(entry.index, entry);
    if (!(known->second == entry)) {
        throw Violation("two nodes applied different entries at " + std::to_string(entry.index));
    }
    if (!is_new) {
        return;
    }
    for (const core::Command& command : commands) {
        if (const auto* decide = std::get_if<core::Decide>(&command)) {
            decided(decide->xid.value(), decide->outcome, entry.index);
        }
    }
}

std::optional<core::Outcome> Ledger::decision_of(const std::string& xid) const {
    const auto found = decisions_.find(xid);
    return found == decisions_.end() ? std::nullopt : std::optional{found->second.outcome};
}

void Ledger::decided(const std::string& xid, core::Outcome outcome, log::Index index) {
    if (!decisions_.try_emplace(xid, Decision{outcome, index}).second) {
        return; // the first one stands
    }
    for (const auto& [participant, its_outcome] : ends_[xid]) {
        if (its_outcome != outcome) {
            throw Violation("I4: the log decides that " + xid + " is " + name_of(outcome) +
                            ", and it is " + name_of(its_outcome) + " at " + participant);
        }
    }
}

void Ledger::voted_yes(const std::string& xid, const std::string& participant) {
    yes_votes_[xid].insert(participant);
}

void Ledger::ended(const std::string& xid, const std::string& participant, core::Outcome outcome) {
    auto& ends = ends_[xid];
    if (!ends.emplace(participant, outcome).second) {
        throw Violation("I6: " + participant + " ended its branch of " + xid + " twice");
    }
    for (const auto& [other, its_outcome] : ends) {
        if (its_outcome != outcome) {
            throw Violation("I1: " + xid + " is " + name_of(outcome) + " at " + participant +
                            " and " + name_of(its_outcome) + " at " + other);
        }
    }
    if (const auto decision = decisions_.find(xid);
        decision != decisions_.end() && decision->second.outcome != outcome) {
        throw Violation("I4: " + xid + " was decided " + name_of(decision->second.outcome) +
                        " and is " + name_of(outcome) + " at " + participant);
    }
    if (outcome == core::Outcome::committed) {
        for (const auto& [name, amount] : plans_.at(xid)) {
            if (!yes_votes_[xid].contains(name)) {
                throw Violation("I2: " + xid + " commits without the vote of " + name);
            }
        }
    }
}

void Ledger::commit_without_vote(const std::string& xid) {
    throw Violation("I2: a branch of " + xid + " is told to commit and was never prepared");
}

void Ledger::told(const std::string& xid, core::Outcome outcome) {
    const auto decision = decisions_.find(xid);
    if (decision == decisions_.end() || decision->second.outcome != outcome) {
        throw Violation("I3: somebody was told that " + xid + " is " + name_of(outcome) +
                        ", which the log does not say");
    }
    if (!is_durable_(history_.at(decision->second.index))) {
        throw Violation("I3: somebody was told the outcome of " + xid + " before it was durable");
    }
    const auto [earlier, is_new] = told_.emplace(xid, outcome);
    if (!is_new && earlier->second != outcome) {
        throw Violation("I8: two answers about " + xid);
    }
}

void Ledger::audit(const std::map<std::string, std::int64_t>& balances) const {
    std::map<std::string, std::int64_t> expected;
    for (const auto& [name, balance] : balances) {
        expected[name] = 0;
    }
    for (const auto& [xid, decision] : decisions_) {
        const auto plan = plans_.find(xid);
        if (decision.outcome == core::Outcome::committed && plan != plans_.end()) {
            for (const auto& [name, amount] : plan->second) {
                expected[name] += amount;
            }
        }
    }
    for (const auto& [name, balance] : balances) {
        if (balance != expected[name]) {
            throw Violation("I6: " + name + " holds " + std::to_string(balance) + " instead of " +
                            std::to_string(expected[name]));
        }
    }
}

std::size_t Ledger::committed() const {
    return static_cast<std::size_t>(std::ranges::count_if(decisions_, [](const auto& item) {
        return item.second.outcome == core::Outcome::committed;
    }));
}

} // namespace concordat::simulation
