#pragma once

// A Resource without a database, for tests of what stands on the interface: same contract, state in
// a map. Faults are injected through `fail_next`.

#include <concordat/resource.hpp>

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

namespace concordat::testing {

class MemoryResource final : public Resource {
public:
    struct Branch {
        AcceptorState acceptor;
        std::optional<BranchContext> context;
        std::uint64_t epoch = 0;
        int prepared_times = 0;
    };

    std::expected<VoteCast, NotDone> prepare(const PrepareOrder& order) override {
        if (before_prepare) {
            before_prepare(order.key);
        }
        const std::lock_guard lock(mutex);
        if (auto failure = std::exchange(fail_next, std::nullopt)) {
            return std::unexpected(*failure);
        }
        Branch& branch = branches[order.key];
        if (branch.acceptor.state == BranchState::aborted) {
            return VoteCast{Vote::no, "aborted"};
        }
        if (branch.acceptor.state == BranchState::unknown) {
            branch.acceptor.state = BranchState::prepared;
            branch.acceptor.capability = order.context.capability;
            branch.context = order.context;
            ++branch.prepared_times;
        }
        return VoteCast{Vote::yes, {}};
    }

    std::expected<void, NotDone> commit(const BranchKey& key) override {
        return end(key, BranchState::committed);
    }
    std::expected<void, NotDone> abort(const BranchKey& key) override {
        return end(key, BranchState::aborted);
    }
    std::expected<OnePhaseResult, NotDone> commit_one_phase(const PrepareOrder& order) override {
        const std::lock_guard lock(mutex);
        branches[order.key].acceptor.state = BranchState::committed;
        return OnePhaseResult{Outcome::committed, {}};
    }
    std::expected<AcceptorState, NotDone> change_acceptor(const BranchKey& key,
                                                          const AcceptorRule& rule) override {
        const std::lock_guard lock(mutex);
        if (auto failure = std::exchange(fail_next, std::nullopt)) {
            return std::unexpected(*failure);
        }
        AcceptorState& state = branches[key].acceptor;
        state = rule(state);
        return state;
    }
    std::expected<std::vector<InDoubtBranch>, NotDone> in_doubt(std::chrono::milliseconds,
                                                                std::size_t limit) override {
        const std::lock_guard lock(mutex);
        if (auto failure = std::exchange(fail_next, std::nullopt)) {
            return std::unexpected(*failure);
        }
        std::vector<InDoubtBranch> found;
        for (const auto& [key, branch] : branches) {
            if (branch.acceptor.state == BranchState::prepared && found.size() < limit) {
                found.push_back({key, age, branch.context});
            }
        }
        return found;
    }

    BranchState state_of(const BranchKey& key) {
        const std::lock_guard lock(mutex);
        return branches[key].acceptor.state;
    }

    std::mutex mutex;
    std::map<BranchKey, Branch> branches;
    std::optional<NotDone> fail_next;
    std::function<void(const BranchKey&)> before_prepare; ///< set before the first call; may block
    std::chrono::milliseconds age{30'000};

private:
    std::expected<void, NotDone> end(const BranchKey& key, BranchState wanted) {
        const std::lock_guard lock(mutex);
        if (auto failure = std::exchange(fail_next, std::nullopt)) {
            return std::unexpected(*failure);
        }
        BranchState& state = branches[key].acceptor.state;
        if (state == BranchState::prepared ||
            (state == BranchState::unknown && wanted == BranchState::aborted)) {
            state = wanted;
        }
        if (state == wanted) {
            return {};
        }
        NotDone refused{NotDone::Kind::refused, "the branch is not there", {}, {}};
        if (state != BranchState::unknown) {
            refused.outcome =
                state == BranchState::committed ? Outcome::committed : Outcome::aborted;
        }
        return std::unexpected(refused);
    }
};

} // namespace concordat::testing
