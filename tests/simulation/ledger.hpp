#pragma once

// The observer of a run: it sees what nobody in the system can see at once, and throws a Violation
// as soon as an invariant is broken. Invariants: docs/concepts/guarantees.md.

#include "coordinator/core/commands.hpp"
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
    /// Is the entry at this index on the disks of a majority?
    using DurableOnMajority = std::function<bool(const log::Entry&)>;

    explicit Ledger(DurableOnMajority is_durable) : is_durable_(std::move(is_durable)) {}

    /// A client is about to submit this transaction with these branches.
    void planned(const std::string& xid, const std::map<std::string, std::int64_t>& amounts);

    /// A node won an election. There is at most one leader in a term.
    void leads(log::Peer node, log::Term term);

    /// A node applied a committed entry. All nodes must see one history.
    void applied(const log::Entry& entry, const std::vector<core::Command>& commands);

    /// A participant voted yes (or read-only), or ended a branch.
    void voted_yes(const std::string& xid, const std::string& participant);
    void ended(const std::string& xid, const std::string& participant, core::Outcome outcome);
    /// A participant was told to commit a branch that it never prepared.
    [[noreturn]] static void commit_without_vote(const std::string& xid);

    /// A client or a participant was told an outcome by the coordinator.
    void told(const std::string& xid, core::Outcome outcome);

    /// After everything has healed and drained: what participants hold is what the log says.
    void audit(const std::map<std::string, std::int64_t>& balances) const;

    [[nodiscard]] bool has_applied(log::Index index) const { return history_.contains(index); }
    /// What the log decided, if it did.
    [[nodiscard]] std::optional<core::Outcome> decision_of(const std::string& xid) const;
    [[nodiscard]] bool was_told(const std::string& xid) const { return told_.contains(xid); }
    [[nodiscard]] std::size_t committed() const;
    [[nodiscard]] std::size_t aborted() const { return decisions_.size() - committed(); }

private:
    struct Decision {
        core::Outcome outcome = core::Outcome::aborted;
        log::Index index = 0;
    };

    void decided(const std::string& xid, core::Outcome outcome, log::Index index);

    DurableOnMajority is_durable_;
    std::map<std::string, std::map<std::string, std::int64_t>> plans_;
    std::map<log::Term, log::Peer> leaders_;
    std::map<log::Index, log::Entry> history_;
    std::map<std::string, Decision> decisions_; ///< the first in the log
    std::map<std::string, core::Outcome> told_;
    std::map<std::string, std::map<std::string, core::Outcome>> ends_;
    std::map<std::string, std::set<std::string>> yes_votes_;
};

} // namespace concordat::simulation
