#pragma once

// One process of a participant, from its start to its death: what participant.cpp and main() of a
// service put together in production, with fibers for threads and the modelled database for libpq.

#include "coordinator/core/transaction_coordinator.hpp"
#include "participant-sdk/src/participant/counters.hpp"
#include "participant-sdk/src/participant/delivery.hpp"
#include "participant-sdk/src/participant/outbound.hpp"
#include "participant-sdk/src/participant/recovery.hpp"
#include "tests/simulation/faults.hpp"
#include "tests/simulation/fiber.hpp"
#include "tests/simulation/modelled_postgres.hpp"

#include <concordat/participant.hpp>
#include <concordat/resource.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::simulation {

/// An HTTP request between participants.
struct PeerCall {
    std::string method;
    std::string target;
    std::string capability; ///< of the header
    std::string body;
};
using PeerAnswer = std::function<void(participant::OutboundReply)>;

/// What a process reaches of its participant.
class ReplicaHost {
public:
    virtual ~ReplicaHost() = default;
    virtual Timeline& timeline() = 0;
    virtual Fibers& fibers() = 0;
    virtual ModelledPostgres& database() = 0;
    virtual DatabaseObserver& observer() = 0;
    [[nodiscard]] virtual Bug bug() const = 0;
    [[nodiscard]] virtual std::vector<std::string> coordinators() const = 0;
    /// A call to a peer or to a coordinator.
    virtual void ask(const participant::OutboundCall& call, PeerAnswer answer) = 0;
    /// The service has voted, and the answer is about to leave.
    virtual void voted(const std::string& xid, Vote vote) = 0;
    /// The highest epoch whose PREPARE this participant answered with the vote that it is bound to.
    [[nodiscard]] virtual core::Epoch bound_to(const std::string& xid) const = 0;
    /// A PREPARE was answered with a vote. `before`: bound_to() when it arrived.
    virtual void obeyed(const std::string& xid, Vote vote, core::Epoch epoch,
                        core::Epoch before) = 0;
    virtual void commits_in_one_phase(const std::string& xid) = 0;
    virtual void alarm(const Alarm& alarm) = 0;
};

class Replica : public std::enable_shared_from_this<Replica> {
public:
    explicit Replica(ReplicaHost& host);

    /// Starts its recovery.
    void start();
    void serve(const core::ParticipantCall& call, std::function<void(core::CallResult)> answer);
    void serve(const PeerCall& call, PeerAnswer answer);
    /// Stops the process for that long.
    void pause(Milliseconds duration);
    /// kill -9: nothing of it leaves the process any more; its fibers run out by themselves.
    void crash();

private:
    class FiberOutbound;

    /// Runs `work` in a fiber; what it returns is called if the process still lives then.
    void run(std::function<std::function<void()>()> work, std::function<void()> when_it_dies);
    [[nodiscard]] wire::BranchAnswer deliver(std::string_view xid, std::uint16_t branch,
                                             const std::string& body);
    [[nodiscard]] participant::OutboundReply answer_peer(const PeerCall& call);
    void recover();
    void stand_still();
    [[nodiscard]] bool is_over() const;
    [[nodiscard]] VoteCast work(postgres::Connection& session, std::string_view payload);

    ReplicaHost& host_;
    const std::shared_ptr<ClientProcess> process_ = std::make_shared<ClientProcess>();
    const std::shared_ptr<Resource> resource_;
    const std::unique_ptr<participant::Outbound> outbound_;
    participant::Counters counters_;
    participant::Delivery delivery_;
    participant::Recovery recovery_;
    std::map<std::uint64_t, std::function<void()>> open_; ///< requests, with what ends them
    std::uint64_t last_request_ = 0;
};
using ReplicaPtr = std::shared_ptr<Replica>;

} // namespace concordat::simulation
