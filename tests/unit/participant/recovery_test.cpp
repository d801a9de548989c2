#include "participant-sdk/src/participant/acceptor.hpp"
#include "participant-sdk/src/participant/recovery.hpp"
#include "tests/unit/participant/memory_resource.hpp"

#include <gtest/gtest.h>

#include <map>

namespace concordat::participant {
namespace {

using testing::MemoryResource;

BranchKey key_of(const char* xid, std::uint16_t branch) {
    return {*Xid::parse(xid), branch};
}

// The other side of every call: coordinators answer from a table, participants are Deliveries on
// resources of their own. Whoever is not in a table is unreachable.
class Network final : public Outbound {
public:
    std::vector<std::optional<OutboundReply>> exchange(const std::vector<OutboundCall>& calls,
                                                       std::chrono::milliseconds) override {
        std::vector<std::optional<OutboundReply>> replies;
        for (const OutboundCall& call : calls) {
            log.push_back(call.method + " " + call.base_url + call.target);
            if (coordinators.contains(call.base_url)) {
                replies.push_back(coordinators[call.base_url]);
            } else if (participants.contains(call.base_url)) {
                replies.push_back(deliver(*participants[call.base_url], call));
            } else {
                replies.emplace_back();
            }
        }
        return replies;
    }

    static OutboundReply deliver(Participant& participant, const OutboundCall& call) {
        const HttpResponse response =
            participant.handle({call.method, call.target, call.headers, call.body});
        return {response.status, response.body};
    }

    std::map<std::string, OutboundReply> coordinators;
    std::map<std::string, Participant*> participants;
    std::vector<std::string> log;
};

class RecoveryTest : public ::testing::Test {
protected:
    static constexpr const char* coordinator = "http://c1";

    static BranchContext context(Protocol protocol) {
        return {"p0",
                protocol,
                {{0, "p0", "http://p0"}, {1, "p1", "http://p1"}, {2, "p2", "http://p2"}},
                2,
                false,
                "secret",
                {coordinator, "http://c2"}};
    }

    void prepare(Protocol protocol) {
        for (std::uint16_t branch = 0; branch < 3; ++branch) {
            (void)stores[branch]->prepare({key_of("x", branch), 1, "{}", context(protocol)});
        }
    }

    std::size_t look() {
        Recovery recovery(*stores[0], delivery, network, counters, {},
                          [this](const Alarm& alarm) { alarms.push_back(alarm); });
        return recovery.look();
    }

    void SetUp() override {
        for (std::uint16_t branch = 1; branch < 3; ++branch) {
            peers.push_back(std::make_unique<Participant>(stores[branch], ParticipantOptions{}));
            network.participants["http://p" + std::to_string(branch)] = peers.back().get();
        }
    }

