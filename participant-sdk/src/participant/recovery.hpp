#pragma once

// Brings branches in doubt to their end.
//
// One look: list the prepared branches older than the grace period; inquire at the coordinators;
// for those that no coordinator answered for, ask the peers (two-phase) or run a ballot among the
// acceptors (quorum three-phase): the peers and, where the PREPARE says so, the coordinator group,
// which may answer a ballot although it answers no inquiry. An outcome that is learnt is applied
// here; after a ballot it is also told to the peers. Without an outcome the branch stays as it is:
// age decides nothing, it only raises an alarm.
//
// Threading: look() from one thread at a time. Errors: a branch that cannot be finished now is
// taken up again by the next look.

#include "participant-sdk/src/participant/counters.hpp"
#include "participant-sdk/src/participant/delivery.hpp"
#include "participant-sdk/src/participant/outbound.hpp"
#include "participant-sdk/src/participant/terminator.hpp"

#include <concordat/participant.hpp>
#include <concordat/resource.hpp>

#include <atomic>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace concordat::participant {

class Recovery {
public:
    Recovery(Resource& resource, Delivery& delivery, Outbound& outbound, Counters& counters,
             RecoveryOptions options, Delivery::AlarmSink alarm);

    /// Looks at the next `batch` of the branches and returns how many it ended. Looks go round:
    /// branches that cannot be ended yet, however many, keep none of the younger ones waiting.
    std::size_t look();
    /// After a look: the round is not over, there are younger branches.
    [[nodiscard]] bool has_more() const noexcept { return has_more_; }

private:
    struct Case {
        InDoubtBranch branch;
        std::vector<std::string> coordinators;
        bool answered = false;            ///< by a coordinator, if only with "undecided"
        std::vector<std::string> reached; ///< coordinators that said anything at all
        bool ended = false;
    };
    struct Attempt {
        Case* one;
        Terminator terminator;
        bool group_answered = false; ///< in the present phase, through whichever node
    };
    /// Calls of one phase, each with the acceptor that it is for.
    struct Questions {
        Terminator::Phase phase;
        std::vector<OutboundCall> calls;
        std::vector<std::pair<Attempt*, std::uint16_t>> asked;
    };

    [[nodiscard]] std::vector<Case> cases_of(std::vector<InDoubtBranch>&& listed) const;
    void inquire(std::vector<Case>& cases);
    void read_inquiry(Case& one, const OutboundReply& reply);
    void ask_peers(std::vector<Case>& cases);
    void run_ballots(std::vector<Case>& cases);
    [[nodiscard]] bool is_its_turn(const Case& one) const;
    [[nodiscard]] std::optional<Terminator> promise_to_itself(const Case& one);
    void accept_itself(Attempt& attempt);
    void ask_acceptors(std::vector<Attempt>& attempts, Terminator::Phase phase);
    void ask_peers_of(Attempt& attempt, Questions& questions) const;
    void ask_group_of(Attempt& attempt, std::size_t node, Questions& questions) const;
    void hear_acceptors(const Questions& questions);
    static void tell_peers(const Case& one, Outcome outcome, std::vector<OutboundCall>& calls);
    bool finish(Case& one, Outcome outcome, std::atomic<std::uint64_t>& counter);
    [[nodiscard]] static bool is_orphan(const Case& one, Protocol protocol);
    [[nodiscard]] static std::vector<Peer> others(const Case& one);

    Resource& resource_;
    Delivery& delivery_;
    Outbound& outbound_;
    Counters& counters_;
    const RecoveryOptions options_;
    Delivery::AlarmSink alarm_;
    std::vector<std::pair<std::string, std::string>> authorization_; ///< header for coordinators
    std::string preferred_coordinator_;                              ///< the last one that answered
    std::size_t skip_ = 0; ///< oldest branches that this round has left as they are
    bool has_more_ = false;
    bool store_was_reachable_ = true;
};

} // namespace concordat::participant
