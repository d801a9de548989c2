#include "tests/simulation/participant_bugs.hpp"

#include <set>
#include <utility>

namespace concordat::simulation {
namespace {

class Misbehaving final : public Resource {
public:
    Misbehaving(std::shared_ptr<Resource> resource, Bug bug, Timeline& timeline,
                ModelledPostgres& database)
        : resource_(std::move(resource)), bug_(bug), timeline_(timeline), database_(database) {}

    std::expected<VoteCast, NotDone> prepare(const PrepareOrder& order) override {
        auto cast = resource_->prepare(order);
        if (bug_ == Bug::participant_commits_unasked && cast && cast->vote == Vote::yes) {
            static_cast<void>(resource_->commit(order.key));
        }
        return cast;
    }

    std::expected<void, NotDone> commit(const BranchKey& key) override {
        const auto before =
            resource_->change_acceptor(key, [](const auto& state) { return state; });
        auto done = resource_->commit(key);
        if (bug_ == Bug::effect_applied_twice && done && before &&
            before->state == BranchState::committed) {
            database_.apply_again(key.xid.value());
        }
        return done;
    }

    std::expected<void, NotDone> abort(const BranchKey& key) override {
        return resource_->abort(key);
    }
    std::expected<OnePhaseResult, NotDone> commit_one_phase(const PrepareOrder& order) override {
        return resource_->commit_one_phase(order);
    }

    std::expected<AcceptorState, NotDone> change_acceptor(const BranchKey& key,
                                                          const AcceptorRule& rule) override {
        return resource_->change_acceptor(key, [&](const AcceptorState& state) {
            AcceptorState seen = state;
            if (bug_ == Bug::acceptor_forgets && timeline_.chance(500)) {
                seen.promised = {};
                seen.accepted.reset();
            } else if (bug_ == Bug::acceptor_ignores_promises) {
                seen.promised = {};
            } else if (bug_ == Bug::termination_ignores_accepted) {
                seen.accepted.reset();
            }
            const AcceptorState wanted = rule(seen);
            return wanted == seen ? state : wanted;
        });
    }

    std::expected<std::vector<InDoubtBranch>, NotDone> in_doubt(std::chrono::milliseconds min_age,
                                                                std::size_t limit) override {
        auto listed = resource_->in_doubt(min_age, limit);
        if (listed && bug_ == Bug::participant_decides_by_timeout) {
            for (const InDoubtBranch& one : *listed) {
                static_cast<void>(resource_->abort(one.key));
            }
            listed->clear();
        } else if (listed && bug_ == Bug::minority_terminates) {
            for (InDoubtBranch& one : *listed) {
                if (one.context && one.context->quorum > 0) {
                    one.context->quorum = 1;
                }
            }
        }
        return listed;
    }

    std::expected<std::size_t, NotDone> forget_finished() override {
        return resource_->forget_finished();
    }

private:
    const std::shared_ptr<Resource> resource_;
    const Bug bug_;
    Timeline& timeline_;
    ModelledPostgres& database_;
};

} // namespace

std::shared_ptr<Resource> misbehaving(std::shared_ptr<Resource> resource, Bug bug,
                                      Timeline& timeline, ModelledPostgres& database) {
    static const std::set<Bug> known{
        Bug::participant_commits_unasked,
        Bug::effect_applied_twice,
        Bug::acceptor_forgets,
        Bug::acceptor_ignores_promises,
        Bug::termination_ignores_accepted,
        Bug::participant_decides_by_timeout,
        Bug::minority_terminates,
    };
    return known.contains(bug)
               ? std::make_shared<Misbehaving>(std::move(resource), bug, timeline, database)
               : std::move(resource);
}

} // namespace concordat::simulation
