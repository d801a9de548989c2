// The coordinator group: nodes that start, members that come and go one at a time.

#include "tests/simulation/world.hpp"

#include <algorithm>

namespace concordat::simulation {
namespace {

log::VotingMember member(log::Peer id) {
    return {id, "node" + std::to_string(id)};
}

} // namespace

log::Peer World::new_node(log::PersistedState first) {
    const log::Peer id = nodes_.size() + 1; // an id is never used again
    nodes_.push_back(std::make_unique<Node>(static_cast<NodeHost&>(*this), id, std::move(first)));
    return id;
}

/// A node that refuses its damaged files never comes back: another takes its place (C22).
void World::start_node(log::Peer id) {
    if (gone_.contains(id) || node(id).is_up()) {
        return;
    }
    const auto started = node(id).start();
    if (started) {
        return;
    }
    if (node(id).disk().is_full()) { // it ends, and is started again until there is space
        timeline_.after(500, [this, id] { start_node(id); });
        return;
    }
    if (!node(id).disk().is_damaged()) {
        throw Violation("node " + std::to_string(id) +
                        " refuses files that nobody damaged: " + started.error());
    }
    timeline_.tell("-", "node" + std::to_string(id), "refused", started.error());
    gone_.insert(id);
    // The lost one is removed first: a new voter takes no part in elections before it has the entry
    // that names it, so until then the group would need every other member.
    changes_.push_back(MemberChange{new_node({}), id, Fault::node_replaced, true});
    start_node(*changes_.back().add);
}

/// Not while a member may be lost for good: the others are needed.
bool World::may_change_group() const {
    return changes_.empty() && std::ranges::none_of(voters_, [this](const auto& voter) {
               return node(voter.id).disk().is_damaged();
           });
}

bool World::is_voter(log::Peer id) const {
    return std::ranges::find(voters_, id, &log::VotingMember::id) != voters_.end();
}

/// Until then it takes no part in elections, and no other member may be given away.
bool World::knows_that_it_is_voter(log::Peer id) const {
    const Node& one = node(id);
    const log::Entry* entry = ledger_.find(voters_index_);
    return is_voter(id) && one.is_up() && (entry == nullptr || one.disk().holds(*entry));
}

log::Peer World::leader() const {
    for (const auto& one : nodes_) {
        if (one->is_serving()) {
            return one->id();
        }
    }
    return 0;
}

/// Of the members that count: those of the last configuration in the log of who applied it, whether
/// that is committed or not (Ongaro 2014, §4.1).
bool World::is_on_majority(const log::Entry& entry) const {
    const auto holds = [&](const std::vector<log::VotingMember>& voters) {
        const auto holders = std::ranges::count_if(voters, [&](const log::VotingMember& voter) {
            return node(voter.id).disk().holds(entry);
        });
        return static_cast<std::size_t>(holders) > voters.size() / 2;
    };
    return holds(voters_) || std::ranges::any_of(nodes_, [&](const auto& one) {
               return one->is_up() && one->applied_index() >= entry.index && holds(one->members());
           });
}

void World::leads(log::Peer id, log::Term term) {
    ledger_.leads(id, term);
    timeline_.tell("-", "node" + std::to_string(id), "leads", "term " + std::to_string(term));
}

void World::installed(log::Peer id) {
    timeline_.inject(Fault::snapshot_installed, "node" + std::to_string(id));
}

void World::failed(log::Peer id) {
    timeline_.tell("-", "node" + std::to_string(id), "exits", "its disk failed");
    timeline_.after(timeline_.between(100, 2'000), [this, id] { start_node(id); });
}

/// An operator's script: asks whoever leads until the change is done.
void World::tend_group() {
    if (!changes_.empty()) {
        change_group();
    }
    timeline_.after(timeline_.between(100, 300), [this] { tend_group(); });
}

void World::change_group() {
    const MemberChange change = changes_.front();
    const bool added = !change.add || knows_that_it_is_voter(*change.add);
    const bool removed = !change.remove || !is_voter(*change.remove);
    if (added && removed) {
        if (change.remove) {
            retire(*change.remove);
        }
        timeline_.inject(change.kind,
                         "node" + std::to_string(change.add.value_or(change.remove.value_or(0))));
        changes_.pop_front();
        return;
    }
    const bool add_now = !added && (removed || !change.remove_first);
    for (const auto& one : nodes_) {
        if (!one->leads()) {
            continue;
        }
        std::vector<log::VotingMember> voters = one->members();
        if (add_now) {
            if (std::ranges::find(voters, *change.add, &log::VotingMember::id) == voters.end()) {
                voters.push_back(member(*change.add));
            }
        } else {
            std::erase_if(voters, [&](const auto& voter) { return voter.id == *change.remove; });
        }
        static_cast<void>(one->change_members(std::move(voters))); // refused: asked again later
    }
}

/// A removed node may go on for a while: nobody needs it, and it must disturb nobody.
void World::retire(log::Peer id) {
    timeline_.after(timeline_.between(0, 3'000), [this, id] {
        node(id).kill();
        gone_.insert(id);
    });
}

} // namespace concordat::simulation
