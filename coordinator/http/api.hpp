#pragma once

// The coordinator's REST API: from an HTTP request to a request of the core and back.
//
// What: matches the route, checks the caller's role, decodes strictly, asks the core through the
// Gateway, renders the reply. A node that is not the leader forwards to the leader, one hop only.
// Why nothing is kept per client: every fact the API answers is in the replicated state, so any
// node may take any request.
//
// Threading: handle() on io threads; replies are rendered and answered on the io thread that took
// the request. Ownership: gateway and threads must outlive the Api; destroy it after the core loop
// has stopped calling reply handlers and the server has stopped, before the threads stop.
// Errors: every failure is a problem document (problem.hpp) that says its effect.

#include "coordinator/http/access.hpp"
#include "coordinator/http/gateway.hpp"
#include "participant-sdk/src/transport/server.hpp"

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

namespace concordat::transport {
class IoThreads;
}

namespace concordat::http {

struct ApiOptions {
    AccessTable access;
    /// A request waits for its decision at most this long, then it is answered 202; the client's
    /// own Prefer: wait=N is cut to it.
    std::chrono::milliseconds max_wait{60'000};
    /// Long polls (wait_index) that name no time.
    std::chrono::milliseconds default_poll{30'000};
    /// What a forwarded request may take on top of its own wait.
    std::chrono::milliseconds forward_margin{5'000};
    std::size_t max_forwards_waiting = 4096;
    std::size_t max_forwarded_answer_bytes = 16UL << 20;
    std::size_t max_event_streams = 64;
    std::chrono::milliseconds event_keep_alive{15'000};
};

/// Renders failures of the transport (framing, sizes, time-outs) as problem documents.
[[nodiscard]] transport::Response problem_for(const transport::ProtocolError& error);

class Service;

class Api {
public:
    Api(Gateway& gateway, ApiOptions options, transport::IoThreads& threads);
    ~Api();
    Api(const Api&) = delete;
    Api& operator=(const Api&) = delete;

    void handle(transport::Request&& request, transport::Responder responder);

    /// Prometheus text of this API's own counters; GET /metrics appends it by itself.
    [[nodiscard]] std::string metrics() const;

private:
    std::shared_ptr<Service> service_;
};

} // namespace concordat::http
