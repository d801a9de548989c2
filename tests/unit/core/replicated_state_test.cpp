#include "coordinator/core/replicated_state.hpp"

#include <gtest/gtest.h>

namespace concordat::core {
namespace {

SharedBytes bytes(const char* text) {
    return std::make_shared<const std::string>(text);
}

Begin begin_of(const char* xid, const char* key = "") {
    Begin begin;
    begin.xid = Xid{xid};
    begin.digest = "digest";
    begin.idempotency_key = key;
    begin.capability = "secret";
    begin.branches.push_back({ParticipantName{"a"}, bytes("payload"), std::nullopt});
    return begin;
}

Decide decide_of(const char* xid, Outcome outcome,
                 DecisionReason reason = DecisionReason::all_voted_yes) {
    Decide decide;
    decide.xid = Xid{xid};
    decide.outcome = outcome;
    decide.reason = reason;
    return decide;
}

class Replicated : public ::testing::Test {
protected:
    Applied apply(Command command) {
        const Applied applied = state.apply(LogIndex{++index}, std::move(command));
        state.applied_through(LogIndex{index});
        return applied;
    }
    bool has_effect(Command command) {
        return apply(std::move(command)).effect == Applied::Effect::changed;
    }
    TransactionState state_of(const char* xid) { return state.find(Xid{xid})->state; }
    void finish(const char* xid, Outcome outcome = Outcome::committed, const char* key = "") {
        apply(begin_of(xid, key));
        apply(decide_of(xid, outcome));
        apply(End{Xid{xid}, {}});
    }

