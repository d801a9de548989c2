#pragma once

// Sends a request on to the leader and its answer back.
//
// Why one hop: two nodes that each believe the other leads would send a request in circles. A
// forwarded request carries Concordat-Forwarded and is never forwarded again.
//
// Threading: any thread; the callback runs on an io thread. Errors: when the connection broke
// after bytes were sent, a request that changes something has an unknown outcome (504); everything
// else had no effect and may be repeated (503).

#include "coordinator/http/gateway.hpp"
#include "participant-sdk/src/transport/client.hpp"

#include <chrono>
#include <functional>
#include <string>

namespace concordat::http {

inline constexpr const char* forwarded_header = "Concordat-Forwarded";

class Forwarder {
public:
    Forwarder(transport::IoThreads& threads, std::size_t max_waiting, std::size_t max_answer_bytes);

    using Callback = std::move_only_function<void(transport::Response)>;
    /// `request` is left as it is; `xid` goes into a problem document.
    void send(const transport::Request& request, const std::string& leader_url, core::NodeId self,
              const std::string& xid, std::chrono::milliseconds timeout, Callback callback);
    void stop();

private:
    transport::Client client_;
};

} // namespace concordat::http
