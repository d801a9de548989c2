#include "coordinator/core/transaction_coordinator.hpp"

#include <gtest/gtest.h>
#include <iostream>

using namespace concordat::core;
using namespace std::chrono_literals;

// A whole two-phase commit runs through one node whose log commits at once.
TEST(TransactionCoordinator, commits_when_all_vote_yes) {
    CoordinatorOptions options;
    options.node = NodeId{1};
    options.seed = 7;
    TransactionCoordinator c(options);
    Instant now{};
    WallTime wall{};
    std::uint64_t index = 0;
    Actions all;
    auto turn = [&] {
        for (;;) {
            Actions a = c.take_actions();
            for (auto& call : a.calls) { all.calls.push_back(std::move(call)); }
            for (auto& r : a.replies) { all.replies.push_back(std::move(r)); }
            if (a.append.empty()) { break; }
            c.apply(LogIndex{++index}, std::move(a.append));
        }
    };
    c.advance(now, wall);
    c.became_leader();
    turn();
    ASSERT_TRUE(c.is_serving());
    for (const char* name : {"a", "b"}) {
        c.request(RequestToken{1}, PutParticipantRequest{ParticipantName{name}, {"http://x", "", 10s, 8}, "me"});
    }
    turn();
    all = {};
    BeginRequest begin;
    begin.branches.resize(2);
    begin.branches[0].participant = ParticipantName{"a"};
    begin.branches[1].participant = ParticipantName{"b"};
    c.request(RequestToken{2}, std::move(begin));
    turn();
    ASSERT_EQ(all.calls.size(), 2U);
    auto calls = std::move(all.calls);
    for (auto& call : calls) { c.call_result({call.key, CallResult::Voted{Vote::yes, ""}}); }
    all = {};
    turn();
    ASSERT_EQ(all.replies.size(), 1U);
    ASSERT_EQ(std::get<TransactionReply>(all.replies[0].second).view.outcome, Outcome::committed);
    ASSERT_EQ(all.calls.size(), 2U);
    for (auto& call : all.calls) { EXPECT_EQ(call.key.operation, Operation::commit); c.call_result({call.key, CallResult::Done{}}); }
    turn();
    c.advance(Instant{} + 1s, wall);
    turn();
    EXPECT_EQ(c.figures().in_flight, 0U);
}
