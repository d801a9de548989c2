#pragma once

// What the handlers share: asking the core, forwarding to the leader, answering, counting.
//
// Threading: every member from any thread. Ownership: shared by the Api and by the reply handlers
// that the core still holds.

#include "coordinator/http/api.hpp"
#include "coordinator/http/event_streams.hpp"
#include "coordinator/http/forwarder.hpp"
#include "coordinator/http/problem.hpp"
#include "coordinator/http/request_metrics.hpp"
#include "coordinator/http/routes.hpp"
#include "participant-sdk/src/transport/io_threads.hpp"

#include <chrono>
#include <memory>
#include <mutex>
#include <vector>

namespace concordat::http {

/// One request on its way through the API.
struct Exchange {
    transport::Request request;
    transport::Responder responder;
    const Route* route = nullptr;
    std::string parameter; ///< xid or participant name of the path
    Identity caller;
    std::size_t io_thread = 0;
    std::chrono::steady_clock::time_point started;
    // What the renderer has to know about the request.
    bool opens = false;                     ///< interactive submission: 201 when not decided
    bool to_completion = false;             ///< wait_for: completion
    core::Duration wait{};                  ///< how long the core may hold the answer
    core::ParticipantDefinition definition; ///< PUT of a participant
};

class Service : public std::enable_shared_from_this<Service> {
public:
    /// Turns a reply that is not Rejected into the answer.
    using Renderer = transport::Response (*)(const Exchange&, core::Reply&);

    Service(Gateway& core_gateway, ApiOptions api_options, transport::IoThreads& io_threads);

    void handle(transport::Request&& request, transport::Responder responder);
    /// Hands the request to the core and answers with what comes back; forwards when another node
    /// is the leader.
    void ask(const ExchangePtr& exchange, core::ClientRequest request, Renderer renderer);
    void answer(Exchange& exchange, transport::Response response);
    void refuse(Exchange& exchange, Problem problem);
    void refuse(Exchange& exchange, std::vector<Complaint> complaints);
    /// To the leader as this node knows it; refuses when there is none or it was forwarded before.
    void forward(const ExchangePtr& exchange, std::optional<core::NodeId> leader);
    void stop();

    Gateway& gateway;
    const ApiOptions options;
    RequestMetrics metrics;
    EventStreams events;

private:
    struct Arrived {
        ExchangePtr exchange;
        Renderer renderer = nullptr;
        core::Reply reply;
    };
    /// Replies on their way from the core thread to one io thread; one wake-up serves all that
    /// arrive before it runs.
    struct Inbox {
        std::mutex mutex;
        std::vector<Arrived> arrived;
    };

    void hand_over(Arrived&& arrived);
    void drain_inbox(std::size_t index);
    void respond(Arrived& arrived);

    transport::IoThreads& threads_;
    Forwarder forwarder_;
    std::vector<Inbox> inboxes_;
};

} // namespace concordat::http
