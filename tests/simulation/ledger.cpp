#include "tests/simulation/ledger.hpp"

#include <algorithm>
#include <charconv>

namespace concordat::simulation {
namespace {

const char* name_of(core::Outcome outcome) {
    return outcome == core::Outcome::committed ? "committed" : "aborted";
}

} // namespace

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
        if (const auto* begin = std::get_if<core::Begin>(&command)) {
            begun(*begin);
        } else if (const auto* decide = std::get_if<core::Decide>(&command)) {
            check_no_late_abort(*decide);
            decided(decide->xid.value(), decide->outcome, entry.index);
        } else if (const auto* end = std::get_if<core::End>(&command)) {
            ending(*end);
            ++finished_;
        }
        const core::Applied done = state_.apply(core::LogIndex{entry.index}, command);
        if (const auto* enlist = std::get_if<core::Enlist>(&command);
            enlist != nullptr && done.effect == core::Applied::Effect::changed) {
            add_branch(enlist->xid.value(), enlist->branch);
        } else if (const auto* decide = std::get_if<core::Decide>(&command)) {
            check_first_stands(decide->xid);
        }
    }
    state_.applied_through(core::LogIndex{entry.index});
}

void Ledger::begun(const core::Begin& begin) {
    const std::string& xid = begin.xid.value();
    if (state_.find(begin.xid) != nullptr) {
        return; // known: no effect
    }
    // A client may choose the xid of a transaction that is forgotten: another one begins. What
    // participants have ended stays ended (the last line of defence).
    if (decisions_.erase(xid) > 0) {
        told_.erase(xid);
        begun_.erase(xid);
        past_ends_[xid].merge(ends_[xid]);
        ends_.erase(xid);
        plans_.erase(xid);
    }
    for (const core::BranchSpec& branch : begin.branches) {
        add_branch(xid, branch);
    }
}

void Ledger::add_branch(const std::string& xid, const core::BranchSpec& branch) {
    std::int64_t amount = 0;
    if (branch.payload) {
        std::from_chars(branch.payload->data(), branch.payload->data() + branch.payload->size(),
                        amount);
    }
    plans_[xid][branch.participant.value()] += amount;
}

void Ledger::decided(const std::string& xid, core::Outcome outcome, log::Index index) {
    ++finished_;
    if (!decisions_.try_emplace(xid, Decision{outcome, index, finished_}).second) {
        return; // the first one stands
    }
    if (const auto earlier = told_.find(xid);
        earlier != told_.end() && earlier->second != outcome) {
        throw Violation("I4: somebody was told that " + xid + " is " + name_of(earlier->second) +
                        " before the log decides something else");
    }
    if (outcome == core::Outcome::aborted) {
        ++aborted_;
    } else {
        ++committed_;
        // What a participant has carried out under this name before, it does not carry out again.
        const auto past = past_ends_.find(xid);
        for (const auto& [participant, amount] : plans_[xid]) {
            if (past == past_ends_.end() || !past->second.contains(participant)) {
                expected_[participant] += amount;
            }
        }
    }
    for (const auto& [participant, its_outcome] : ends_[xid]) {
        if (its_outcome != outcome) {
            throw Violation("I4: the log decides that " + xid + " is " + name_of(outcome) +
                            ", and it is " + name_of(its_outcome) + " at " + participant);
        }
    }
}

/// Q4: after PRECOMMIT only the participants may still abort.
void Ledger::check_no_late_abort(const core::Decide& decide) const {
    const core::TransactionRecord* record = state_.find(decide.xid);
    if (record != nullptr && record->state == core::TransactionState::precommitted &&
        decide.outcome == core::Outcome::aborted &&
        decide.reason != core::DecisionReason::participants_terminated) {
        throw Violation("Q4: the coordinator aborts " + decide.xid.value() +
                        " although PRECOMMIT is in the log");
    }
}

void Ledger::check_first_stands(const core::Xid& xid) const {
    const core::TransactionRecord* record = state_.find(xid);
    const auto first = decisions_.find(xid.value());
    if (record != nullptr && record->decision && first != decisions_.end() &&
        record->decision->outcome != first->second.outcome) {
        throw Violation("I4: " + xid.value() + " was decided, and a later decision replaces it");
    }
}

/// C8: a commit may be forgotten from now on, so everybody must have it.
void Ledger::ending(const core::End& end) const {
    const core::TransactionRecord* record = state_.find(end.xid);
    if (record == nullptr || record->state != core::TransactionState::committing) {
        return;
    }
    const std::string& xid = end.xid.value();
    const auto& spared = record->decision->without_effect;
    const auto ends = ends_.find(xid);
    const auto past = past_ends_.find(xid);
    for (std::size_t i = 0; i < record->begin.branches.size(); ++i) {
        const std::string& name = record->begin.branches[i].participant.value();
        const bool has_ended = (ends != ends_.end() && ends->second.contains(name)) ||
                               (past != past_ends_.end() && past->second.contains(name));
        const core::BranchNumber number{static_cast<std::uint16_t>(i)};
        if (!has_ended && std::ranges::find(spared, number) == spared.end()) {
            throw Violation("C8: the commit of " + xid + " ends, and " + name + " has not got it");
        }
    }
}

