// One quorum three-phase transaction: the SDK's acceptors and proposers among two to five
// participants, the coordinator group as one more acceptor where their number is even, and a
// coordinator that may die at any step. Messages are lost, repeated and delivered in any order;
// whoever is prepared may begin a ballot at any time.

#include "participant-sdk/src/participant/acceptor.hpp"
#include "participant-sdk/src/participant/terminator.hpp"
#include "tests/simulation/mutants/scenes.hpp"

#include <functional>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace concordat::mutants {
namespace {

using namespace concordat::participant;

constexpr int transactions = 1'000; // of one run
constexpr int steps = 150;          // of one transaction
constexpr unsigned loss_percent = 15;
constexpr unsigned repetition_percent = 15;

class QuorumTransaction {
public:
    explicit QuorumTransaction(std::mt19937_64& random)
        : random_(random),
          participants_(static_cast<std::uint16_t>(2 + random() % 4)),
          has_group_(participants_ % 2 == 0),
          quorum_(static_cast<std::uint16_t>((participants_ + (has_group_ ? 1 : 0)) / 2 + 1)),
          coordinator_steps_left_(random() % 30) {
        for (std::uint16_t branch = 0; branch < participants_; ++branch) {
            send([this, branch] { prepare(branch); });
        }
    }

    void run() {
        for (int step = 0; step < steps; ++step) {
            if (random_() % 12 == 0) {
                begin_ballot(static_cast<std::uint16_t>(random_() % participants_));
            } else if (random_() % 6 == 0) {
                go_on(static_cast<std::uint16_t>(random_() % participants_));
            } else {
                deliver();
            }
        }
    }

private:
    bool percent(unsigned share) { return random_() % 100 < share; }

    void send(std::function<void()> message) {
        if (!percent(loss_percent)) {
            if (percent(repetition_percent)) {
                messages_.push_back(message);
            }
            messages_.push_back(std::move(message));
        }
    }

    void deliver() {
        if (messages_.empty()) {
            return;
        }
        const std::size_t place = random_() % messages_.size();
        const std::function<void()> message = std::move(messages_[place]);
        messages_[place] = std::move(messages_.back());
        messages_.pop_back();
        message();
    }

    /// False when the coordinator is dead.
    bool coordinator_lives() {
        if (coordinator_steps_left_ == 0) {
            return false;
        }
        --coordinator_steps_left_;
        return true;
    }

    // ---- the coordinator

    void prepare(std::uint16_t branch) {
        AcceptorState& state = states_[branch];
        if (state.state == BranchState::unknown) {
            state.state = BranchState::prepared;
        }
        if (state.state == BranchState::prepared) {
            send([this, branch] { voted_yes(branch); });
        }
    }

    void voted_yes(std::uint16_t branch) {
        voted_.insert(branch);
        if (voted_.size() < participants_ || is_precommitted_ || !coordinator_lives()) {
            return;
        }
        AcceptorState& group = states_[Terminator::coordinator_group];
        if (group.state != BranchState::unknown) {
            return; // the group has aborted by itself
        }
        is_precommitted_ = true;
        group.state = BranchState::prepared;
        group = pre_commit(group).state;
        for (std::uint16_t one = 0; one < participants_; ++one) {
            send([this, one] { ask_to_pre_commit(one); });
        }
    }

    void ask_to_pre_commit(std::uint16_t branch) {
        PreCommitStep step = pre_commit(states_[branch]);
        states_[branch] = step.state;
        if (step.answer.status == 200 && !step.answer.outcome) {
            send([this, branch] { pre_committed(branch); });
        }
    }

    void pre_committed(std::uint16_t branch) {
        accepted_.insert(branch);
        if (accepted_.size() + (has_group_ ? 1 : 0) >= quorum_ && coordinator_lives()) {
            decided(Outcome::committed);
            for (std::uint16_t one = 0; one < participants_; ++one) {
                send([this, one] { end(one, Outcome::committed); });
            }
        }
    }

    // ---- ballots

