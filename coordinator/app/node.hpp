#pragma once

// One coordinator node: wires the core loop, the decision log, the participant caller and the REST
// API, and takes them down in the right order.
//
// Start: open the log (replays what is on disk) -> listen -> run the core loop.
// Stop: not ready -> stop accepting -> hand leadership over -> finish or leave in-flight requests
// to the next leader -> join everything.
//
// Threading: construct, start and stop on the main thread. Gateway members from any thread,
// CoreObserver members on the core thread.

#include "coordinator/app/configuration.hpp"
#include "coordinator/app/core_loop.hpp"
#include "coordinator/app/event_stream.hpp"
#include "coordinator/app/metrics.hpp"
#include "coordinator/http/gateway.hpp"

#include <atomic>
#include <expected>
#include <memory>
#include <mutex>
#include <string>

namespace concordat::http {
class Api;
}
namespace concordat::transport {
class Client;
class IoThreads;
class Server;
} // namespace concordat::transport

namespace concordat::app {

class Node final : public http::Gateway, private CoreObserver {
public:
    explicit Node(Configuration configuration);
    ~Node() override;
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    /// Error: a sentence that names the file or address; nothing runs then.
    std::expected<void, std::string> start();
    /// Graceful stop within `node.drain_deadline`; false when work was cut off by the deadline.
    bool stop();
    [[nodiscard]] std::uint16_t api_port() const;

    // http::Gateway
    std::optional<core::RequestToken> submit(core::ClientRequest request,
                                             ReplyHandler handler) override;
    void forget(core::RequestToken token) override;
    [[nodiscard]] http::ClusterView cluster() const override;
    [[nodiscard]] std::string metrics() const override;
    bool transfer_leadership(std::optional<core::NodeId> to, std::string who, std::string why,
                             std::string& why_not) override;
    void drain() override;
    std::uint64_t subscribe(std::function<void(const std::string& event_json)> sink) override;
    void unsubscribe(std::uint64_t id) override;

private:
    void send(std::vector<core::ParticipantCall> calls) override;
    void publish(const log::Status& status, const core::CoordinatorFigures& figures,
                 const core::ReplicatedState& state, bool serving) override;
    void applied(core::LogIndex index, const core::Command& command) override;
    [[nodiscard]] bool wants_applied() const override;

    /// What other threads see of the core; replaced as a whole.
    struct Published {
        http::ClusterView cluster;
        log::Status log;
        core::CoordinatorFigures transactions;
        bool serving = false;
    };
    [[nodiscard]] std::shared_ptr<const Published> published() const;
    void announce_role(const log::Status& status, bool serving);

    const Configuration configuration_;
    std::atomic<bool> draining_{false};
    mutable std::mutex published_mutex_;
    std::shared_ptr<const Published> published_;
    std::string announced_role_;
    EventStream events_;

    // In the order of construction; destroyed in reverse.
    std::unique_ptr<transport::IoThreads> threads_;
    std::unique_ptr<http::ParticipantCaller> caller_;
    std::unique_ptr<CoreLoop> loop_;
    std::unique_ptr<log::DecisionLog> log_;
    std::unique_ptr<http::Api> api_;
    std::unique_ptr<transport::Server> server_;
};

} // namespace concordat::app
