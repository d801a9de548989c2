#include "participant-sdk/src/participant/acceptor.hpp"
#include "participant-sdk/src/participant/terminator.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace concordat::participant {
namespace {

wire::BallotAnswer granted() {
    wire::BallotAnswer answer;
    answer.granted = true;
    return answer;
}

// Purpose: fewer answers than a quorum decide nothing, and one acceptor counts once.
TEST(Terminator, needs_a_quorum_of_different_acceptors) {
    Terminator attempt(0, 2, {});
    attempt.on_promise(0, granted());
    attempt.on_promise(0, granted());
    attempt.end_promises();
    EXPECT_EQ(attempt.phase(), Terminator::Phase::promising);
    attempt.on_promise(1, granted());
    attempt.end_promises();
    EXPECT_EQ(attempt.phase(), Terminator::Phase::accepting);
    attempt.on_accept(1, granted());
    attempt.on_accept(1, granted());
    EXPECT_EQ(attempt.phase(), Terminator::Phase::accepting);
    attempt.on_accept(2, granted());
    EXPECT_EQ(attempt.phase(), Terminator::Phase::decided);
    EXPECT_EQ(attempt.value(), Outcome::aborted);
}

// Purpose: Q7: the value of the highest accepted ballot wins over lower ones and over abort.
TEST(Terminator, takes_the_value_of_the_highest_accepted_ballot) {
    Terminator attempt(0, 2, {});
    wire::BallotAnswer low = granted();
    low.accepted_ballot = wire::Ballot{1, 1};
    low.accepted_value = wire::Outcome::aborted;
    wire::BallotAnswer high = granted();
    high.accepted_ballot = wire::Ballot{1, 2};
    high.accepted_value = wire::Outcome::committed;
    attempt.on_promise(2, granted());
    attempt.on_promise(1, high);
    attempt.on_promise(0, low);
    attempt.end_promises();
    EXPECT_EQ(attempt.value(), Outcome::committed);
}

// Purpose: Q8: any outcome seen settles it, in either phase.
TEST(Terminator, takes_an_outcome_from_any_answer) {
    wire::BallotAnswer known;
    known.outcome = wire::Outcome::committed;
    Terminator first(0, 3, {});
    first.on_promise(1, known);
    EXPECT_EQ(first.phase(), Terminator::Phase::decided);
    EXPECT_EQ(first.value(), Outcome::committed);
}

// Purpose: a refusal names the ballot that the next attempt must be above.
TEST(Terminator, remembers_the_highest_ballot_of_refusals) {
    Terminator attempt(2, 2, {4, 1});
    EXPECT_EQ(attempt.ballot(), (Ballot{5, 3}));
    wire::BallotAnswer refused;
    refused.promised = {7, 2};
    attempt.on_promise(0, refused);
    EXPECT_EQ(attempt.phase(), Terminator::Phase::promising);
    EXPECT_EQ(Terminator(2, 2, attempt.highest_seen()).ballot(), (Ballot{8, 3}));
}

// One transaction with N acceptors, messages in any order, lost and repeated at will. The
// coordinator commits if a quorum accepted ballot 0, and aborts by itself only before pre-commit.
struct World {
    explicit World(std::size_t participants, std::uint32_t seed)
        : acceptors(participants),
          random(seed),
          quorum(static_cast<std::uint16_t>(participants / 2 + 1)) {
        for (AcceptorState& acceptor : acceptors) {
            acceptor.state = BranchState::prepared;
        }
    }

    std::size_t pick(std::size_t below) { return random() % below; }

    void finish(std::size_t branch, Outcome outcome) {
        if (acceptors[branch].state == BranchState::prepared) {
            acceptors[branch].state =
                outcome == Outcome::committed ? BranchState::committed : BranchState::aborted;
        }
    }

    void pre_commit_one() {
        const std::size_t branch = pick(acceptors.size());
        PreCommitStep step = pre_commit(acceptors[branch]);
        acceptors[branch] = step.state;
        if (step.answer.status == 200 && !step.answer.outcome) {
            ballot_zero.insert(branch);
        }
        if (ballot_zero.size() >= quorum) {
            decisions.insert(Outcome::committed);
        }
    }

    void terminate_one() {
        const auto self = static_cast<std::uint16_t>(pick(acceptors.size()));
        if (acceptors[self].state != BranchState::prepared) {
            return;
        }
        Terminator attempt(self, quorum, acceptors[self].promised);
        ask(attempt, self, true);
        attempt.end_promises();
        if (attempt.phase() == Terminator::Phase::accepting) {
            pause(); // others act between the two phases
            ask(attempt, self, false);
        }
        if (attempt.phase() == Terminator::Phase::decided) {
            decisions.insert(attempt.value());
            finish(pick(acceptors.size()), attempt.value());
        }
    }

    void ask(Terminator& attempt, std::uint16_t self, bool promising) {
        const Outcome value = attempt.value();
        for (std::uint16_t branch = 0; branch < acceptors.size(); ++branch) {
            const bool lost_request = branch != self && pick(3) == 0;
            const bool lost_answer = branch != self && pick(3) == 0;
            if (lost_request) {
                continue;
            }
            AcceptorStep step = promising ? promise(acceptors[branch], attempt.ballot())
                                          : accept(acceptors[branch], attempt.ballot(), value);
            acceptors[branch] = step.state;
            if (!lost_answer) {
                promising ? attempt.on_promise(branch, step.answer)
                          : attempt.on_accept(branch, step.answer);
            }
        }
    }

    void pause() {
        if (depth < 2) {
            ++depth;
            pick(2) == 0 ? pre_commit_one() : terminate_one();
            --depth;
        }
    }

    std::vector<AcceptorState> acceptors;
    std::mt19937 random;
    std::uint16_t quorum;
    std::set<std::size_t> ballot_zero;
    std::set<Outcome> decisions;
    int depth = 0;
};

// Purpose: I1 and I4: whatever is lost, repeated and interleaved, only one outcome is ever decided.
TEST(QuorumTermination, never_decides_two_outcomes_under_random_schedules) {
    std::map<std::size_t, int> decided;
    for (std::uint32_t seed = 1; seed <= 30'000; ++seed) {
        World world(3 + seed % 3, seed);
        for (int step = 0; step < 20; ++step) {
            world.pick(3) == 0 ? world.terminate_one() : world.pre_commit_one();
        }
        ASSERT_LE(world.decisions.size(), 1U) << "seed " << seed;
        if (!world.decisions.empty()) {
            ++decided[static_cast<std::size_t>(*world.decisions.begin())];
        }
    }
    EXPECT_GT(decided[0], 1000) << "the schedules must reach commits";
    EXPECT_GT(decided[1], 1000) << "the schedules must reach aborts";
}

} // namespace
} // namespace concordat::participant
