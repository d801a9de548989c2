// Changes of the group's members, one voter at a time.

#include "tests/unit/log/consensus_rig.hpp"

#include <gtest/gtest.h>

namespace concordat::log::test {
namespace {

std::vector<VotingMember> four_members() {
    std::vector<VotingMember> members = three_members();
    members.push_back({4, "d:4"});
    return members;
}

/// A leader that has committed an entry of its own term.
class ReadyLeader : public Rig {
public:
    ReadyLeader() {
        persist(win());
        persist(*engine().submit(time(), bytes_of("12345678")));
        commit();
    }
    /// Node 2 confirms everything, and then node 3.
    void commit() {
        for (const Peer peer : {Peer{2}, Peer{3}}) {
            receive(peer,
                    AppendEntriesResult{engine().hard_state().term, 0, engine().last_index()});
        }
    }
    auto change(std::vector<VotingMember> voters) {
        return engine().change_members(time(), std::move(voters));
    }
};

TEST(ConsensusMembers, are_changed_by_an_entry_that_counts_from_the_moment_it_is_in_the_log) {
    // The majority of the new members decides, the change itself included.
    ReadyLeader leader;
    const auto change = leader.change(four_members());
    ASSERT_TRUE(change);
    const auto writes = of_kind<PersistEntries>(*change);
    ASSERT_EQ(writes.size(), 1U);
    EXPECT_EQ(writes[0].entries.at(0).type, EntryType::configuration);
    EXPECT_EQ(leader.engine().members(), four_members());
    const Index index = leader.engine().last_index();
    leader.persist(*change);
    const Term term = leader.engine().hard_state().term;
    leader.receive(2, AppendEntriesResult{term, 0, index});
    EXPECT_LT(leader.engine().commit_index(), index) << "two of four are no majority";
    leader.receive(3, AppendEntriesResult{term, 0, index});
    EXPECT_EQ(leader.engine().commit_index(), index);
}

TEST(ConsensusMembers, receive_the_log_as_soon_as_they_are_named) {
    // A new voter starts with nothing and is sent what it lacks.
    ReadyLeader leader;
    const auto change = leader.change(four_members());
    ASSERT_TRUE(change);
    leader.persist(*change);
    leader.commit();
    bool is_sent = false;
    for (int i = 0; i < 20 && !is_sent; ++i) {
        leader.advance(15);
        for (const Send& send : of_kind<Send>(leader.engine().timeout(leader.time()))) {
            is_sent |= send.message.to == 4;
        }
        leader.commit();
    }
    EXPECT_TRUE(is_sent);
}

TEST(ConsensusMembers, are_not_changed_before_an_entry_of_the_leaders_own_term_is_committed) {
    // Two leaders could otherwise change the same older configuration in two ways, each with a
    // majority of its own (correction of 2015 to Ongaro 2014, §4.1).
    Rig rig;
    rig.persist(rig.win());
    rig.persist(*rig.engine().submit(rig.time(), bytes_of("12345678")));
    const auto refused = rig.engine().change_members(rig.time(), four_members());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error(), MembersError::not_ready);
}

TEST(ConsensusMembers, are_changed_one_change_at_a_time) {
    // Majorities of configurations that are two changes apart need not overlap.
    ReadyLeader leader;
    const auto first = leader.change(four_members());
    ASSERT_TRUE(first);
    leader.persist(*first);
    const auto second = leader.change(three_members());
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error(), MembersError::change_in_progress);
    leader.commit();
    EXPECT_TRUE(leader.change(three_members())) << "now the first one is committed";
}

TEST(ConsensusMembers, change_by_exactly_one_voter) {
    // Everything else is refused without effect.
    ReadyLeader leader;
    std::vector<VotingMember> five = four_members();
    five.push_back({5, "e:5"});
    std::vector<VotingMember> exchanged = three_members();
    exchanged.back() = {4, "d:4"};
    std::vector<VotingMember> moved = three_members();
    moved.back().address = "elsewhere:3";
    std::vector<VotingMember> twice = three_members();
    twice.push_back({4, "a:1"});
    for (const auto& wrong : {five, exchanged, moved, twice, three_members(), {}}) {
        const auto refused = leader.change(wrong);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error(), MembersError::not_one_change);
    }
    EXPECT_EQ(leader.engine().members(), three_members());
}

TEST(ConsensusMembers, are_changed_by_the_leader_alone) {
    // Nobody else knows what is committed.
    Rig rig;
    const auto refused = rig.engine().change_members(rig.time(), four_members());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error(), MembersError::not_leader);
}

TEST(ConsensusMembers, lose_a_leader_that_removes_itself_when_that_is_committed) {
    // Until then it must lead, for the others may not know of the change.
    ReadyLeader leader;
    const auto change = leader.change({{2, "b:2"}, {3, "c:3"}});
    ASSERT_TRUE(change);
    leader.persist(*change);
    EXPECT_EQ(leader.engine().role(), EngineRole::leader);
    const Term term = leader.engine().hard_state().term;
    leader.receive(2, AppendEntriesResult{term, 0, leader.engine().last_index()});
    EXPECT_EQ(leader.engine().role(), EngineRole::leader) << "its own vote does not count";
    leader.receive(3, AppendEntriesResult{term, 0, leader.engine().last_index()});
    EXPECT_EQ(leader.engine().role(), EngineRole::follower);
}

TEST(ConsensusMembers, fall_back_when_the_change_is_overwritten) {
    // A follower that had an uncommitted change goes back to the configuration before it.
    Rig rig;
    const auto bytes = bytes_of(encode_configuration(four_members()));
    rig.append(2, 1, 1, {{2, 2, EntryType::configuration, bytes}});
    EXPECT_EQ(rig.engine().members(), four_members());
    rig.receive(3, AppendEntries{3, 1, 1, 0, {command(2, 3)}});
    EXPECT_EQ(rig.engine().members(), three_members());
}

} // namespace
} // namespace concordat::log::test
