#include "tests/unit/log/node_harness.hpp"

#include <fmt/core.h>

namespace concordat::log::test {
namespace {

/// Every node that is up has applied the same `count` xids.
bool all_have(Group& group, std::size_t count) {
    for (std::size_t i = 0; i < group.size(); ++i) {
        if (group.is_up(i) && group.node(i).machine().xids().size() != count) {
            return false;
        }
    }
    return true;
}

TEST(NodeLogGroup, replicates_to_all_nodes) {
    // The plain way of three nodes over real connections.
    Group group{3};
    group.start_all();
    const std::size_t leader = group.leader();
    std::vector<std::string> expected;
    for (int i = 0; i < 200; ++i) {
        expected.push_back(fmt::format("x{}", i));
        ASSERT_TRUE(group.node(leader).append({expected.back()}));
    }
    ASSERT_TRUE(group.run_until([&] { return all_have(group, 200); }));
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(group.node(i).machine().xids(), expected);
    }
}

TEST(NodeLogGroup, elects_another_leader_after_a_kill_and_takes_the_old_one_back) {
    // An abrupt end of the leader loses nothing that was applied, and the node catches up later.
    Group group{3};
    group.start_all();
    const std::size_t first = group.leader();
    ASSERT_TRUE(group.node(first).append({"a"}));
    ASSERT_TRUE(group.run_until([&] { return all_have(group, 1); }));
    group.kill(first);
    const std::size_t second = group.leader();
    ASSERT_NE(first, second);
    ASSERT_TRUE(group.run_until([&] { return group.node(second).append({"b"}); }));
    ASSERT_TRUE(group.run_until([&] { return all_have(group, 2); }));
    group.start(first);
    ASSERT_TRUE(group.node(first).opened()) << group.node(first).error();
    ASSERT_TRUE(group.run_until([&] { return all_have(group, 2); }));
    EXPECT_EQ(group.node(first).machine().xids(), (std::vector<std::string>{"a", "b"}));
}

TEST(NodeLogGroup, brings_a_node_back_that_missed_more_than_the_log_holds) {
    // It gets a snapshot through the wire, installs it on its disk, and restarts from it (C17).
    Group group{3, [](Options& options) {
                    options.segment_bytes = 16 << 10;
                    options.snapshot_after_bytes = 20'000;
                    options.trailing_entries = 10;
                }};
    group.start_all();
    std::size_t leader = group.leader();
    const std::size_t behind = (leader + 1) % 3;
    group.kill(behind);
    leader = group.leader();
    for (int i = 0; i < 1500; ++i) {
        ASSERT_TRUE(group.run_until([&] {
            leader = group.leader();
            return group.node(leader).append({fmt::format("x{}", i)});
        }));
    }
    ASSERT_TRUE(group.run_until([&] {
        return all_have(group, 1500) &&
               group.node(group.leader()).log().status().snapshot_index.value() > 500;
    }));
    group.start(behind);
    ASSERT_TRUE(group.node(behind).opened()) << group.node(behind).error();
    ASSERT_TRUE(group.run_until([&] { return all_have(group, 1500); }));
    EXPECT_GE(group.node(behind).machine().restores(), 1);
    EXPECT_EQ(group.node(behind).machine().xids(), group.node(group.leader()).machine().xids());
    group.kill(behind);
    group.start(behind);
    ASSERT_TRUE(group.node(behind).opened()) << group.node(behind).error();
    ASSERT_TRUE(group.run_until([&] { return all_have(group, 1500); }));
}

TEST(NodeLogGroup, hands_leadership_over_on_request) {
    // The planned hand-over is quick because the successor does not wait for a time-out.
    Group group{3};
    group.start_all();
    const std::size_t first = group.leader();
    ASSERT_TRUE(group.node(first).append({"a"}));
    ASSERT_TRUE(group.run_until([&] { return all_have(group, 1); }));
    const std::size_t wanted = (first + 1) % 3;
    group.node(first).log().transfer_leadership(core::NodeId{wanted + 1});
    ASSERT_TRUE(group.run_until([&] { return group.node(wanted).leads(); }));
    EXPECT_FALSE(group.node(first).leads());
}

TEST(NodeLogGroup, refuses_a_member_that_lost_its_disk) {
    // Under its old name it could vote twice in one term; the others remember its incarnation
    // (C16).
    Group group{3};
    group.start_all();
    const std::size_t leader = group.leader();
    ASSERT_TRUE(group.node(leader).append({"a"}));
    ASSERT_TRUE(group.run_until([&] { return all_have(group, 1); }));
    const std::size_t lost = (leader + 1) % 3;
    group.kill(lost);
    std::filesystem::remove_all(group.directory_of(lost));
    group.start(lost);
    ASSERT_TRUE(group.node(lost).opened()) << group.node(lost).error();
    ASSERT_TRUE(group.run_until([&] { return group.node(group.leader()).append({"b"}); }));
    ASSERT_TRUE(
        group.run_until([&] { return group.node(group.leader()).machine().xids().size() == 2; }));
    EXPECT_FALSE(group.run_until([&] { return !group.node(lost).machine().xids().empty(); },
                                 std::chrono::seconds{1}));
}

TEST(NodeLogGroup, commits_nothing_without_a_quorum_and_goes_on_with_it) {
    // One of three is not enough; what it appended is decided when the others are back (C12).
    Group group{3};
    group.start_all();
    const std::size_t leader = group.leader();
    ASSERT_TRUE(group.node(leader).append({"a"}));
    ASSERT_TRUE(group.run_until([&] { return all_have(group, 1); }));
    group.kill((leader + 1) % 3);
    group.kill((leader + 2) % 3);
    group.node(leader).append({"b"});
    EXPECT_FALSE(group.run_until([&] { return group.node(leader).machine().xids().size() == 2; },
                                 std::chrono::milliseconds{600}));
    EXPECT_FALSE(group.node(leader).leads());
    group.start((leader + 1) % 3);
    ASSERT_TRUE(group.run_until([&] { return group.node(group.leader()).append({"c"}); }));
    ASSERT_TRUE(
        group.run_until([&] { return group.node(group.leader()).machine().xids().back() == "c"; }));
}

} // namespace
} // namespace concordat::log::test
