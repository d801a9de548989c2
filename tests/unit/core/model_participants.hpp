#pragma once

// Participants of the property test: durable state machines that obey docs/concepts/protocols.md,
// ballots among themselves included. They check I1, I2 and I4 as far as a participant can see them.

#include "coordinator/core/transaction_coordinator.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

namespace concordat::core {

struct ModelBranch {
    enum class State { unknown, prepared, committed, aborted };
    State state = State::unknown;
    bool read_only = false;
    bool wants_no = false;
    bool wants_read_only = false;
    std::uint64_t highest_epoch = 0;
    Protocol protocol = Protocol::two_phase;
    std::size_t quorum = 0;
    std::size_t participants = 0;
    Ballot promised;
    std::optional<Ballot> accepted;
    Outcome accepted_value = Outcome::aborted;
};

class ModelParticipants {
public:
    explicit ModelParticipants(std::function<bool(unsigned)> chance) : chance_(std::move(chance)) {}

    [[nodiscard]] const std::map<std::pair<std::string, std::uint16_t>, ModelBranch>&
    branches() const {
        return branches_;
    }
    /// What became of each transaction, as its participants carried it out.
    [[nodiscard]] const std::map<std::string, std::set<Outcome>>& outcomes() const {
        return outcomes_;
    }

    /// Participants in doubt are told an outcome.
    void learn(const std::string& xid, Outcome outcome) {
        for (auto& [key, branch] : branches_) {
            if (key.first == xid) {
                finish(xid, branch, outcome);
            }
        }
    }

    CallResult serve(const ParticipantCall& call) {
        ModelBranch& branch = branch_of(call.key);
        const std::string& xid = call.key.xid.value();
        const auto answer = [&](auto value) { return CallResult{call.key, std::move(value)}; };
        switch (call.key.operation) {
        case Operation::prepare:
            return answer_prepare(call, branch);
        case Operation::commit_one_phase:
            if (branch.state == ModelBranch::State::unknown) {
                branch.state =
                    branch.wants_no ? ModelBranch::State::aborted : ModelBranch::State::committed;
                record(xid, *outcome_of(branch));
            }
            return answer(CallResult::Decided{*outcome_of(branch)});
        case Operation::pre_commit:
            if (const auto outcome = outcome_of(branch)) {
                return answer(CallResult::Decided{*outcome});
            }
            if (branch.promised > Ballot{} && branch.accepted != Ballot{}) {
                return answer(CallResult::Refused{"ballot"});
            }
            branch.accepted = branch.accepted.value_or(Ballot{});
            branch.accepted_value = Outcome::committed;
            return answer(CallResult::Done{});
        case Operation::learn:
            if (const auto outcome = outcome_of(branch)) {
                return answer(CallResult::Decided{*outcome});
            }
            return answer(CallResult::Done{});
        case Operation::commit:
            finish(xid, branch, Outcome::committed);
            EXPECT_NE(branch.state, ModelBranch::State::aborted) << xid;
            return answer(CallResult::Done{});
        case Operation::abort:
            finish(xid, branch, Outcome::aborted);
            EXPECT_NE(branch.state, ModelBranch::State::committed) << xid;
            return answer(CallResult::Done{});
        }
        return answer(CallResult::Unknown{});
    }

