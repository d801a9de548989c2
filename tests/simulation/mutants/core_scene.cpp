// One transaction core with a memory for three finished transactions, which restarts from its
// snapshot now and then. Clients repeat requests, contradict themselves, and come back with xids
// and keys of long ago. Its log commits at once and its participants agree to everything: who is
// told what about which request is all that matters here.

#include "coordinator/core/transaction_coordinator.hpp"
#include "tests/simulation/mutants/scenes.hpp"

#include <deque>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>

namespace concordat::mutants {
namespace {

using namespace concordat::core;

constexpr int steps = 400;
constexpr std::size_t remembered = 3;
constexpr std::uint64_t names = 6;

class Clients {
public:
    explicit Clients(std::uint64_t seed) : random_(seed) { restart(); }

    void run() {
        put_participant();
        for (int step = 0; step < steps; ++step) {
            now_ += std::chrono::milliseconds{1 + random_() % 30};
            if (random_() % 40 == 0) {
                restart();
            } else if (random_() % 3 == 0) {
                answer_a_call();
            } else {
                ask();
            }
            turn();
        }
    }

private:
    void restart() {
        CoordinatorOptions options;
        options.node = NodeId{1};
        options.seed = random_();
        options.retention.finished_transactions = remembered;
        auto next = std::make_unique<TransactionCoordinator>(options);
        if (core_) {
            next->restore(core_->state().capture());
        }
        core_ = std::move(next);
        calls_.clear();
        asked_.clear();
        core_->advance(now_, WallTime{});
        core_->became_leader();
        turn();
    }

    void put_participant() {
        core_->request(RequestToken{++last_token_},
                       PutParticipantRequest{ParticipantName{"bank"},
                                             {"http://bank", "", std::chrono::seconds{1}, 8},
                                             "scene"});
        turn();
    }

    /// What was asked for with a token.
    struct Asked {
        BeginRequest begin;
        bool known = false; ///< a transaction of that xid or key is remembered
    };

    void ask() {
        Asked asked;
        BeginRequest& begin = asked.begin;
        begin.digest = "body " + std::to_string(random_() % 2);
        const std::string name = std::to_string(random_() % names);
        switch (random_() % 3) {
        case 0:
            begin.xid = Xid{"client." + name};
            break;
        case 1:
            begin.idempotency_key = "key " + name;
            break;
        default:
            if (made_by_server_.empty()) {
                return;
            }
            begin.xid = made_by_server_[random_() % made_by_server_.size()];
            break;
        }
        begin.branches.assign(
            2, {ParticipantName{"bank"}, std::make_shared<const std::string>("1"), std::nullopt});
        const ReplicatedState& state = core_->state();
        const auto named = keys_.find(begin.idempotency_key);
        const std::optional<Xid> meant = begin.xid              ? begin.xid
                                         : named == keys_.end() ? std::nullopt
                                                                : std::optional{named->second};
        asked.known = meant && state.find(*meant) != nullptr;
        const RequestToken token{++last_token_};
        asked_.emplace(token.value(), asked);
        core_->request(token, begin);
    }

    void answer_a_call() {
        if (calls_.empty()) {
            return;
        }
        const auto place = static_cast<std::ptrdiff_t>(random_() % calls_.size());
        const CallKey key = calls_[static_cast<std::size_t>(place)];
        calls_.erase(calls_.begin() + place);
        if (key.operation == Operation::prepare) {
            core_->call_result({key, CallResult::Voted{Vote::yes, {}}});
        } else {
            core_->call_result({key, CallResult::Done{}});
        }
    }

    void turn() {
        for (;;) {
            core_->advance(now_, WallTime{});
            Actions actions = core_->take_actions();
            if (actions.append.empty() && actions.calls.empty() && actions.replies.empty()) {
                return;
            }
            for (const ParticipantCall& call : actions.calls) {
                calls_.push_back(call.key);
            }
            for (const auto& [token, reply] : actions.replies) {
                look_at(token, reply);
            }
            if (!actions.append.empty()) {
                core_->apply(LogIndex{++index_}, std::move(actions.append));
            }
        }
    }

    void look_at(RequestToken token, const Reply& reply) {
        const auto found = asked_.find(token.value());
        const auto* told = std::get_if<TransactionReply>(&reply);
        if (found == asked_.end() || told == nullptr) {
            return;
        }
        const auto& [begin, was_known] = found->second;
        const std::string& xid = told->view.xid.value();
        if (told->created) {
            if (was_known) {
                throw std::runtime_error("I8: " + xid + " was begun twice by one request");
            }
            if (begin.xid && ours_.contains(xid)) {
                throw std::runtime_error("C15: " + xid + ", made by the server, was begun again");
            }
            if (!begin.xid && ours_.insert(xid).second) {
                keys_.insert_or_assign(begin.idempotency_key, told->view.xid);
                made_by_server_.push_back(told->view.xid);
            }
        } else if (const TransactionRecord* record = core_->state().find(told->view.xid);
                   record != nullptr && !record->begin.digest.empty() &&
                   record->begin.digest != begin.digest) {
            throw std::runtime_error("I8: the outcome of " + xid +
                                     " was told to a request that asked for something else");
        }
        asked_.erase(found);
    }

    std::mt19937_64 random_;
    std::unique_ptr<TransactionCoordinator> core_;
    Instant now_{std::chrono::seconds{1}};
    std::uint64_t index_ = 0;
    std::uint64_t last_token_ = 0;
    std::deque<CallKey> calls_;
    std::map<std::uint64_t, Asked> asked_;
    std::vector<Xid> made_by_server_;
    std::set<std::string> ours_;
    std::map<std::string, Xid> keys_; ///< the newest transaction of each idempotency key
};

} // namespace

void run_core(std::uint64_t seed) {
    Clients{seed}.run();
}

} // namespace concordat::mutants