void Ledger::check_decided(const std::string& xid, core::Outcome outcome) const {
    const auto decision = decisions_.find(xid);
    if (decision == decisions_.end() || decision->second.outcome != outcome) {
        throw Violation("I3: a participant is told that " + xid + " is " + name_of(outcome) +
                        ", which the log does not say");
    }
}

void Ledger::calling(const core::ParticipantCall& call) const {
    const std::string& xid = call.key.xid.value();
    const core::TransactionRecord* record = state_.find(call.key.xid);
    if (past_ends_.contains(xid)) {
        return; // a leader that was replaced long ago may still speak of the earlier one
    }
    switch (call.key.operation) {
    case core::Operation::commit:
        check_decided(xid, core::Outcome::committed);
        return;
    case core::Operation::abort:
        check_decided(xid, core::Outcome::aborted);
        return;
    case core::Operation::pre_commit:
        if (record != nullptr && record->state == core::TransactionState::active) {
            throw Violation("Q5: PRE-COMMIT of " + xid + " before PRECOMMIT is in the log");
        }
        return;
    case core::Operation::commit_one_phase:
        if (record == nullptr && !decisions_.contains(xid)) {
            throw Violation("C1: one-phase commit of " + xid + " before BEGIN is in the log");
        }
        return;
    case core::Operation::prepare:
    case core::Operation::learn:
        return;
    }
}

std::optional<core::Outcome> Ledger::decision_of(const std::string& xid) const {
    const auto found = decisions_.find(xid);
    return found == decisions_.end() ? std::nullopt : std::optional{found->second.outcome};
}

bool Ledger::may_be_forgotten(const std::string& xid) const {
    const auto found = decisions_.find(xid);
    return found != decisions_.end() &&
           finished_ - found->second.finished_before >= limits_.finished_transactions;
}

void Ledger::voted_yes(const std::string& xid, const std::string& participant) {
    yes_votes_[xid].insert(participant);
}

void Ledger::obeyed(const std::string& xid, const std::string& participant, core::Epoch epoch,
                    core::Epoch seen) {
    if (epoch < seen) {
        throw Violation("C10: " + participant + " obeys a PREPARE of " + xid + " from epoch " +
                        std::to_string(epoch.value()) + " after one from epoch " +
                        std::to_string(seen.value()));
    }
}

void Ledger::ended(const std::string& xid, const std::string& participant, core::Outcome outcome) {
    auto& ends = ends_[xid];
    const auto past = past_ends_.find(xid);
    const bool ended_before = past != past_ends_.end() && past->second.contains(participant);
    if (!ends.emplace(participant, outcome).second || ended_before) {
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
        const auto plan = plans_.find(xid);
        if (plan == plans_.end()) {
            throw Violation("I2: " + xid + " commits at " + participant + " before it has begun");
        }
        for (const auto& [name, amount] : plan->second) {
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
    if (outcome == core::Outcome::aborted && may_be_forgotten(xid)) {
        return; // whoever still asks about a forgotten transaction belongs to an abort
    }
    const auto decision = decisions_.find(xid);
    if (decision == decisions_.end() && outcome == core::Outcome::aborted &&
        state_.is_closed(core::Xid{xid})) {
        told_.emplace(xid, outcome); // of an epoch that is over: it can never be begun
        return;
    }
    if (decision == decisions_.end() || decision->second.outcome != outcome) {
        throw Violation("I3: somebody was told that " + xid + " is " + name_of(outcome) +
                        ", which the log does not say");
    }
    const auto [earlier, is_new] = told_.emplace(xid, outcome);
    if (is_new && !is_durable_(history_.at(decision->second.index))) {
        throw Violation("I3: somebody was told the outcome of " + xid + " before it was durable");
    }
    if (!is_new && earlier->second != outcome) {
        throw Violation("I8: two answers about " + xid);
    }
    begun_.insert(xid);
}

Ledger::Knowledge Ledger::known(const std::string& xid) const {
    Knowledge known{begun_.contains(xid), std::nullopt};
    if (const auto found = told_.find(xid); found != told_.end()) {
        known.outcome = found->second;
    }
    return known;
}

void Ledger::read_not_found(const std::string& xid, const Knowledge& known) const {
    if (known.begun && begun_.contains(xid) && !may_be_forgotten(xid)) {
        throw Violation("I8: " + xid + " was begun, and a later read does not find it");
    }
}

void Ledger::read(const std::string& xid, const Knowledge& known,
                  std::optional<core::Outcome> outcome) const {
    if (known.outcome && known.outcome != outcome && told_.contains(xid) &&
        !may_be_forgotten(xid)) {
        throw Violation("I8: somebody was told that " + xid + " is " + name_of(*known.outcome) +
                        ", and a later read says something else");
    }
}

void Ledger::audit(const std::map<std::string, std::int64_t>& balances) const {
    std::int64_t total = 0;
    for (const auto& [name, balance] : balances) {
        const auto expected = expected_.find(name);
        const std::int64_t amount = expected == expected_.end() ? 0 : expected->second;
        if (balance != amount) {
            throw Violation("I6: " + name + " holds " + std::to_string(balance) + " instead of " +
                            std::to_string(amount));
        }
        total += balance;
    }
    if (total != 0) { // every client moves money, none makes any
        throw Violation("I6: money was made or lost: " + std::to_string(total));
    }
}

} // namespace concordat::simulation