    ReplicatedState state{RetentionLimits{2, 3}};
    std::uint64_t index = 0;
};

// The first decision wins; any later one changes nothing (I4).
TEST_F(Replicated, keeps_the_first_decision) {
    apply(begin_of("t"));
    EXPECT_TRUE(has_effect(decide_of("t", Outcome::committed)));
    EXPECT_FALSE(has_effect(decide_of("t", Outcome::aborted, DecisionReason::operator_aborted)));
    EXPECT_EQ(state_of("t"), TransactionState::committing);
    EXPECT_FALSE(has_effect(Precommit{Xid{"t"}, {}}));
    apply(End{Xid{"t"}, {}});
    EXPECT_FALSE(has_effect(decide_of("t", Outcome::aborted)));
    EXPECT_EQ(state_of("t"), TransactionState::committed);
}

// A second BEGIN for a known xid, an END without decision, an ENLIST after it: no effect.
TEST_F(Replicated, ignores_what_comes_out_of_place) {
    apply(begin_of("t"));
    EXPECT_FALSE(has_effect(begin_of("t")));
    EXPECT_FALSE(has_effect(End{Xid{"t"}, {}}));
    EXPECT_FALSE(has_effect(End{Xid{"unknown"}, {}}));
    EXPECT_TRUE(has_effect(Enlist{Xid{"t"}, {ParticipantName{"b"}, bytes("x"), std::nullopt}, {}}));
    apply(decide_of("t", Outcome::aborted));
    EXPECT_FALSE(
        has_effect(Enlist{Xid{"t"}, {ParticipantName{"c"}, bytes("x"), std::nullopt}, {}}));
    EXPECT_EQ(state.find(Xid{"t"})->begin.branches.size(), 2U);
}

// ABORT of an unknown xid leaves a tombstone that a late BEGIN cannot pass; COMMIT leaves nothing.
TEST_F(Replicated, makes_a_tombstone_of_an_unknown_abort) {
    EXPECT_TRUE(
        has_effect(decide_of("t", Outcome::aborted, DecisionReason::inquiry_before_decision)));
    EXPECT_EQ(state_of("t"), TransactionState::aborted);
    EXPECT_FALSE(has_effect(begin_of("t")));
    EXPECT_FALSE(has_effect(decide_of("u", Outcome::committed)));
    EXPECT_EQ(state.find(Xid{"u"}), nullptr);
}

// Q4: after PRECOMMIT only the participants' own abort counts.
TEST_F(Replicated, aborts_after_precommit_only_what_participants_aborted) {
    apply(begin_of("t"));
    EXPECT_TRUE(has_effect(Precommit{Xid{"t"}, {}}));
    EXPECT_FALSE(has_effect(decide_of("t", Outcome::aborted, DecisionReason::deadline_passed)));
    EXPECT_TRUE(
        has_effect(decide_of("t", Outcome::aborted, DecisionReason::participants_terminated)));
}

// A finished transaction gives its payloads and its secret back.
TEST_F(Replicated, drops_payloads_when_finished) {
    finish("t");
    const TransactionRecord& record = *state.find(Xid{"t"});
    ASSERT_NE(record.begin.branches[0].payload, nullptr);
    EXPECT_TRUE(record.begin.branches[0].payload->empty());
    EXPECT_TRUE(record.begin.capability.empty());
}

// Only finished transactions are forgotten, the oldest first, with their idempotency keys.
TEST_F(Replicated, forgets_the_oldest_finished) {
    apply(begin_of("open"));
    finish("t1", Outcome::committed, "k1");
    finish("t2", Outcome::committed, "k2");
    EXPECT_NE(state.find_idempotency("k1"), nullptr);
    finish("t3");
    EXPECT_EQ(state.find(Xid{"t1"}), nullptr);
    EXPECT_EQ(state.find_idempotency("k1"), nullptr);
    EXPECT_NE(state.find_idempotency("k2"), nullptr);
    EXPECT_NE(state.find(Xid{"open"}), nullptr);
    EXPECT_EQ(state.unfinished().size(), 1U);
    EXPECT_EQ(state.finished().size(), 2U);
}

// A server-made xid is closed once given out or once its epoch is over, unless it is known.
TEST_F(Replicated, closes_server_made_xids) {
    apply(LeaderEpoch{NodeId{1}, 9});
    const Epoch epoch = state.epoch();
    const Xid first = make_server_xid(0, epoch, 1);
    const Xid fifth = make_server_xid(0, epoch, 5);
    apply(begin_of(fifth.value().c_str()));
    EXPECT_FALSE(state.is_closed(fifth)) << "known, not forgotten";
    EXPECT_TRUE(state.is_closed(first));
    EXPECT_FALSE(state.is_closed(make_server_xid(0, epoch, 6)));
    EXPECT_FALSE(state.is_closed(Xid{"chosen-by-a-client"}));
    apply(LeaderEpoch{NodeId{2}, 9});
    EXPECT_TRUE(state.is_closed(make_server_xid(0, epoch, 6)));
}

// C17: a snapshot restores exactly the same state, and what follows has the same effect on both.
TEST_F(Replicated, is_identical_after_a_snapshot) {
    apply(LeaderEpoch{NodeId{3}, 1});
    apply(PutParticipant{ParticipantName{"a"}, {"http://a", "tls", std::chrono::seconds{1}, 7}});
    apply(OperatorAction{"who", "what", "object", "why", {}});
    apply(begin_of("open", "key"));
    finish("t1");
    finish("t2", Outcome::aborted);
    apply(begin_of("half"));
    apply(Precommit{Xid{"half"}, {}});

    ReplicatedState copy{RetentionLimits{2, 3}};
    copy.restore(state.capture());
    EXPECT_EQ(copy.fingerprint(), state.fingerprint());
    EXPECT_EQ(copy.applied_index(), state.applied_index());
    EXPECT_EQ(copy.unfinished(), state.unfinished());

    for (const char* xid : {"t3", "t4"}) {
        for (ReplicatedState* each : {&copy, &state}) {
            each->apply(LogIndex{100}, begin_of(xid));
            each->apply(LogIndex{100}, decide_of(xid, Outcome::committed));
            each->apply(LogIndex{100}, End{Xid{xid}, {}});
        }
    }
    EXPECT_EQ(copy.fingerprint(), state.fingerprint());
    EXPECT_EQ(copy.find(Xid{"t1"}), nullptr);
}

// Any difference that a reader could see changes the fingerprint.
TEST_F(Replicated, has_another_fingerprint_after_any_change) {
    std::vector<std::uint64_t> seen{state.fingerprint()};
    const auto changes = [&](Command command) {
        apply(std::move(command));
        const std::uint64_t now = state.fingerprint();
        EXPECT_EQ(std::count(seen.begin(), seen.end(), now), 0);
        seen.push_back(now);
    };
    changes(begin_of("t"));
    changes(Enlist{Xid{"t"}, {ParticipantName{"b"}, bytes("x"), std::nullopt}, {}});
    changes(Precommit{Xid{"t"}, {}});
    changes(decide_of("t", Outcome::committed));
    changes(End{Xid{"t"}, {}});
    changes(PutParticipant{ParticipantName{"a"}, {}});
    changes(RemoveParticipant{ParticipantName{"a"}});
    changes(OperatorAction{"w", "a", "o", "y", {}});
    changes(ReadBarrier{});
}

// The audit keeps its newest entries.
TEST_F(Replicated, bounds_the_audit) {
    for (const char* who : {"1", "2", "3", "4"}) {
        apply(OperatorAction{who, "a", "o", "y", {}});
    }
    ASSERT_EQ(state.audit().size(), 3U);
    EXPECT_EQ(state.audit().front().second.who, "2");
}

} // namespace
} // namespace concordat::core
