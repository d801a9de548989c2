#pragma once

// Renders this node's figures in the Prometheus text format. Every metric is documented in
// docs/reference/metrics.md; a house check holds the two together.

#include "coordinator/core/transaction_coordinator.hpp"
#include "coordinator/http/participant_caller.hpp"
#include "coordinator/log/decision_log.hpp"
#include "participant-sdk/src/transport/server.hpp"

#include <string>

namespace concordat::app {

/// One coherent set of figures, taken at publication.
struct NodeFigures {
    log::Status log;
    core::CoordinatorFigures transactions;
    http::CallerFigures calls;
    transport::ServerStatistics server;
    std::size_t queued_requests = 0;
    std::size_t queue_limit = 0;
    std::uint64_t rejected_requests = 0;
    bool serving = false;
    std::string version;
};

/// Thread-safe, no state. May throw only std::bad_alloc.
std::string render_metrics(const NodeFigures& figures);

} // namespace concordat::app
