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

} // namespace
} // namespace concordat::log::test
