#include "participant-sdk/src/participant/acceptor.hpp"
#include "participant-sdk/src/participant/recovery.hpp"
#include "tests/unit/participant/memory_resource.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace concordat::participant {
namespace {

using testing::MemoryResource;

BranchKey key_of(const char* xid, std::uint16_t branch) {
    return {*Xid::parse(xid), branch};
}

// The coordinator group behind any of its nodes: it refuses inquiries, because participants are
// deciding, and answers ballots as one acceptor that accepted the commit at ballot 0.
class Group {
public:
    OutboundReply answer(const OutboundCall& call) {
        headers = call.headers;
        if (call.method == "GET") {
            return {503, R"({"code":"overloaded"})"};
        }
        ++ballots;
        const bool promising = call.target == "/v1/transactions/x/ballots/promise";
        if (!promising && call.target != "/v1/transactions/x/ballots/accept") {
            return {404, ""};
        }
        const auto request = wire::decode_ballot_request("x", 0, call.body);
        if (!request || request->capability != "secret" ||
            request->value.has_value() == promising) {
            return {400, ""};
        }
        const Ballot ballot{request->ballot.round, request->ballot.proposer};
        AcceptorStep step = promising
                                ? promise(state, ballot)
                                : accept(state, ballot, static_cast<Outcome>(*request->value));
        state = step.state;
        return {200, wire::encode(step.answer)};
    }

