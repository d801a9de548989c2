#pragma once

// One participant: a bank with one balance, whose branches obey docs/concepts/protocols.md. What it
// knows of branches is durable; what it is about (inquiries, ballots it runs) is lost in a crash.

#include "coordinator/core/transaction_coordinator.hpp"
#include "tests/simulation/faults.hpp"
#include "tests/simulation/ledger.hpp"
#include "tests/simulation/timeline.hpp"

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace concordat::simulation {

/// (round, proposer); zero is the coordinator group's ballot.
struct Ballot {
    std::uint32_t round = 0;
    std::uint32_t proposer = 0;
    auto operator<=>(const Ballot&) const = default;
};

struct BallotAnswer {
    bool granted = false;
    std::optional<Ballot> accepted;
    core::Outcome accepted_value = core::Outcome::aborted;
    std::optional<core::Outcome> outcome; ///< already known here: settles it (Q8)
};

class Participant;

/// What a participant reaches of the world.
class ParticipantHost {
public:
    virtual ~ParticipantHost() = default;
    virtual Timeline& timeline() = 0;
    virtual Bug bug() const = 0;
    virtual Ledger& ledger() = 0;
    /// Asks some coordinator node what became of a transaction; the answer may never come.
    virtual void inquire(const std::string& asker, const std::string& xid) = 0;
    /// Runs `action` at another participant some time later, or never.
    virtual void send(const std::string& to, std::function<void(Participant&)> action) = 0;
};

class Participant {
public:
    Participant(ParticipantHost& host, std::string name) : host_(host), name_(std::move(name)) {}

    [[nodiscard]] core::CallResult serve(const core::ParticipantCall& call);
    void learn_outcome(const std::string& xid, core::Outcome outcome);
    [[nodiscard]] BallotAnswer promise(const std::string& xid, Ballot ballot);
    [[nodiscard]] BallotAnswer accept(const std::string& xid, Ballot ballot, core::Outcome value);
    /// An answer to a ballot that this participant runs.
    void promised(const std::string& xid, Ballot ballot, const BallotAnswer& answer);
    void accepted(const std::string& xid, Ballot ballot, const BallotAnswer& answer);

    void crash();
    void start();

    [[nodiscard]] bool is_up() const noexcept { return up_; }
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] std::int64_t balance() const noexcept { return balance_; }
    [[nodiscard]] std::vector<std::string> in_doubt() const;

private:
    enum class State : std::uint8_t { unknown, prepared, read_only, committed, aborted };
    struct Branch {
        State state = State::unknown;
        core::Protocol protocol = core::Protocol::two_phase;
        std::int64_t amount = 0;
        std::uint32_t number = 0;
        std::uint64_t highest_epoch = 0;
        std::size_t quorum = 0;
        std::vector<std::string> peers;
        Ballot promised;
        std::optional<Ballot> accepted;
        core::Outcome accepted_value = core::Outcome::aborted;
    };
    struct Termination { // a ballot that this participant runs
        Ballot ballot;
        std::size_t promises = 0;
        std::size_t accepts = 0;
        std::optional<Ballot> highest;
        core::Outcome value = core::Outcome::aborted;
        bool accepting = false;
    };

    [[nodiscard]] core::CallResult prepare(const core::ParticipantCall& call, Branch& branch);
    [[nodiscard]] core::CallResult one_phase(const core::ParticipantCall& call, Branch& branch);
    [[nodiscard]] core::CallResult pre_commit(const core::ParticipantCall& call, Branch& branch);
    void end(const std::string& xid, Branch& branch, core::Outcome outcome);
    [[nodiscard]] static std::optional<core::Outcome> outcome_of(const Branch& branch);
    void watch(const std::string& xid);
    void resolve(const std::string& xid);
    void terminate(const std::string& xid, Branch& branch);

    ParticipantHost& host_;
    std::string name_;
    bool up_ = true;
    std::uint64_t life_ = 0;
    std::int64_t balance_ = 0;
    std::map<std::string, Branch> branches_; ///< by xid; at most one branch of each is here
    std::map<std::string, Termination> terminations_;
};

} // namespace concordat::simulation
