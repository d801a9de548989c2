#pragma once

// Sends the core's participant calls over HTTP and turns every answer into a CallResult. Knows the
// participant contract (openapi.yaml, webhooks), knows nothing of transactions. Never retries: the
// core does, with its own back-off.
//
// Calls handed over together for the same participant travel as one POST /v1/branches:batch when
// there is more than one of them and the participant announced support (header
// `Concordat-Batch: 1` on any earlier answer).

#include "coordinator/core/transaction_coordinator.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace concordat::transport {
class IoThreads;
}

namespace concordat::http {

struct CallerOptions {
    std::size_t max_answer_bytes = 64UL << 10; ///< batches get room for a reason each on top
    std::size_t max_batch = 64;
    /// Payload in one batch; participants refuse bodies above 256 KiB.
    std::size_t max_batch_payload_bytes = 128UL << 10;
    std::chrono::milliseconds connect_timeout{1000};
    /// Breaker: after this many consecutive unknown results of one participant, calls to it fail at
    /// once (Unknown) for `breaker_open`, except one probe at a time.
    std::uint32_t breaker_failures = 8;
    std::chrono::milliseconds breaker_open{500};
    std::size_t max_queued_per_participant = 10'000;
    std::size_t max_connections_per_participant = 256;
    /// Allowed networks in CIDR notation; empty = all.
    std::vector<std::string> allowed_networks;
    /// API URLs of the coordinator nodes, told with every PREPARE: where participants inquire.
    std::vector<std::string> coordinators;
};

struct CallerFigures {
    std::uint64_t requests = 0;
    std::uint64_t batched_operations = 0;
    std::uint64_t unknown_results = 0;
    std::uint64_t breaker_rejections = 0;
};

/// Threading: call() from the core thread; results arrive on io threads.
class ParticipantCaller {
public:
    using ResultSink = std::function<void(std::vector<core::CallResult>)>;
    ParticipantCaller(transport::IoThreads& threads, CallerOptions options, ResultSink sink);
    ~ParticipantCaller();
    ParticipantCaller(const ParticipantCaller&) = delete;
    ParticipantCaller& operator=(const ParticipantCaller&) = delete;

    /// All calls of one turn. Every call leads to exactly one result, unless stop() came first.
    void call(std::vector<core::ParticipantCall> calls);
    [[nodiscard]] CallerFigures figures() const;
    /// Cancels what is in flight; no result arrives after it returned.
    void stop();

private:
    class Impl;
    std::shared_ptr<Impl> impl_;
};

} // namespace concordat::http
