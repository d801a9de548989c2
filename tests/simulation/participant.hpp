#pragma once

// One participant: a bank with a few accounts, served by two processes over one database. The
// processes run the SDK's own code (Delivery, Recovery, the acceptor, PREPARE and its recovery on
// PostgreSQL); the database is modelled (modelled_postgres.hpp), and so is what HTTP carries, in
// the encoding of the contract.

#include "coordinator/core/transaction_coordinator.hpp"
#include "tests/simulation/faults.hpp"
#include "tests/simulation/fiber.hpp"
#include "tests/simulation/ledger.hpp"
#include "tests/simulation/modelled_postgres.hpp"
#include "tests/simulation/participant_replica.hpp"
#include "tests/simulation/timeline.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace concordat::simulation {

class Participant;

/// What a participant reaches of the world.
class ParticipantHost {
public:
    virtual ~ParticipantHost() = default;
    virtual Timeline& timeline() = 0;
    virtual Bug bug() const = 0;
    virtual Ledger& ledger() = 0;
    [[nodiscard]] virtual bool faults_are_on() const = 0;
    /// Base URLs of the nodes.
    [[nodiscard]] virtual std::vector<std::string> coordinators() const = 0;
    /// Asks a node; the answer may never come.
    virtual void ask_coordinator(const std::string& url, core::ClientRequest request,
                                 std::function<void(const core::Reply&)> answer) = 0;
    /// Runs `action` at a participant some time later, or never.
    virtual void send(const std::string& to, std::function<void(Participant&)> action) = 0;
};

class Participant final : private DatabaseObserver, private ReplicaHost {
public:
    Participant(ParticipantHost& host, std::string name);
    ~Participant() override;
    Participant(const Participant&) = delete;
    Participant& operator=(const Participant&) = delete;

    /// One of the processes takes it. The answer comes once: a process that dies resets the
    /// connection.
    void serve(const core::ParticipantCall& call, std::function<void(core::CallResult)> answer);
    /// A call of a peer; no answer when the process dies.
    void serve(const PeerCall& call, PeerAnswer answer);

    /// All processes die; the database stays.
    void crash();
    void start();

    [[nodiscard]] bool is_up() const;
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] std::int64_t balance() const { return database_.balance(); }
    /// Transactions with a prepared branch.
    [[nodiscard]] std::vector<std::string> in_doubt() const;
    /// Nothing is prepared, no transaction is open, no lock is held.
    [[nodiscard]] bool is_quiet() const { return database_.is_quiet(); }

private:
    // DatabaseObserver.
    bool goes_wrong(Fault fault, unsigned permille) override;
    void prepared(const std::string& gid) override;
    void rolled_back(const std::string& gid) override;
    void decided(const std::string& branch, const std::string& outcome) override;
    void acceptor_changed(const std::string& branch, const BranchRow& before,
                          const BranchRow& after) override;
    // ReplicaHost.
    Timeline& timeline() override { return host_.timeline(); }
    Fibers& fibers() override { return fibers_; }
    ModelledPostgres& database() override { return database_; }
    DatabaseObserver& observer() override { return *this; }
    Bug bug() const override { return host_.bug(); }
    std::vector<std::string> coordinators() const override { return host_.coordinators(); }
    void ask(const participant::OutboundCall& call, PeerAnswer answer) override;
    void voted(const std::string& xid, Vote vote) override;
    [[nodiscard]] core::Epoch bound_to(const std::string& xid) const override;
    void obeyed(const std::string& xid, Vote vote, core::Epoch epoch, core::Epoch before) override;
    void commits_in_one_phase(const std::string& xid) override { one_phase_.insert(xid); }
    void alarm(const Alarm& alarm) override;

    void ask_coordinator(const participant::OutboundCall& call, PeerAnswer answer);
    void ended(const std::string& xid, core::Outcome outcome, const char* event);
    /// Runs what may throw a Violation where exceptions may not pass.
    void guarded(const std::function<void()>& check);
    [[nodiscard]] ReplicaPtr some_replica();
    void start_replica(std::size_t number);
    // Trouble of its own.
    void make_trouble();
    void one_fault();
    void crash_replica();
    void crash_database();
    void fill_prepared();
    void jump_clock();

    ParticipantHost& host_;
    std::string name_;
    Fibers fibers_;
    ModelledPostgres database_;
    std::array<ReplicaPtr, 2> replicas_;
    std::set<std::string> one_phase_;
    std::map<std::string, core::Epoch> bound_;  ///< by xid; since the last crash of the database
    std::map<std::string, core::Outcome> ends_; ///< by xid; at most one branch of each is here
    std::int64_t clock_offset_ = 0;
};

} // namespace concordat::simulation