    std::vector<std::shared_ptr<MemoryResource>> stores{std::make_shared<MemoryResource>(),
                                                        std::make_shared<MemoryResource>(),
                                                        std::make_shared<MemoryResource>()};
    Counters counters;
    std::vector<Alarm> alarms;
    Delivery delivery{*stores[0], counters,
                      [this](const Alarm& alarm) { alarms.push_back(alarm); }};
    Network network;
    std::vector<std::unique_ptr<Participant>> peers;
};

// Purpose: an outcome told by the coordinator ends the branch and no peer is bothered.
TEST_F(RecoveryTest, applies_the_coordinators_outcome) {
    prepare(Protocol::two_phase);
    network.coordinators[coordinator] = {200, R"({"xid":"x","outcome":"committed"})"};
    EXPECT_EQ(look(), 1U);
    EXPECT_EQ(stores[0]->state_of(key_of("x", 0)), BranchState::committed);
    EXPECT_EQ(network.log.size(), 1U);
}

// Purpose: when one node cannot be reached or has no leader, the next one is asked.
TEST_F(RecoveryTest, asks_the_next_coordinator_when_one_does_not_answer) {
    prepare(Protocol::two_phase);
    network.coordinators[coordinator] = {503, R"({"code":"no-leader"})"};
    network.coordinators["http://c2"] = {200, R"({"xid":"x","outcome":"aborted"})"};
    EXPECT_EQ(look(), 1U);
    EXPECT_EQ(stores[0]->state_of(key_of("x", 0)), BranchState::aborted);
}

// Purpose: Q11: a living coordinator that has not decided is waited for; nothing is started.
TEST_F(RecoveryTest, leaves_an_undecided_branch_to_a_living_coordinator) {
    prepare(Protocol::three_phase);
    network.coordinators[coordinator] = {202, R"({"xid":"x","outcome":"undecided"})"};
    EXPECT_EQ(look(), 0U);
    EXPECT_EQ(stores[0]->state_of(key_of("x", 0)), BranchState::prepared);
    EXPECT_EQ(counters.ballots_started, 0U);
}

// Purpose: an answer that is no outcome must never be taken for one.
TEST_F(RecoveryTest, takes_nonsense_for_no_answer) {
    prepare(Protocol::two_phase);
    for (const char* body : {"", "{}", "committed", R"({"outcome":"Committed"})",
                             R"({"outcome":1})", R"({"outcome":"committed"} x)"}) {
        network.coordinators[coordinator] = {200, body};
        EXPECT_EQ(look(), 0U) << body;
        EXPECT_EQ(stores[0]->state_of(key_of("x", 0)), BranchState::prepared) << body;
    }
}

// Purpose: two-phase: one peer with an outcome is enough; without any, nothing happens.
TEST_F(RecoveryTest, asks_peers_in_two_phase_commit) {
    prepare(Protocol::two_phase);
    EXPECT_EQ(look(), 0U);
    EXPECT_EQ(stores[0]->state_of(key_of("x", 0)), BranchState::prepared);
    (void)stores[2]->commit(key_of("x", 2));
    EXPECT_EQ(look(), 1U);
    EXPECT_EQ(stores[0]->state_of(key_of("x", 0)), BranchState::committed);
}

// Purpose: Q7: one accepted PRE-COMMIT in the quorum makes the ballot commit, everywhere.
TEST_F(RecoveryTest, commits_by_ballot_when_an_acceptor_has_the_value) {
    prepare(Protocol::three_phase);
    (void)stores[2]->change_acceptor(
        key_of("x", 2), [](const AcceptorState& state) { return pre_commit(state).state; });
    EXPECT_EQ(look(), 1U);
    for (std::uint16_t branch = 0; branch < 3; ++branch) {
        EXPECT_EQ(stores[branch]->state_of(key_of("x", branch)), BranchState::committed);
    }
}

// Purpose: Q7: with no accepted value the ballot aborts, everywhere.
TEST_F(RecoveryTest, aborts_by_ballot_when_nobody_accepted) {
    prepare(Protocol::three_phase);
    EXPECT_EQ(look(), 1U);
    for (std::uint16_t branch = 0; branch < 3; ++branch) {
        EXPECT_EQ(stores[branch]->state_of(key_of("x", branch)), BranchState::aborted);
    }
}

// Purpose: Q10: a minority must not decide, however often it tries, and raises an alarm by age.
TEST_F(RecoveryTest, never_decides_in_a_minority) {
    prepare(Protocol::three_phase);
    network.participants.clear();
    stores[0]->age = std::chrono::hours(1);
    for (int attempt = 0; attempt < 5; ++attempt) {
        EXPECT_EQ(look(), 0U);
    }
    EXPECT_EQ(stores[0]->state_of(key_of("x", 0)), BranchState::prepared);
    EXPECT_EQ(alarms.size(), 5U);
    EXPECT_EQ(alarms[0].kind, Alarm::Kind::in_doubt_too_long);
}

// Purpose: without a quorum rule in the PREPARE, participants must not invent one.
TEST_F(RecoveryTest, starts_no_ballot_without_a_quorum_rule) {
    BranchContext unruled = context(Protocol::three_phase);
    unruled.quorum = 0;
    (void)stores[0]->prepare({key_of("x", 0), 1, "{}", unruled});
    EXPECT_EQ(look(), 0U);
    EXPECT_EQ(counters.ballots_started, 0U);
}

// Purpose: an unreachable store raises one alarm and not one per look.
TEST_F(RecoveryTest, reports_a_store_that_cannot_be_listed) {
    Recovery recovery(*stores[0], delivery, network, counters, {},
                      [this](const Alarm& alarm) { alarms.push_back(alarm); });
    for (int attempt = 0; attempt < 3; ++attempt) {
        stores[0]->fail_next = NotDone{NotDone::Kind::later, "down", {}, {}};
        EXPECT_EQ(recovery.look(), 0U);
    }
    EXPECT_EQ(alarms.size(), 1U);
}

} // namespace
} // namespace concordat::participant
