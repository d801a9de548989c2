#pragma once

// The core thread: one loop that owns the transaction core and drives the decision log. Each turn
// drains everything that has arrived, steps both, appends what came out as ONE log entry, sends the
// calls, answers the clients. Everybody else talks to it through a queue.
//
// Threading: submit(), forget(), post(), results() from any thread. Client requests are bounded by
// max_queued_requests; results and log completions are bounded by what is in flight.
// Ownership: the log, the caller and the observer outlive the loop's thread; stop() joins it.

#include "coordinator/core/transaction_coordinator.hpp"
#include "coordinator/http/gateway.hpp"
#include "coordinator/log/decision_log.hpp"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <variant>
#include <vector>

namespace concordat::app {

/// What the rest of the node learns from the core thread. Called on the core thread.
class CoreObserver {
public:
    virtual ~CoreObserver() = default;
    /// Calls of one turn, to be sent.
    virtual void send(std::vector<core::ParticipantCall> calls) = 0;
    /// State for readers on other threads; at most every few milliseconds, and at once when the
    /// leadership changed.
    virtual void publish(const log::Status& status, const core::CoordinatorFigures& figures,
                         const core::ReplicatedState& state, bool serving) = 0;
    /// A committed command, after it was applied; `record` is the transaction it is about.
    virtual void applied(core::LogIndex index, const core::Command& command) = 0;
    /// Applied commands are wanted: somebody subscribed to events.
    [[nodiscard]] virtual bool wants_applied() const = 0;
};

class CoreLoop final : public log::StateMachine {
public:
    CoreLoop(core::CoordinatorOptions options, std::size_t max_queued_requests,
             CoreObserver& observer);
    ~CoreLoop() override;
    CoreLoop(const CoreLoop&) = delete;
    CoreLoop& operator=(const CoreLoop&) = delete;

    /// Runs a function on the core thread, in order. Before start() it is kept.
    void post(std::function<void()> function);
    /// Starts the core thread; the log has been opened with this loop as its state machine.
    void start(log::DecisionLog& log);
    /// Ends the loop after the current turn and joins; waiting requests are answered no_leader.
    void stop();

    std::optional<core::RequestToken> submit(core::ClientRequest request,
                                             http::Gateway::ReplyHandler handler);
    void forget(core::RequestToken token);
    void results(std::vector<core::CallResult> results);
    /// Audited hand-over of leadership, on the core thread.
    void transfer(std::optional<core::NodeId> to, core::OperatorAction audit);

    [[nodiscard]] std::size_t queued_requests() const noexcept { return queued_requests_.load(); }
    [[nodiscard]] std::uint64_t rejected_requests() const noexcept { return rejected_.load(); }

    // log::StateMachine, on the core thread (or before start() on the opening thread)
    void apply(core::LogIndex index, std::vector<core::Command>&& commands) override;
    void restore(core::SnapshotContent&& content) override;
    [[nodiscard]] core::SnapshotContent capture() override;
    void role_changed(const log::RoleChange& change) override;

private:
    struct Arrival {
        core::RequestToken token;
        core::ClientRequest request;
        http::Gateway::ReplyHandler handler;
    };
    struct Forgotten {
        core::RequestToken token;
    };
    using Item =
        std::variant<std::function<void()>, Arrival, Forgotten, std::vector<core::CallResult>>;

    void enqueue(Item item);
    [[nodiscard]] bool wait_for_work(core::Instant until);
    void run();
    [[nodiscard]] core::Instant turn();
    void take(Item& item);
    void perform();
    void publish_if_due(core::Instant now);

    core::TransactionCoordinator coordinator_;
    CoreObserver& observer_;
    const std::size_t max_queued_requests_;
    log::DecisionLog* log_ = nullptr;

    std::mutex mutex_; // guards queue_ and stopping_
    std::condition_variable wake_;
    std::vector<Item> queue_;
    bool stopping_ = false;

    std::atomic<std::size_t> queued_requests_{0};
    std::atomic<std::uint64_t> rejected_{0};
    std::atomic<std::uint64_t> next_token_{1};

    std::vector<Item> turn_items_;
    std::unordered_map<core::RequestToken, http::Gateway::ReplyHandler> handlers_;
    log::Role role_ = log::Role::follower;
    core::Instant published_at_{};
    bool publish_now_ = true;
    std::thread thread_;
};

} // namespace concordat::app
