// What transcripts (tests/golden) tell badly: counts, limits, entries that are split, and events
// that the shell may get wrong.

#include "coordinator/core/transaction_coordinator.hpp"

#include <gtest/gtest.h>

#include <deque>

namespace concordat::core {
namespace {

using namespace std::chrono_literals;

/// One node whose log commits an entry when told to.
class OneNode : public ::testing::Test {
protected:
    explicit OneNode(CoordinatorOptions options = defaults()) : core(std::move(options)) {
        core.advance(now, {});
        core.became_leader();
        turn();
        for (const char* name : {"a", "b"}) {
            core.request(
                next_token(),
                PutParticipantRequest{ParticipantName{name}, {"http://p", "", 10s, 1'000}, "test"});
        }
        turn();
        replies.clear();
    }

    static CoordinatorOptions defaults() {
        CoordinatorOptions options;
        options.node = NodeId{1};
        options.seed = 3;
        return options;
    }

    RequestToken next_token() { return RequestToken{++last_token}; }

    RequestToken begin(std::size_t branches = 2, std::size_t payload_bytes = 2) {
        BeginRequest request;
        for (std::size_t i = 0; i < branches; ++i) {
            request.branches.push_back({ParticipantName{i % 2 == 0 ? "a" : "b"},
                                        std::make_shared<const std::string>(payload_bytes, 'x'),
                                        std::nullopt});
        }
        const RequestToken token = next_token();
        core.request(token, std::move(request));
        return token;
    }

    /// Takes one turn's actions; its entry is committed at once.
    bool step() {
        Actions actions = core.take_actions();
        for (ParticipantCall& call : actions.calls) {
            calls.push_back(std::move(call));
        }
        for (auto& reply : actions.replies) {
            replies.push_back(std::move(reply));
        }
        if (actions.append.empty()) {
            return false;
        }
        entries.push_back(actions.append.size());
        core.apply(LogIndex{++index}, std::move(actions.append));
        return true;
    }
    void turn() {
        while (step()) {
        }
    }
    /// Every open call succeeds.
    void answer_all() {
        std::deque<ParticipantCall> open;
        open.swap(calls);
        for (ParticipantCall& call : open) {
            if (call.key.operation == Operation::prepare) {
                core.call_result({call.key, CallResult::Voted{Vote::yes, {}}});
            } else {
                core.call_result({call.key, CallResult::Done{}});
            }
        }
    }

    Instant now{std::chrono::seconds{1}};
    TransactionCoordinator core;
    std::uint64_t index = 0;
    std::uint64_t last_token = 0;
    std::deque<ParticipantCall> calls;
    std::vector<std::pair<RequestToken, Reply>> replies;
    std::vector<std::size_t> entries;
};

// One client alone: BEGIN (with the END before it) and DECIDE, two entries for a transaction.
TEST_F(OneNode, needs_two_entries_per_transaction_with_one_client) {
    entries.clear();
    for (int i = 0; i < 50; ++i) {
        begin();
        turn();
        answer_all();
        turn();
        answer_all();
    }
    EXPECT_EQ(entries.size(), 100U);
    EXPECT_EQ(replies.size(), 50U);
}

// 64 clients in step: a small fraction of an entry for each transaction.
TEST_F(OneNode, shares_entries_among_many_clients) {
    entries.clear();
    for (int round = 0; round < 10; ++round) {
        for (int i = 0; i < 64; ++i) {
            begin();
        }
        turn();
        answer_all();
        turn();
        answer_all();
    }
    EXPECT_EQ(replies.size(), 640U);
    EXPECT_LT(static_cast<double>(entries.size()) / 640.0, 0.1);
}

// An END that nothing else travels with is appended after its delay, and the timer says when.
TEST_F(OneNode, appends_a_lonely_end_after_its_delay) {
    begin();
    turn();
    answer_all();
    turn();
    answer_all();
    turn();
    EXPECT_EQ(core.figures().in_flight, 1U);
    ASSERT_TRUE(core.next_timer());
    EXPECT_EQ(*core.next_timer(), now + 20ms);
    core.advance(now + 20ms, {});
    turn();
    EXPECT_EQ(core.figures().in_flight, 0U);
    EXPECT_EQ(core.next_timer(), std::nullopt) << "nothing may be left to wake up for";
}

// A turn larger than an entry may be is split; waiting requests are answered by its last part.
TEST_F(OneNode, splits_a_turn_that_is_too_large_for_an_entry) {
    entries.clear();
    for (int i = 0; i < 10; ++i) {
        begin(2, 500'000);
    }
    core.request(next_token(), GetRequest{Xid{"unknown"}, false, std::nullopt, std::nullopt});
    ASSERT_TRUE(step());
    EXPECT_TRUE(replies.empty());
    EXPECT_EQ(core.next_timer(), now) << "the rest wants the next turn at once";
    turn();
    EXPECT_GE(entries.size(), 3U);
    ASSERT_EQ(replies.size(), 1U);
    answer_all();
    turn();
    EXPECT_EQ(replies.size(), 11U);
}

// The shell's own audit entry is not counted as one of the core's: no read is answered early.
TEST_F(OneNode, tells_the_shells_entries_from_its_own) {
    core.request(next_token(), GetRequest{Xid{"unknown"}, false, std::nullopt, std::nullopt});
    Actions actions = core.take_actions();
    ASSERT_EQ(actions.append.size(), 1U);
    core.apply(LogIndex{++index}, {OperatorAction{"ops", "transfer", "n2", "upgrade", {}}});
    turn();
    EXPECT_TRUE(replies.empty());
    core.apply(LogIndex{++index}, std::move(actions.append));
    turn();
    EXPECT_EQ(replies.size(), 1U);
}

// An epoch entry of an earlier leadership of the same node does not make it serve.
TEST_F(OneNode, serves_only_after_its_own_epoch_entry) {
    core.lost_leadership(std::nullopt);
    core.became_leader();
    Actions first = core.take_actions();
    core.lost_leadership(std::nullopt);
    core.became_leader();
    Actions second = core.take_actions();
    core.apply(LogIndex{++index}, std::move(first.append));
    EXPECT_FALSE(core.is_serving());
    core.apply(LogIndex{++index}, std::move(second.append));
    EXPECT_TRUE(core.is_serving());
}

// An answer to a call of an earlier leadership is late, though the attempt has the same number
// within its leadership.
TEST_F(OneNode, drops_answers_to_an_earlier_leadership) {
    begin();
    turn();
    const CallKey old_a = calls[0].key;
    const CallKey old_b = calls[1].key;
    calls.clear();
    core.lost_leadership(std::nullopt);
    core.became_leader();
    turn();
    ASSERT_EQ(calls.size(), 2U);
    core.call_result({old_a, CallResult::Voted{Vote::yes, {}}});
    core.call_result({old_b, CallResult::Voted{Vote::yes, {}}});
    turn();
    EXPECT_EQ(core.figures().undecided, 1U);
    EXPECT_EQ(core.figures().late_answers_dropped, 2U);
    answer_all();
    turn();
    EXPECT_EQ(core.figures().undecided, 0U);
}

// Results that name nothing known are dropped, whatever they contain.
TEST_F(OneNode, drops_results_that_name_nothing) {
    begin();
    turn();
    CallKey key = calls[0].key;
    key.branch = BranchNumber{7};
    core.call_result({key, CallResult::Done{}});
    core.call_result({{Xid{"unknown"}, BranchNumber{0}, Operation::commit, 1}, CallResult::Done{}});
    EXPECT_EQ(core.figures().late_answers_dropped, 2U);
    answer_all();
    turn();
    EXPECT_EQ(replies.size(), 1U);
}

// Ten thousand transactions in flight when leadership is lost are all decided by the next leader,
// none aborted that could commit.
TEST_F(OneNode, resumes_ten_thousand_transactions) {
    for (int i = 0; i < 10'000; ++i) {
        begin();
    }
    turn();
    calls.clear();
    core.lost_leadership(std::nullopt);
    core.became_leader();
    turn();
    for (int i = 0; i < 100 && core.figures().in_flight + core.figures().undecided > 0; ++i) {
        turn();
        answer_all();
        now += 20ms;
        core.advance(now, {});
    }
    turn();
    const CoordinatorFigures figures = core.figures();
    EXPECT_EQ(figures.in_flight, 0U);
    EXPECT_EQ(figures.decided[0][static_cast<std::size_t>(Outcome::committed)], 10'000U);
    EXPECT_EQ(figures.decided[0][static_cast<std::size_t>(Outcome::aborted)], 0U);
}

// Three fields of one transaction: metadata, capability, trace context reach who needs them.
TEST_F(OneNode, hands_on_what_belongs_to_the_transaction) {
    BeginRequest request;
    request.protocol = Protocol::three_phase;
    for (const char* name : {"a", "b", "a"}) {
        request.branches.push_back(
            {ParticipantName{name}, std::make_shared<const std::string>("{}"), 3s});
    }
    request.traceparent = "00-trace";
    request.metadata = {{"order", "7"}};
    core.request(next_token(), std::move(request));
    turn();
    ASSERT_EQ(calls.size(), 3U);
    EXPECT_EQ(calls[0].capability.size(), 32U);
    EXPECT_EQ(calls[0].capability, calls[2].capability);
    EXPECT_EQ(calls[1].peers.size(), 2U);
    EXPECT_EQ(calls[1].peers[1].branch, BranchNumber{2});
    EXPECT_EQ(calls[1].peers[1].base_url, "http://p");
    EXPECT_EQ(calls[1].quorum, 2);
    EXPECT_FALSE(calls[1].coordinator_is_acceptor);
    EXPECT_EQ(calls[1].traceparent, "00-trace");
    EXPECT_EQ(calls[1].timeout, 3s);
    answer_all();
    turn();
    EXPECT_TRUE(calls.at(0).capability.empty()) << "PREPARE only";
    EXPECT_EQ(calls.at(0).payload, nullptr);
    answer_all();
    turn();
    ASSERT_EQ(replies.size(), 1U);
    EXPECT_EQ(std::get<TransactionReply>(replies[0].second).view.metadata.at("order"), "7");
}

// C8: a commit may be forgotten only after everybody acknowledged it; whoever is still in doubt
// afterwards would be told "aborted". Neither time nor an answer given twice stands in for one.
TEST_F(OneNode, ends_a_commit_only_after_every_acknowledgement) {
    begin(3);
    turn();
    answer_all();
    turn();
    ASSERT_EQ(calls.size(), 3U);
    const Xid xid = calls[0].key.xid;
    const CallKey acknowledged = calls[0].key;
    core.call_result({acknowledged, CallResult::Done{}});
    core.call_result({acknowledged, CallResult::Done{}});
    core.call_result({calls[1].key, CallResult::Done{}});
    core.call_result({calls[2].key, CallResult::Unknown{"reset"}});
    calls.clear();
    for (int hour = 0; hour < 24; ++hour) {
        now += 1h;
        core.advance(now, {});
        turn();
        ASSERT_EQ(core.state().find(xid)->state, TransactionState::committing);
        ASSERT_EQ(calls.size(), 1U) << "delivery goes on";
        core.call_result({calls[0].key, CallResult::Later{}});
        calls.clear();
    }
    now += 1h;
    core.advance(now, {});
    turn();
    answer_all();
    now += 20ms;
    core.advance(now, {});
    turn();
    EXPECT_EQ(core.state().find(xid)->state, TransactionState::committed);
    EXPECT_EQ(core.figures().in_flight, 0U);
}

class Quorum : public OneNode {
protected:
    void submit(std::size_t branches) {
        BeginRequest request;
        request.xid = Xid{"x"};
        request.protocol = Protocol::three_phase;
        for (std::size_t i = 0; i < branches; ++i) {
            request.branches.push_back({ParticipantName{"a"}, nullptr, std::nullopt});
        }
        core.request(next_token(), std::move(request));
        turn();
    }
};

/// With so many participants.
class QuorumOf : public Quorum, public ::testing::WithParamInterface<std::size_t> {};

// 2 to 64 participants: a majority of the acceptors, and the group among them when they are even.
TEST_P(QuorumOf, names_a_majority_of_an_odd_number_of_acceptors) {
    submit(GetParam());
    ASSERT_EQ(calls.size(), GetParam());
    const std::size_t acceptors = GetParam() + (calls[0].coordinator_is_acceptor ? 1 : 0);
    EXPECT_EQ(acceptors % 2, 1U);
    EXPECT_EQ(calls[0].quorum, acceptors / 2 + 1);
    EXPECT_EQ(calls[0].peers.size(), GetParam() - 1);
    answer_all();
    turn();
    EXPECT_EQ(core.state().find(Xid{"x"})->state, TransactionState::precommitted);
    answer_all();
    turn();
    EXPECT_EQ(core.state().find(Xid{"x"})->decision->outcome, Outcome::committed);
}

INSTANTIATE_TEST_SUITE_P(Participants, QuorumOf, ::testing::Range<std::size_t>(2, 65),
                         ::testing::PrintToStringParamName());

// One participant decides by itself, and more than 64 are refused before anything happens.
TEST_F(Quorum, leaves_one_participant_to_one_phase_commit_and_refuses_65) {
    submit(1);
    ASSERT_EQ(calls.size(), 1U);
    EXPECT_EQ(calls[0].key.operation, Operation::commit_one_phase);
    answer_all();
    turn();
    replies.clear();
    BeginRequest request;
    request.xid = Xid{"crowd"};
    request.protocol = Protocol::three_phase;
    request.branches.assign(65, {ParticipantName{"a"}, nullptr, std::nullopt});
    core.request(next_token(), std::move(request));
    turn();
    ASSERT_EQ(replies.size(), 1U);
    const auto& refused = std::get<Rejected>(replies[0].second);
    EXPECT_EQ(refused.code, RejectCode::too_many_branches);
    EXPECT_EQ(refused.detail, "at most 64 branches");
    EXPECT_EQ(core.state().find(Xid{"crowd"}), nullptr);
}

// Ballot (0, 0) is the group's own accept, PRECOMMIT: nobody may accept anything else at it.
TEST_F(Quorum, refuses_ballots_that_are_not_above_its_own) {
    submit(2);
    const std::string capability = calls[0].capability;
    answer_all();
    turn();
    replies.clear();
    core.request(next_token(), AcceptRequest{Xid{"x"}, {}, Outcome::aborted, capability});
    core.request(next_token(), PromiseRequest{Xid{"x"}, {}, capability});
    turn();
    ASSERT_EQ(replies.size(), 2U);
    for (const auto& [token, reply] : replies) {
        EXPECT_EQ(std::get<Rejected>(reply).code, RejectCode::invalid_request);
    }
    EXPECT_EQ(core.state().find(Xid{"x"})->acceptor, AcceptorRecord{});
}

// Q7: what the group promised to one proposer, it accepts from no lower one; a guess of the
// capability reaches neither.
TEST_F(Quorum, accepts_nothing_below_its_promise) {
    submit(2);
    const std::string capability = calls[0].capability;
    answer_all();
    turn();
    replies.clear();
    core.request(next_token(), AcceptRequest{Xid{"x"}, {9, 1}, Outcome::aborted, "guessed"});
    core.request(next_token(), PromiseRequest{Xid{"x"}, {2, 2}, capability});
    turn();
    core.request(next_token(), AcceptRequest{Xid{"x"}, {2, 1}, Outcome::aborted, capability});
    turn();
    ASSERT_EQ(replies.size(), 3U);
    EXPECT_EQ(std::get<Rejected>(replies[0].second).code, RejectCode::transaction_not_found);
    EXPECT_TRUE(std::get<BallotReply>(replies[1].second).granted);
    EXPECT_FALSE(std::get<BallotReply>(replies[2].second).granted);
    EXPECT_EQ(core.state().find(Xid{"x"})->acceptor,
              (AcceptorRecord{{2, 2}, {0, 0}, Outcome::committed}));
}

// What a leader promised binds the next one: participants that inquire are left to their ballot.
TEST_F(Quorum, remembers_a_promise_of_an_earlier_leader) {
    submit(2);
    const std::string capability = calls[0].capability;
    answer_all();
    turn();
    core.request(next_token(), PromiseRequest{Xid{"x"}, {1, 1}, capability});
    turn();
    core.lost_leadership(std::nullopt);
    core.became_leader();
    turn();
    replies.clear();
    core.request(next_token(), InquiryRequest{Xid{"x"}});
    core.request(next_token(), PromiseRequest{Xid{"x"}, {1, 1}, capability});
    core.request(next_token(), PromiseRequest{Xid{"x"}, {1, 0}, capability});
    turn();
    ASSERT_EQ(replies.size(), 3U);
    EXPECT_EQ(std::get<Rejected>(replies[0].second).code, RejectCode::overloaded);
    EXPECT_TRUE(std::get<BallotReply>(replies[1].second).granted) << "the same ballot, asked again";
    EXPECT_FALSE(std::get<BallotReply>(replies[2].second).granted);
}

class FewWaiters : public OneNode {
protected:
    FewWaiters() : OneNode(options()) {}
    static CoordinatorOptions options() {
        CoordinatorOptions options = defaults();
        options.max_waiting_requests = 3;
        return options;
    }
};

// Waiting requests are bounded; leaving makes room again.
TEST_F(FewWaiters, refuses_requests_beyond_its_limit) {
    const RequestToken first = begin();
    begin();
    begin();
    begin();
    core.request(next_token(), GetRequest{Xid{"unknown"}, false, std::nullopt, std::nullopt});
    turn();
    ASSERT_EQ(replies.size(), 2U);
    for (const auto& [token, reply] : replies) {
        EXPECT_EQ(std::get<Rejected>(reply).code, RejectCode::overloaded);
    }
    core.forget_request(first);
    begin();
    turn();
    EXPECT_EQ(replies.size(), 2U);
    EXPECT_EQ(core.figures().waiting_requests, 3U);
}

} // namespace
} // namespace concordat::core
