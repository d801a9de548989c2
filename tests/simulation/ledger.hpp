#pragma once

// The observer of a run: it sees what nobody in the system can see at once, and throws a Violation
// as soon as an invariant is broken. Invariants: docs/concepts/guarantees.md.

#include "coordinator/core/commands.hpp"
#include "coordinator/core/replicated_state.hpp"
#include "coordinator/core/transaction_coordinator.hpp"
#include "coordinator/log/log_types.hpp"
#include "tests/simulation/timeline.hpp"

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace concordat::simulation {

class Ledger {
public:
    /// Is this entry on the disks of a majority?
    using DurableOnMajority = std::function<bool(const log::Entry&)>;

    Ledger(DurableOnMajority is_durable, core::RetentionLimits limits)
        : is_durable_(std::move(is_durable)), limits_(limits), state_(limits) {}

    /// A node won an election. There is at most one leader in a term.
    void leads(log::Peer node, log::Term term);

    /// A node applied a committed entry. All nodes must see one history.
    void applied(const log::Entry& entry, const std::vector<core::Command>& commands);

    /// A node is about to call a participant: what it says must be in the log already.
    void calling(const core::ParticipantCall& call) const;

    /// A participant voted yes (or read-only), or ended a branch.
    void voted_yes(const std::string& xid, const std::string& participant);
    void ended(const std::string& xid, const std::string& participant, core::Outcome outcome);
    /// C10. A PREPARE of `epoch` is answered with a vote, by one who is in doubt because of the
    /// vote that it gave to the PREPARE of `seen`.
    static void obeyed(const std::string& xid, const std::string& participant, core::Epoch epoch,
                       core::Epoch seen);
    /// A participant was told to commit a branch that it never prepared.
    [[noreturn]] static void commit_without_vote(const std::string& xid);

    /// The coordinator told a client or a participant an outcome.
    void told(const std::string& xid, core::Outcome outcome);
    /// A client was told that the transaction is known.
    void told_begun(const std::string& xid) { begun_.insert(xid); }

    /// I8. What everybody may know when a read starts, and the read must not contradict.
    struct Knowledge {
        bool begun = false;
        std::optional<core::Outcome> outcome;
    };
    [[nodiscard]] Knowledge known(const std::string& xid) const;
    /// What the read says: not found, or found with or without an outcome.
    void read_not_found(const std::string& xid, const Knowledge& known) const;
    void read(const std::string& xid, const Knowledge& known,
              std::optional<core::Outcome> outcome) const;

    /// After everything has healed and drained: what participants hold is what the log says.
    void audit(const std::map<std::string, std::int64_t>& balances) const;

    [[nodiscard]] bool has_applied(log::Index index) const { return history_.contains(index); }
    /// The committed entry at this index; null if nobody has applied it.
    [[nodiscard]] const log::Entry* find(log::Index index) const {
        const auto found = history_.find(index);
        return found == history_.end() ? nullptr : &found->second;
    }
    /// What the log decided, if it did.
    [[nodiscard]] std::optional<core::Outcome> decision_of(const std::string& xid) const;
    /// So many transactions have finished since it was decided that it may be forgotten.
    [[nodiscard]] bool may_be_forgotten(const std::string& xid) const;
    [[nodiscard]] std::size_t committed() const noexcept { return committed_; }
    [[nodiscard]] std::size_t aborted() const noexcept { return aborted_; }

private:
    struct Decision {
        core::Outcome outcome = core::Outcome::aborted;
        log::Index index = 0;
        std::uint64_t finished_before = 0;
    };
    using Amounts = std::map<std::string, std::int64_t>;

    void begun(const core::Begin& begin);
    void decided(const std::string& xid, core::Outcome outcome, log::Index index);
    void add_branch(const std::string& xid, const core::BranchSpec& branch);
    void ending(const core::End& end) const;
    void check_decided(const std::string& xid, core::Outcome outcome) const;
    void check_no_late_abort(const core::Decide& decide) const;
    void check_first_stands(const core::Xid& xid) const;

    DurableOnMajority is_durable_;
    core::RetentionLimits limits_;
    core::ReplicatedState state_; ///< what a node that applied everything knows
    std::map<std::string, Amounts> plans_;
    std::map<log::Term, log::Peer> leaders_;
    std::map<log::Index, log::Entry> history_;
    std::map<std::string, Decision> decisions_; ///< the first in the log
    std::map<std::string, core::Outcome> told_;
    std::set<std::string> begun_;
    std::map<std::string, std::map<std::string, core::Outcome>> ends_;
    /// Of earlier transactions of the same name.
    std::map<std::string, std::map<std::string, core::Outcome>> past_ends_;
    std::map<std::string, std::set<std::string>> yes_votes_;
    std::uint64_t finished_ = 0;
    std::size_t committed_ = 0;
    std::size_t aborted_ = 0;
    Amounts expected_; ///< by the decisions
};

} // namespace concordat::simulation