    AcceptorState state{.state = BranchState::prepared,
                        .capability = "secret",
                        .promised = {},
                        .accepted = Ballot{},
                        .accepted_value = Outcome::committed};
    std::vector<std::pair<std::string, std::string>> headers; ///< of the last call
    int ballots = 0;
};

// The other side of every call: coordinators answer from a table, participants are Deliveries on
// resources of their own. Whoever is not in a table is unreachable.
class Network final : public Outbound {
public:
    std::vector<std::optional<OutboundReply>> exchange(const std::vector<OutboundCall>& calls,
                                                       std::chrono::milliseconds) override {
        std::vector<std::optional<OutboundReply>> replies;
        for (const OutboundCall& call : calls) {
            log.push_back(call.method + " " + call.base_url + call.target);
            if (groups.contains(call.base_url) && groups[call.base_url] != nullptr) {
                replies.push_back(groups[call.base_url]->answer(call));
            } else if (coordinators.contains(call.base_url)) {
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
    std::map<std::string, Group*> groups; ///< nodes that answer for the same group
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

    /// Two participants and the group, any two of the three decide.
    static BranchContext even_context() {
        BranchContext even = context(Protocol::three_phase);
        even.peers.pop_back();
        even.coordinator_is_acceptor = true;
        return even;
    }

    std::size_t look(RecoveryOptions options = {}) {
        Recovery recovery(*stores[0], delivery, network, counters, std::move(options),
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

// Purpose: two-phase: a peer that does not know the branch promises nothing: its PREPARE may still
// arrive, so nothing follows from it.
TEST_F(RecoveryTest, takes_an_unknown_branch_of_a_peer_for_no_answer) {
    (void)stores[0]->prepare({key_of("x", 0), 1, "{}", context(Protocol::two_phase)});
    EXPECT_EQ(look(), 0U);
    EXPECT_EQ(stores[0]->state_of(key_of("x", 0)), BranchState::prepared);
    EXPECT_EQ(stores[1]->state_of(key_of("x", 1)), BranchState::unknown);
    (void)stores[1]->abort(key_of("x", 1));
    EXPECT_EQ(look(), 1U) << "a tombstone is an answer";
    EXPECT_EQ(stores[0]->state_of(key_of("x", 0)), BranchState::aborted);
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
    ASSERT_EQ(alarms.size(), 5U);
    EXPECT_EQ(alarms[0].kind, Alarm::Kind::in_doubt_too_long);
}

// Purpose: with its only peer dead a participant must finish together with the coordinator group
// that answers ballots but no inquiry, and take over the commit that the group accepted.
TEST_F(RecoveryTest, finishes_with_the_coordinator_group_as_the_other_acceptor) {
    (void)stores[0]->prepare({key_of("x", 0), 1, "{}", even_context()});
    network.participants.clear();
    Group group;
    network.groups[coordinator] = &group;
    RecoveryOptions options;
    options.bearer_token = "let-me-in";
    EXPECT_EQ(look(options), 1U);
    EXPECT_EQ(stores[0]->state_of(key_of("x", 0)), BranchState::committed);
    EXPECT_EQ(group.state.accepted, (Ballot{1, 1}));
    EXPECT_EQ(group.headers, (std::vector<std::pair<std::string, std::string>>{
                                 {"Authorization", "Bearer let-me-in"}}));
}

// Purpose: a node that cannot speak for the group leaves the answer to the next one, in both
// phases.
TEST_F(RecoveryTest, asks_the_next_node_when_one_has_no_answer_for_the_group) {
    (void)stores[0]->prepare({key_of("x", 0), 1, "{}", even_context()});
    network.participants.clear();
    network.coordinators[coordinator] = {503, R"({"code":"no-leader"})"};
    Group group;
    network.groups["http://c2"] = &group;
    EXPECT_EQ(look(), 1U);
    EXPECT_EQ(stores[0]->state_of(key_of("x", 0)), BranchState::committed);
    EXPECT_EQ(group.ballots, 2);
}

// Purpose: Q10: the group is one acceptor, however many of its nodes answer. Four participants and
// the group: one participant and two nodes are two acceptors of five and decide nothing.
TEST_F(RecoveryTest, counts_the_coordinator_group_once) {
    BranchContext four = even_context();
    four.peers.push_back({2, "p2", "http://p2"});
    four.peers.push_back({3, "p3", "http://p3"});
    four.quorum = 3;
    (void)stores[0]->prepare({key_of("x", 0), 1, "{}", four});
    network.participants.clear();
    Group group;
    network.groups[coordinator] = &group;
    network.groups["http://c2"] = &group;
    EXPECT_EQ(look(), 0U);
    EXPECT_EQ(stores[0]->state_of(key_of("x", 0)), BranchState::prepared);
    EXPECT_EQ(group.ballots, 1);
    EXPECT_FALSE(group.state.accepted > Ballot{});
}

// Purpose: where the group is no acceptor it must not be counted as one.
TEST_F(RecoveryTest, asks_the_coordinator_group_only_where_it_is_an_acceptor) {
    prepare(Protocol::three_phase);
    network.participants.clear();
    Group group;
    network.groups[coordinator] = &group;
    EXPECT_EQ(look(), 0U);
    EXPECT_EQ(group.ballots, 0);
}

// Purpose: Q8: a group that knows the outcome ends the ballot, whatever its value was.
TEST_F(RecoveryTest, takes_an_outcome_that_the_coordinator_group_knows) {
    (void)stores[0]->prepare({key_of("x", 0), 1, "{}", even_context()});
    network.participants.clear();
    Group group;
    group.state.state = BranchState::aborted;
    network.groups[coordinator] = &group;
    EXPECT_EQ(look(), 1U);
    EXPECT_EQ(stores[0]->state_of(key_of("x", 0)), BranchState::aborted);
}

// Purpose: the last round has no successor; a ballot that wrapped around would break every promise.
TEST_F(RecoveryTest, starts_no_ballot_above_the_last_round) {
    prepare(Protocol::three_phase);
    (void)stores[0]->change_acceptor(key_of("x", 0), [](const AcceptorState& state) {
        return promise(state, {Terminator::last_round, 2}).state;
    });
    EXPECT_EQ(look(), 0U);
    EXPECT_EQ(stores[0]->branches[key_of("x", 0)].acceptor.promised,
              (Ballot{Terminator::last_round, 2}));
    EXPECT_EQ(std::count_if(network.log.begin(), network.log.end(),
                            [](const std::string& call) { return call.starts_with("POST"); }),
              0);
}

// Purpose: without a quorum rule in the PREPARE, participants must not invent one.
TEST_F(RecoveryTest, starts_no_ballot_without_a_quorum_rule) {
    BranchContext unruled = context(Protocol::three_phase);
    unruled.quorum = 0;
    (void)stores[0]->prepare({key_of("x", 0), 1, "{}", unruled});
    EXPECT_EQ(look(), 0U);
    EXPECT_EQ(counters.ballots_started, 0U);
}

// Purpose: branches that nobody can end yet must not keep younger ones from being looked at.
TEST_F(RecoveryTest, goes_round_all_branches_however_many_are_stuck) {
    for (const char* xid : {"a", "b", "c", "d", "e"}) {
        (void)stores[0]->prepare({key_of(xid, 0), 1, "{}", context(Protocol::two_phase)});
    }
    network.participants.clear();
    network.coordinators["http://c9"] = {200, R"({"xid":"z","outcome":"committed"})"};
    BranchContext known = context(Protocol::two_phase);
    known.coordinators = {"http://c9"};
    (void)stores[0]->prepare({key_of("z", 0), 1, "{}", known});
    RecoveryOptions options;
    options.batch = 2;
    Recovery recovery(*stores[0], delivery, network, counters, options,
                      [this](const Alarm& alarm) { alarms.push_back(alarm); });
    EXPECT_EQ(recovery.look(), 0U);
    EXPECT_TRUE(recovery.has_more());
    EXPECT_EQ(recovery.look(), 0U);
    EXPECT_EQ(recovery.look(), 1U);
    EXPECT_EQ(stores[0]->state_of(key_of("z", 0)), BranchState::committed);
    while (recovery.has_more()) {
        EXPECT_EQ(recovery.look(), 0U);
    }
    network.coordinators[coordinator] = {200, R"({"xid":"a","outcome":"aborted"})"};
    EXPECT_EQ(recovery.look(), 2U) << "the next round begins with the oldest again";
}

// Purpose: of participants that lost their coordinators at the same moment one begins, so that they
// do not outbid each other; when it is dead, another one follows.
TEST_F(RecoveryTest, lets_one_participant_begin_and_the_others_follow) {
    const RecoveryOptions options;
    std::vector<std::chrono::milliseconds> begun;
    for (std::uint16_t branch = 0; branch < 3; ++branch) {
        const auto store = std::make_shared<MemoryResource>();
        (void)store->prepare({key_of("x", branch), 1, "{}", context(Protocol::three_phase)});
        Delivery own(*store, counters, [](const Alarm&) {});
        Network nobody;
        Recovery recovery(*store, own, nobody, counters, options, [](const Alarm&) {});
        for (store->age = options.grace; counters.ballots_started == begun.size();
             store->age += options.interval) {
            ASSERT_LT(store->age, options.grace + 4 * options.interval);
            (void)recovery.look();
        }
        begun.push_back(store->age - options.interval - options.grace);
    }
    std::sort(begun.begin(), begun.end());
    EXPECT_EQ(begun,
              (std::vector<std::chrono::milliseconds>{{}, options.interval, 2 * options.interval}));
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