    void begin_ballot(std::uint16_t self) {
        AcceptorState& own = states_[self];
        if (own.state != BranchState::prepared) {
            return;
        }
        Ballot above = own.promised;
        if (const auto& earlier = proposers_[self]; earlier && earlier->highest_seen() > above) {
            above = earlier->highest_seen();
        }
        const auto proposer = std::make_shared<Terminator>(self, quorum_, above);
        proposers_[self] = proposer;
        for_all_acceptors([&](std::uint16_t acceptor) {
            const auto ask = [this, acceptor, proposer] {
                AcceptorStep step = promise(states_[acceptor], proposer->ballot());
                states_[acceptor] = step.state;
                note_refusal(acceptor, step.state);
                return step.answer;
            };
            exchange(self, acceptor, ask, [proposer, acceptor](const wire::BallotAnswer& answer) {
                proposer->on_promise(acceptor, answer);
            });
        });
    }

    /// No more promises are waited for.
    void go_on(std::uint16_t self) {
        const auto proposer = proposers_[self];
        if (!proposer || proposer->phase() != Terminator::Phase::promising) {
            return;
        }
        proposer->end_promises();
        if (proposer->phase() != Terminator::Phase::accepting) {
            return;
        }
        const Outcome value = proposer->value();
        for_all_acceptors([&](std::uint16_t acceptor) {
            const auto ask = [this, acceptor, proposer, value] {
                AcceptorStep step = accept(states_[acceptor], proposer->ballot(), value);
                states_[acceptor] = step.state;
                note_refusal(acceptor, step.state);
                return step.answer;
            };
            exchange(self, acceptor, ask, [proposer, acceptor](const wire::BallotAnswer& answer) {
                proposer->on_accept(acceptor, answer);
            });
        });
    }

    void for_all_acceptors(const std::function<void(std::uint16_t)>& action) {
        for (std::uint16_t branch = 0; branch < participants_; ++branch) {
            action(branch);
        }
        if (has_group_) {
            action(Terminator::coordinator_group);
        }
    }

    /// The own acceptor answers at once, the others by messages.
    void exchange(std::uint16_t self, std::uint16_t acceptor,
                  const std::function<wire::BallotAnswer()>& ask,
                  const std::function<void(const wire::BallotAnswer&)>& hear) {
        const auto heard = [this, self, hear](const wire::BallotAnswer& answer) {
            hear(answer);
            look_at_proposer(self);
        };
        if (acceptor == self) {
            heard(ask());
            return;
        }
        send([this, ask, heard] {
            const wire::BallotAnswer answer = ask();
            send([heard, answer] { heard(answer); });
        });
    }

    void look_at_proposer(std::uint16_t self) {
        const auto proposer = proposers_[self];
        if (!proposer || proposer->phase() != Terminator::Phase::decided) {
            return;
        }
        const Outcome outcome = proposer->value();
        proposers_.erase(self);
        end(self, outcome);
        for (std::uint16_t one = 0; one < participants_; ++one) {
            send([this, one, outcome] { end(one, outcome); });
        }
    }

    // ---- what must hold

    void note_refusal(std::uint16_t acceptor, const AcceptorState& state) {
        if (const auto outcome = outcome_of(state)) {
            decided(*outcome);
            if (*outcome == Outcome::committed && acceptor >= participants_) {
                throw std::runtime_error("I2: the group committed without a decision");
            }
        }
    }

    void end(std::uint16_t branch, Outcome outcome) {
        decided(outcome);
        AcceptorState& state = states_[branch];
        if (outcome == Outcome::committed && state.state == BranchState::unknown) {
            throw std::runtime_error("I2: a branch that was never prepared is to commit");
        }
        state.state = outcome == Outcome::committed ? BranchState::committed : BranchState::aborted;
    }

    void decided(Outcome outcome) {
        if (!outcome_) {
            outcome_ = outcome;
        } else if (*outcome_ != outcome) {
            throw std::runtime_error("I1: one transaction was committed and aborted");
        }
    }

    std::mt19937_64& random_;
    std::uint16_t participants_;
    bool has_group_;
    std::uint16_t quorum_;
    std::uint64_t coordinator_steps_left_;
    bool is_precommitted_ = false;
    std::set<std::uint16_t> voted_;
    std::set<std::uint16_t> accepted_;
    std::map<std::uint16_t, AcceptorState> states_;
    std::map<std::uint16_t, std::shared_ptr<Terminator>> proposers_;
    std::vector<std::function<void()>> messages_;
    std::optional<Outcome> outcome_; ///< the first that anybody knew
};

} // namespace

void run_quorum(std::uint64_t seed) {
    std::mt19937_64 random{seed};
    for (int transaction = 0; transaction < transactions; ++transaction) {
        QuorumTransaction{random}.run();
    }
}

} // namespace concordat::mutants
