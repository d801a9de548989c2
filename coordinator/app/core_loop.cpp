#include "coordinator/app/core_loop.hpp"

#include "coordinator/app/failpoint_kinds.hpp"
#include "coordinator/core/assert.hpp"

#include <pthread.h>

#include <algorithm>

namespace concordat::app {

namespace {

core::Instant monotonic_now() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return core::Instant{std::chrono::duration_cast<core::Duration>(now)};
}

core::WallTime wall_now() {
    return std::chrono::time_point_cast<std::chrono::milliseconds>(
        std::chrono::system_clock::now());
}

/// How often readers on other threads get a new picture while nothing important changes.
constexpr std::chrono::milliseconds publish_interval{20};

} // namespace

CoreLoop::CoreLoop(core::CoordinatorOptions options, std::size_t max_queued_requests,
                   CoreObserver& observer)
    : coordinator_(std::move(options)),
      observer_(observer),
      max_queued_requests_(max_queued_requests) {}

CoreLoop::~CoreLoop() {
    stop();
}

void CoreLoop::enqueue(Item item) {
    bool was_empty = false;
    {
        const std::lock_guard lock(mutex_);
        was_empty = queue_.empty();
        queue_.push_back(std::move(item));
    }
    // A loop that finds a non-empty queue does not sleep, so only the first item must wake it.
    if (was_empty) {
        wake_.notify_one();
    }
}

void CoreLoop::post(std::function<void()> function) {
    enqueue(std::move(function));
}

std::optional<core::RequestToken> CoreLoop::submit(core::ClientRequest request,
                                                   http::Gateway::ReplyHandler handler) {
    if (queued_requests_.fetch_add(1) >= max_queued_requests_) {
        queued_requests_.fetch_sub(1);
        rejected_.fetch_add(1);
        return std::nullopt;
    }
    const core::RequestToken token{next_token_.fetch_add(1)};
    enqueue(Arrival{token, std::move(request), std::move(handler)});
    return token;
}

void CoreLoop::forget(core::RequestToken token) {
    enqueue(Forgotten{token});
}

void CoreLoop::results(std::vector<core::CallResult> results) {
    enqueue(std::move(results));
}

void CoreLoop::transfer(std::optional<core::NodeId> to, core::OperatorAction audit) {
    post([this, to, audit = std::move(audit)] {
        const core::Command command = audit;
        // A refused append means that leadership is gone already: then there is nothing to hand
        // over.
        if (log_->append({&command, 1})) {
            log_->transfer_leadership(to);
        }
    });
}

void CoreLoop::start(log::DecisionLog& log) {
    log_ = &log;
    thread_ = std::thread([this] {
        pthread_setname_np(pthread_self(), "core");
        run();
    });
}

void CoreLoop::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_one();
    if (thread_.joinable()) {
        thread_.join();
    }
}

bool CoreLoop::wait_for_work(core::Instant until) {
    std::unique_lock lock(mutex_);
    const auto deadline = std::chrono::steady_clock::time_point{
        std::chrono::duration_cast<std::chrono::steady_clock::duration>(until.time_since_epoch())};
    wake_.wait_until(lock, deadline, [this] { return stopping_ || !queue_.empty(); });
    turn_items_.swap(queue_);
    return !stopping_;
}

void CoreLoop::run() {
    log_->start();
    core::Instant next = monotonic_now();
    while (wait_for_work(next)) {
        next = turn();
    }
    coordinator_.lost_leadership(std::nullopt);
    for (auto& [token, reply] : coordinator_.take_actions().replies) {
        const auto handler = handlers_.find(token);
        if (handler != handlers_.end()) {
            handler->second(std::move(reply));
        }
    }
    handlers_.clear();
}

core::Instant CoreLoop::turn() {
    const auto now = monotonic_now();
    coordinator_.advance(now, wall_now());
    for (auto& item : turn_items_) {
        take(item);
    }
    turn_items_.clear();
    auto next = log_->tick(now);
    perform();
    publish_if_due(now);
    const auto timer = coordinator_.next_timer();
    if (timer) {
        next = std::min(next, *timer);
    }
    return std::min(next, published_at_ + publish_interval * 5);
}

