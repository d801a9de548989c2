// Random schedules of several coordinators that share one model log, of participants that lose,
// repeat and delay messages, and of participants that terminate quorum 3PC among themselves. After
// every run: I1, I2, I3, I4 hold, and when the faults heal everything finishes (I5).

#include "coordinator/core/transaction_coordinator.hpp"
#include "tests/unit/core/model_participants.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <set>

namespace concordat::core {
namespace {

using namespace std::chrono_literals;

struct Message {
    std::size_t from = 0; ///< node
    ParticipantCall call;
    std::optional<CallResult> answer; ///< on its way back
};

class World {
public:
    World(std::uint64_t seed, bool faults) : random_(seed), faults_(faults) {
        for (std::size_t i = 0; i < node_count; ++i) {
            CoordinatorOptions options;
            options.node = NodeId{i + 1};
            options.seed = seed * 100 + i;
            options.max_append_bytes = 2'000; // small: entries are split, too
            options.retention.finished_transactions = 1'000;
            nodes_.push_back({std::make_unique<TransactionCoordinator>(options), 0, false, {}});
            nodes_.back().core->advance(now_, wall());
        }
    }

    void run() {
        elect(0);
        settle();
        for (const char* name : names) {
            request(PutParticipantRequest{ParticipantName{name}, {"http://p", "", 5s, 3}, "t"});
        }
        settle();
        for (int step = 0; step < 250; ++step) {
            random_step();
            check();
        }
        heal();
        check();
    }

private:
    static constexpr std::size_t node_count = 3;
    static constexpr const char* names[] = {"a", "b", "c", "d"};

    struct Node {
        std::unique_ptr<TransactionCoordinator> core;
        std::size_t applied = 0;
        bool thinks_it_leads = false;
        std::set<std::uint64_t> open_tokens;
    };

    std::uint64_t pick(std::uint64_t below) { return random_() % below; }
    bool chance(unsigned percent) { return pick(100) < percent; }
    WallTime wall() const {
        return WallTime{
            std::chrono::duration_cast<std::chrono::milliseconds>(now_.time_since_epoch())};
    }

    // ---------------------------------------------------------------- log and nodes

    /// A new leader has everything committed and a random part of what is not.
    void elect(std::size_t leader) {
        const std::size_t keep = committed_ + pick(log_.size() - committed_ + 1);
        log_.resize(keep);
        leader_ = leader;
        Node& node = nodes_[leader];
        if (node.thinks_it_leads) {
            node.core->lost_leadership(std::nullopt);
        }
        // What the old one appended and the new one kept is still to be committed.
        node.thinks_it_leads = true;
        node.core->became_leader();
        if (!faults_ || chance(60)) {
            wake_deposed();
        }
    }

    /// Deposed leaders learn of it.
    void wake_deposed() {
        for (std::size_t i = 0; i < node_count; ++i) {
            if (i != leader_ && nodes_[i].thinks_it_leads) {
                nodes_[i].thinks_it_leads = false;
                nodes_[i].core->lost_leadership(NodeId{leader_ + 1});
            }
        }
    }

    void turn(std::size_t index) {
        Node& node = nodes_[index];
        Actions actions = node.core->take_actions();
        if (!actions.append.empty()) {
            if (index != leader_) {
                // A deposed leader appends to a log that nobody will commit.
            } else if (faults_ && chance(3)) {
                node.core->append_failed(false);
            } else {
                log_.push_back(std::move(actions.append));
            }
        }
        for (ParticipantCall& call : actions.calls) {
            network_.push_back({index, std::move(call), std::nullopt});
        }
        for (auto& [token, reply] : actions.replies) {
            ASSERT_EQ(node.open_tokens.erase(token.value()), 1U) << "answered twice";
            check_reply(reply);
        }
    }

    void commit_more() {
        if (committed_ < log_.size()) {
            ++committed_;
            for (const Command& command : log_[committed_ - 1]) {
                if (const auto* decide = std::get_if<Decide>(&command)) {
                    decided_.try_emplace(decide->xid.value(), decide->outcome);
                }
            }
        }
    }

    void apply_one(std::size_t index) {
        Node& node = nodes_[index];
        // A deposed leader that does not know it hears nothing of the log.
        if (node.thinks_it_leads && index != leader_) {
            return;
        }
        if (node.applied < committed_) {
            std::vector<Command> copy = log_[node.applied];
            ++node.applied;
            node.core->apply(LogIndex{node.applied}, std::move(copy));
        }
    }

    void request(ClientRequest what, std::size_t index) {
        const std::uint64_t token = ++last_token_;
        nodes_[index].open_tokens.insert(token);
        nodes_[index].core->request(RequestToken{token}, std::move(what));
    }
    void request(ClientRequest what) { request(std::move(what), leader_); }

