#include "coordinator/log/log_inspect.hpp"
#include "tests/unit/log/memory_file_system.hpp"
#include "tests/unit/log/node_harness.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <random>

namespace concordat::log::test {
namespace {

TEST(SingleNodeLog, applies_an_append_after_it_is_durable) {
    // The way from append through the disk to apply, with nothing else.
    Group group{1};
    group.start_all();
    const std::size_t leader = group.leader();
    ASSERT_TRUE(group.node(leader).append({"a", "b"}));
    EXPECT_TRUE(group.node(leader).machine().xids().empty()) << "applied before it was durable";
    ASSERT_TRUE(group.run_until([&] { return group.node(leader).machine().xids().size() == 2; }));
    EXPECT_EQ(group.node(leader).machine().xids(), (std::vector<std::string>{"a", "b"}));
}

TEST(SingleNodeLog, finds_everything_again_after_a_kill) {
    // What was applied was durable: an abrupt end loses none of it.
    Group group{1};
    group.start_all();
    group.leader();
    std::vector<std::string> expected;
    for (int i = 0; i < 100; ++i) {
        expected.push_back(fmt::format("x{}", i));
        ASSERT_TRUE(group.node(0).append({expected.back()}));
    }
    ASSERT_TRUE(group.run_until([&] { return group.node(0).machine().xids().size() == 100; }));
    group.kill(0);
    group.start(0);
    ASSERT_TRUE(group.node(0).opened()) << group.node(0).error();
    ASSERT_TRUE(group.run_until([&] { return group.node(0).log().status().replayed; }));
    EXPECT_EQ(group.node(0).machine().xids(), expected);
}

TEST(SingleNodeLog, restores_a_snapshot_and_drops_old_segments) {
    // Snapshots by bytes written bound both the directory and the replay.
    Group group{1, [](Options& options) {
                    options.segment_bytes = 4096;
                    options.snapshot_after_bytes = 20'000;
                    options.trailing_entries = 10;
                }};
    group.start_all();
    group.leader();
    for (int i = 0; i < 2000; ++i) {
        ASSERT_TRUE(group.run_until([&] { return group.node(0).append({fmt::format("x{}", i)}); }));
    }
    ASSERT_TRUE(group.run_until([&] { return group.node(0).machine().xids().size() == 2000; }));
    ASSERT_TRUE(group.run_until(
        [&] { return group.node(0).log().status().snapshot_index.value() > 1000; }));
    const auto expected = group.node(0).machine().xids();
    group.stop(0);
    const auto files = std::distance(std::filesystem::directory_iterator{group.directory_of(0)},
                                     std::filesystem::directory_iterator{});
    EXPECT_LT(files, 40);
    group.start(0);
    ASSERT_TRUE(group.node(0).opened()) << group.node(0).error();
    EXPECT_EQ(group.node(0).machine().restores(), 1);
    ASSERT_TRUE(group.run_until([&] { return group.node(0).log().status().replayed; }));
    EXPECT_EQ(group.node(0).machine().xids(), expected);
}

TEST(SingleNodeLog, refuses_an_append_that_is_too_large_or_too_many) {
    // Both limits say that nothing happened, and the second one passes by itself.
    Group group{1, [](Options& options) {
                    options.max_entry_bytes = 1000;
                    options.max_inflight_entries = 8;
                }};
    group.start_all();
    group.leader();
    std::vector<core::Command> large{core::End{core::Xid{std::string(2000, 'x')}, {}}};
    EXPECT_EQ(group.node(0).log().append(large).error(), AppendError::too_large);
    std::vector<core::Command> small{core::End{core::Xid{"x"}, {}}};
    std::size_t accepted = 0;
    while (group.node(0).log().append(small)) {
        ++accepted;
    }
    EXPECT_EQ(accepted, 8U);
    EXPECT_EQ(group.node(0).log().append(small).error(), AppendError::overloaded);
    ASSERT_TRUE(group.run_until([&] { return group.node(0).machine().xids().size() == 8; }));
    EXPECT_TRUE(group.node(0).log().append(small));
}

TEST(SingleNodeLog, answers_an_append_within_a_few_milliseconds) {
    // A coarse guard against waiting where nothing is to be waited for; the benchmark is precise.
    Group group{1};
    group.start_all();
    group.leader();
    std::vector<std::chrono::nanoseconds> latencies;
    for (std::size_t i = 0; i < 200; ++i) {
        const auto start = std::chrono::steady_clock::now();
        ASSERT_TRUE(group.node(0).append({"x"}));
        ASSERT_TRUE(group.run_until([&] { return group.node(0).machine().xids().size() > i; }));
        latencies.push_back(std::chrono::steady_clock::now() - start);
    }
    std::ranges::sort(latencies);
    EXPECT_LT(latencies[100], std::chrono::milliseconds{20});
    RecordProperty("p50_us", static_cast<int>(latencies[100].count() / 1000));
}

TEST(SingleNodeLog, ends_the_process_on_a_failed_sync) {
    // A later sync may succeed although the data is gone, so there is no second try (C21).
    auto files = std::make_shared<MemoryFileSystem>();
    Group group{1};
    group.start(0, {files, {}});
    ASSERT_TRUE(group.node(0).opened()) << group.node(0).error();
    group.leader();
    files->fault = [](MemoryFileSystem::Operation operation, const FileSystem::Path&) {
        return operation == MemoryFileSystem::Operation::sync ? EIO : 0;
    };
    ASSERT_TRUE(group.node(0).append({"a"}));
    ASSERT_TRUE(group.run_until([&] { return !group.node(0).fatal().empty(); }));
    EXPECT_TRUE(group.node(0).machine().xids().empty());
}

TEST(SingleNodeLog, refuses_work_while_the_disk_is_full_and_goes_on_by_itself) {
    // What was accepted is written when space returns (C20).
    auto files = std::make_shared<MemoryFileSystem>();
    Group group{1, [](Options& options) { options.segment_bytes = 4096; }};
    group.start(0, {files, {}});
    ASSERT_TRUE(group.node(0).opened()) << group.node(0).error();
    group.leader();
    files->capacity = 0;
    std::size_t accepted = 0;
    ASSERT_TRUE(group.run_until([&] {
        if (group.node(0).append({"x"})) {
            ++accepted;
            return false;
        }
        return true;
    }));
    ASSERT_GT(accepted, group.node(0).machine().xids().size());
    EXPECT_TRUE(group.node(0).fatal().empty());
    files->capacity = UINT64_MAX;
    ASSERT_TRUE(group.run_until([&] { return group.node(0).machine().xids().size() == accepted; }));
    ASSERT_TRUE(group.run_until([&] { return group.node(0).append({"y"}); }));
}

TEST(SingleNodeLog, survives_power_cuts_with_every_applied_entry) {
    // The whole node on a disk that loses and tears what was not synced (C19).
    std::mt19937_64 random{11};
    auto files = std::make_shared<MemoryFileSystem>();
    Group group{1, [](Options& options) {
                    options.segment_bytes = 4096;
                    options.snapshot_after_bytes = 3000;
                    options.trailing_entries = 5;
                }};
    std::vector<std::string> applied;
    for (int life = 0; life < 30; ++life) {
        group.start(0, {files, {}});
        ASSERT_TRUE(group.node(0).opened()) << "life " << life << ": " << group.node(0).error();
        ASSERT_TRUE(group.run_until([&] { return group.node(0).log().status().replayed; }));
        const auto& found = group.node(0).machine().xids();
        ASSERT_GE(found.size(), applied.size()) << "life " << life;
        ASSERT_TRUE(std::equal(applied.begin(), applied.end(), found.begin()));
        for (int i = 0; i < 40; ++i) {
            group.node(0).append({fmt::format("life {} {}", life, i)});
            group.turn();
        }
        applied = group.node(0).machine().xids();
        group.kill(0);
        files->cut_power(random);
    }
    EXPECT_GT(applied.size(), 100U);
}

TEST(SingleNodeLog, describes_its_data_directory) {
    // What an operator sees of a healthy and of a damaged directory.
    Group group{1};
    group.start_all();
    group.leader();
    ASSERT_TRUE(group.node(0).append({"a"}));
    ASSERT_TRUE(group.run_until([&] { return group.node(0).machine().xids().size() == 1; }));
    group.stop(0);
    const DataDirectoryReport report = describe_data_directory(group.directory_of(0));
    EXPECT_TRUE(report.healthy) << report.text;
    EXPECT_NE(report.text.find("node 1 of cluster \"test\""), std::string::npos) << report.text;
    EXPECT_NE(report.text.find("2 entries, last 2"), std::string::npos) << report.text;
    std::filesystem::resize_file(group.directory_of(0) / "vote", 10);
    EXPECT_FALSE(describe_data_directory(group.directory_of(0)).healthy);
}

} // namespace
} // namespace concordat::log::test