void CoreLoop::take(Item& item) {
    if (auto* function = std::get_if<std::function<void()>>(&item)) {
        (*function)();
    } else if (auto* arrival = std::get_if<Arrival>(&item)) {
        queued_requests_.fetch_sub(1);
        handlers_.emplace(arrival->token, std::move(arrival->handler));
        CONCORDAT_FAILPOINT("leader.request.*.before", kind_of(arrival->request));
        coordinator_.request(arrival->token, std::move(arrival->request));
        CONCORDAT_FAILPOINT("leader.request.*.after", kind_of(arrival->request));
    } else if (const auto* forgotten = std::get_if<Forgotten>(&item)) {
        if (handlers_.erase(forgotten->token) > 0) {
            coordinator_.forget_request(forgotten->token);
        }
    } else {
        for (auto& result : std::get<std::vector<core::CallResult>>(item)) {
            CONCORDAT_FAILPOINT("leader.result.*.before", kind_of(result));
            coordinator_.call_result(std::move(result));
            CONCORDAT_FAILPOINT("leader.result.*.after", kind_of(result));
        }
    }
}

void CoreLoop::perform() {
    auto actions = coordinator_.take_actions();
    if (!actions.append.empty()) {
        CONCORDAT_FAILPOINT("leader.append.*.before", log::kinds_of(actions.append));
        const auto appended = log_->append(actions.append);
        CONCORDAT_FAILPOINT("leader.append.*.after", log::kinds_of(actions.append));
        if (!appended) {
            coordinator_.append_failed(appended.error() == log::AppendError::not_leader);
            // What follows from the refusal (rejections) joins this turn; commands wait for a later
            // one.
            auto rest = coordinator_.take_actions();
            CONCORDAT_ASSERT(rest.append.empty());
            std::ranges::move(rest.replies, std::back_inserter(actions.replies));
            std::ranges::move(rest.calls, std::back_inserter(actions.calls));
        }
    }
    if (!actions.calls.empty()) {
        observer_.send(std::move(actions.calls));
    }
    for (auto& [token, reply] : actions.replies) {
        const auto handler = handlers_.find(token);
        if (handler != handlers_.end()) {
            const auto answer = std::move(handler->second);
            handlers_.erase(handler);
            CONCORDAT_FAILPOINT("leader.reply.*.before", kind_of(reply));
            answer(std::move(reply));
            CONCORDAT_FAILPOINT("leader.reply.*.after", kind_of(reply));
        }
    }
}

void CoreLoop::publish_if_due(core::Instant now) {
    if (publish_now_ || now - published_at_ >= publish_interval) {
        publish_now_ = false;
        published_at_ = now;
        observer_.publish(log_->status(), coordinator_.figures(), coordinator_.state(),
                          coordinator_.is_serving());
    }
}

void CoreLoop::apply(core::LogIndex index, std::vector<core::Command>&& commands) {
    const bool was_serving = coordinator_.is_serving();
    if (observer_.wants_applied()) {
        const std::vector<core::Command> copy = commands;
        coordinator_.apply(index, std::move(commands));
        for (const auto& command : copy) {
            observer_.applied(index, command);
        }
    } else {
        coordinator_.apply(index, std::move(commands));
    }
    publish_now_ = publish_now_ || was_serving != coordinator_.is_serving();
}

void CoreLoop::restore(core::SnapshotContent&& content) {
    coordinator_.restore(std::move(content));
    publish_now_ = true;
}

core::SnapshotContent CoreLoop::capture() {
    return coordinator_.state().capture();
}

void CoreLoop::role_changed(const log::RoleChange& change) {
    if (change.role == log::Role::leader && role_ != log::Role::leader) {
        coordinator_.became_leader();
    } else if (change.role != log::Role::leader && role_ == log::Role::leader) {
        coordinator_.lost_leadership(change.leader);
    }
    role_ = change.role;
    publish_now_ = true;
}

} // namespace concordat::app