    void check_reply(const Reply& reply) {
        if (const auto* transaction = std::get_if<TransactionReply>(&reply)) {
            if (transaction->view.outcome) {
                // I3: whoever is told an outcome is told what the log committed.
                const auto decided = decided_.find(transaction->view.xid.value());
                ASSERT_NE(decided, decided_.end()) << transaction->view.xid.value();
                EXPECT_EQ(decided->second, *transaction->view.outcome);
            }
        } else if (const auto* inquiry = std::get_if<InquiryReply>(&reply)) {
            if (inquiry->outcome) {
                // A server-made xid that no log entry names is closed: aborted for ever.
                const auto [decided, was_closed] =
                    decided_.try_emplace(inquiry->xid.value(), Outcome::aborted);
                ASSERT_TRUE(!was_closed || parse_server_xid(inquiry->xid)) << inquiry->xid.value();
                EXPECT_EQ(decided->second, *inquiry->outcome) << inquiry->xid.value();
                participants_.learn(inquiry->xid.value(), *inquiry->outcome);
            }
        }
    }

    void terminate_somewhere(bool all_reachable) {
        std::vector<std::pair<std::string, std::uint16_t>> candidates;
        for (const auto& [key, branch] : participants_.branches()) {
            if (branch.state == ModelBranch::State::prepared &&
                branch.protocol == Protocol::three_phase) {
                candidates.push_back(key);
            }
        }
        if (!candidates.empty()) {
            const auto& [xid, branch] = candidates[pick(candidates.size())];
            participants_.terminate(xid, branch, all_reachable);
        }
    }

    void inquire_somewhere() {
        for (const auto& [key, branch] : participants_.branches()) {
            if (branch.state == ModelBranch::State::prepared && chance(30)) {
                request(InquiryRequest{Xid{key.first}});
                return;
            }
        }
    }

    // ---------------------------------------------------------------- schedule

    void deliver_some() {
        if (network_.empty()) {
            return;
        }
        const std::size_t index = pick(network_.size());
        Message message = network_[index];
        const bool duplicate = faults_ && !message.answer && chance(5);
        if (!duplicate) {
            network_[index] = std::move(network_.back());
            network_.pop_back();
        }
        if (message.answer) {
            nodes_[message.from].core->call_result(std::move(*message.answer));
            return;
        }
        const bool request_lost = faults_ && chance(8);
        const bool answer_lost = faults_ && chance(8);
        CallResult result{message.call.key, CallResult::Unknown{"lost"}};
        if (!request_lost && faults_ && chance(4)) {
            result.answer = CallResult::Later{10ms};
        } else if (!request_lost) {
            result = participants_.serve(message.call);
            if (answer_lost) {
                result.answer = CallResult::Unknown{"answer lost"};
            }
        }
        if (!duplicate) {
            message.answer = std::move(result);
            network_.push_back(std::move(message));
        }
    }