    /// A participant in doubt runs a ballot among the peers it reaches.
    void terminate(const std::string& xid, std::uint16_t self, bool all_reachable) {
        ModelBranch& own = branches_[{xid, self}];
        const Ballot ballot{++last_round_, self + 1U};
        std::size_t promises = 0;
        std::optional<Ballot> highest;
        std::optional<Outcome> settled;
        Outcome value = Outcome::aborted;
        const auto reaches = [&](std::uint16_t branch) {
            return branch == self || all_reachable || chance_(70);
        };
        for (std::uint16_t i = 0; i < own.participants; ++i) {
            if (!reaches(i)) {
                continue;
            }
            ModelBranch& peer = branches_[{xid, i}];
            if (peer.state == ModelBranch::State::unknown) {
                peer.state = ModelBranch::State::aborted;
            }
            if (const auto outcome = outcome_of(peer)) {
                settled = outcome;
                continue;
            }
            if (ballot <= peer.promised) {
                continue;
            }
            peer.promised = ballot;
            ++promises;
            if (peer.accepted && (!highest || *highest < *peer.accepted)) {
                highest = peer.accepted;
                value = peer.accepted_value;
            }
        }
        if (!settled && promises < own.quorum) {
            return;
        }
        std::size_t accepts = 0;
        for (std::uint16_t i = 0; i < own.participants && !settled; ++i) {
            ModelBranch& peer = branches_[{xid, i}];
            if (!reaches(i) || outcome_of(peer) || ballot < peer.promised) {
                continue;
            }
            peer.promised = ballot;
            peer.accepted = ballot;
            peer.accepted_value = value;
            ++accepts;
        }
        if (!settled && accepts < own.quorum) {
            return;
        }
        const Outcome outcome = settled.value_or(value);
        finish(xid, own, outcome);
    }

private:
    ModelBranch& branch_of(const CallKey& key) {
        const auto [place, is_new] = branches_.try_emplace({key.xid.value(), key.branch.value()});
        if (is_new) {
            place->second.wants_no = chance_(8);
            place->second.wants_read_only = chance_(8);
        }
        return place->second;
    }

    void record(const std::string& xid, Outcome outcome) {
        outcomes_[xid].insert(outcome);
        // I1 and I4 as participants see it.
        ASSERT_EQ(outcomes_[xid].size(), 1U) << xid << " is both committed and aborted";
    }

    void finish(const std::string& xid, ModelBranch& branch, Outcome outcome) {
        if (branch.read_only) {
            return;
        }
        if (branch.state == ModelBranch::State::prepared) {
            branch.state = outcome == Outcome::committed ? ModelBranch::State::committed
                                                         : ModelBranch::State::aborted;
            record(xid, outcome);
        } else if (branch.state == ModelBranch::State::unknown) {
            ASSERT_EQ(outcome, Outcome::aborted) << xid << ": commit of an unprepared branch (I2)";
            branch.state = ModelBranch::State::aborted;
        }
    }

    static std::optional<Outcome> outcome_of(const ModelBranch& branch) {
        if (branch.state == ModelBranch::State::committed) {
            return Outcome::committed;
        }
        if (branch.state == ModelBranch::State::aborted) {
            return Outcome::aborted;
        }
        return std::nullopt;
    }

    CallResult answer_prepare(const ParticipantCall& call, ModelBranch& branch) {
        if (call.epoch.value() < branch.highest_epoch) {
            return {call.key, CallResult::Unknown{"stale epoch"}};
        }
        branch.highest_epoch = call.epoch.value();
        if (branch.read_only) {
            return {call.key, CallResult::Voted{Vote::read_only, {}}};
        }
        if (const auto outcome = outcome_of(branch)) {
            return {call.key, CallResult::Decided{*outcome}};
        }
        if (branch.state == ModelBranch::State::unknown) {
            if (branch.wants_no) {
                branch.state = ModelBranch::State::aborted;
                return {call.key, CallResult::Voted{Vote::no, "no"}};
            }
            if (branch.wants_read_only && call.protocol == Protocol::two_phase) {
                branch.read_only = true;
                return {call.key, CallResult::Voted{Vote::read_only, {}}};
            }
            branch.state = ModelBranch::State::prepared;
            branch.protocol = call.protocol;
            branch.quorum = call.quorum;
            branch.participants = call.peers.size() + 1;
        }
        return {call.key, CallResult::Voted{Vote::yes, {}}};
    }

    std::function<bool(unsigned)> chance_;
    std::map<std::pair<std::string, std::uint16_t>, ModelBranch> branches_;
    std::map<std::string, std::set<Outcome>> outcomes_;
    std::uint64_t last_round_ = 0;
};

} // namespace concordat::core