    BeginRequest random_begin() {
        BeginRequest begin;
        begin.protocol = chance(50) ? Protocol::three_phase : Protocol::two_phase;
        begin.mode = chance(15) ? Mode::interactive : Mode::submit;
        const std::size_t count = 1 + pick(4);
        for (std::size_t i = 0; i < count; ++i) {
            begin.branches.push_back({ParticipantName{names[pick(4)]},
                                      std::make_shared<const std::string>(pick(200), 'x'),
                                      std::nullopt});
        }
        begin.timeout = std::chrono::milliseconds{50 + pick(2'000)};
        begin.wait_for = static_cast<WaitFor>(pick(3));
        if (chance(30)) {
            begin.wait_limit = std::chrono::milliseconds{pick(300)};
        }
        if (chance(50)) {
            begin.xid = Xid{"c" + std::to_string(pick(40))};
            begin.digest = begin.xid->value();
        }
        if (chance(20)) {
            begin.idempotency_key = "k" + std::to_string(pick(10));
        }
        return begin;
    }

    void random_request() {
        const std::size_t index = chance(90) ? leader_ : pick(node_count);
        const auto& known = nodes_[index].core->state().unfinished();
        Xid xid{"c" + std::to_string(pick(40))};
        if (!known.empty() && chance(70)) {
            auto place = known.begin();
            std::advance(place, static_cast<std::ptrdiff_t>(pick(known.size())));
            xid = Xid{std::string{*place}};
        }
        switch (pick(9)) {
        case 0:
        case 1:
        case 2:
            request(random_begin(), index);
            return;
        case 3: {
            DecideRequest decide;
            decide.xid = xid;
            decide.wanted = chance(60) ? Outcome::committed : Outcome::aborted;
            decide.by_operator = chance(30);
            request(std::move(decide), index);
            return;
        }
        case 4:
            request(GetRequest{xid, chance(30), std::nullopt, std::nullopt}, index);
            return;
        case 5:
            request(InquiryRequest{xid}, index);
            return;
        case 6:
            request(EnlistRequest{xid, {ParticipantName{names[pick(4)]}, nullptr, std::nullopt}},
                    index);
            return;
        case 7:
            request(RetryRequest{xid, "o", "w"}, index);
            return;
        case 8:
            request(GetRequest{xid, false, LogIndex{committed_}, 100ms}, index);
            return;
        }
    }

    void random_step() {
        const std::uint64_t what = pick(100);
        if (what < 12) {
            random_request();
        } else if (what < 45) {
            deliver_some();
        } else if (what < 60) {
            commit_more();
        } else if (what < 78) {
            apply_one(pick(node_count));
        } else if (what < 88) {
            now_ += std::chrono::milliseconds{pick(60)};
        } else if (what < 91) {
            elect(pick(node_count));
        } else if (what < 93) {
            wake_deposed();
        } else if (what < 96) {
            terminate_somewhere(false);
        } else if (what < 97) {
            inquire_somewhere();
        }
        // Every node takes a turn now and then; the leader always.
        for (std::size_t i = 0; i < node_count; ++i) {
            if (i == leader_ || chance(50)) {
                nodes_[i].core->advance(now_, wall());
                turn(i);
            }
        }
    }

    void settle() {
        for (int i = 0; i < 20; ++i) {
            for (std::size_t n = 0; n < node_count; ++n) {
                nodes_[n].core->advance(now_, wall());
                turn(n);
            }
            while (committed_ < log_.size()) {
                commit_more();
            }
            for (std::size_t n = 0; n < node_count; ++n) {
                while (nodes_[n].applied < committed_) {
                    apply_one(n);
                }
            }
        }
    }

    void heal() {
        faults_ = false;
        wake_deposed();
        elect(leader_);
        for (int round = 0; round < 400; ++round) {
            settle();
            for (std::size_t i = network_.size() * 2; i > 0; --i) {
                deliver_some();
            }
            now_ += 100ms;
            if (round % 20 == 19) {
                terminate_somewhere(true);
                inquire_somewhere();
            }
        }
        settle();
        for (const auto& [key, branch] : participants_.branches()) {
            EXPECT_NE(branch.state, ModelBranch::State::prepared)
                << key.first << "/" << key.second << " stays in doubt (I5)";
        }
        for (Node& node : nodes_) {
            EXPECT_TRUE(node.core->state().unfinished().empty());
            EXPECT_TRUE(node.open_tokens.empty()) << node.open_tokens.size() << " never answered";
            EXPECT_EQ(node.core->state().fingerprint(), nodes_[0].core->state().fingerprint());
        }
        const CoordinatorFigures figures = nodes_[leader_].core->figures();
        EXPECT_EQ(figures.in_flight, 0U);
        EXPECT_EQ(figures.queued_calls, 0U);
        EXPECT_EQ(figures.waiting_requests, 0U);
        EXPECT_EQ(figures.heuristic_alarms, 0U);
    }

    /// I1, I2, I4 against the log: what participants did is what the log's first decision says.
    void check() {
        for (const auto& [xid, outcomes] : participants_.outcomes()) {
            const auto decided = decided_.find(xid);
            if (decided != decided_.end()) {
                ASSERT_EQ(*outcomes.begin(), decided->second) << xid;
            }
        }
        for (const auto& [key, branch] : participants_.branches()) {
            const auto decided = decided_.find(key.first);
            if (decided != decided_.end() && decided->second == Outcome::committed) {
                ASSERT_TRUE(branch.read_only || branch.state != ModelBranch::State::unknown)
                    << key.first << " committed without a vote (I2)";
                ASSERT_NE(branch.state, ModelBranch::State::aborted) << key.first;
            }
        }
    }

    std::mt19937_64 random_;
    bool faults_;
    Instant now_{std::chrono::seconds{1}};
    std::vector<Node> nodes_;
    std::size_t leader_ = 0;
    std::vector<std::vector<Command>> log_;
    std::size_t committed_ = 0;
    std::vector<Message> network_;
    ModelParticipants participants_{[this](unsigned percent) { return chance(percent); }};
    std::map<std::string, Outcome> decided_;
    std::uint64_t last_token_ = 0;
};

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// Thousands of random schedules keep I1-I5; on failure, CONCORDAT_SEED=<seed> and
// CONCORDAT_SEEDS=1 replay the one that failed.
TEST(CommitProperty, holds_under_random_schedules) {
    const std::uint64_t first = from_environment("CONCORDAT_SEED", 1);
    const std::uint64_t count = from_environment("CONCORDAT_SEEDS", 2'000);
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        SCOPED_TRACE("CONCORDAT_SEED=" + std::to_string(seed));
        World(seed, seed % 10 != 0).run();
        if (::testing::Test::HasFailure()) {
            return;
        }
    }
}

} // namespace
} // namespace concordat::core
