#include "coordinator/http/participant_caller.hpp"

#include "coordinator/http/allowed_networks.hpp"
#include "coordinator/http/call_answers.hpp"
#include "coordinator/http/call_requests.hpp"
#include "coordinator/http/circuit_breaker.hpp"
#include "participant-sdk/src/failpoint/operation_kinds.hpp"
#include "participant-sdk/src/transport/client.hpp"
#include "participant-sdk/src/transport/uri.hpp"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <span>
#include <utility>

namespace concordat::http {
namespace {

/// Base URLs that are remembered; a participant that moves leaves its old one behind.
constexpr std::size_t max_known_targets = 4096;
constexpr const char* batch_path = "/v1/branches:batch";
constexpr const char* batch_header = "Concordat-Batch";

transport::ClientOptions client_options(const CallerOptions& options) {
    transport::ClientOptions out;
    out.max_connections_per_origin = options.max_connections_per_participant;
    out.max_queued_per_origin = options.max_queued_per_participant;
    out.connect_timeout = options.connect_timeout;
    // A batch may carry a reason of full length in every answer.
    out.response_body_limit_bytes =
        options.max_answer_bytes + options.max_batch * (wire::max_reason_bytes + 256);
    // Networks that cannot be read allow nothing: the configuration check has told about them.
    auto networks =
        AllowedNetworks::parse(options.allowed_networks).value_or(AllowedNetworks::none());
    if (!options.allowed_networks.empty()) {
        out.allow_address = [allowed = std::move(networks)](const std::string& ip) {
            return allowed.allows(ip);
        };
    }
    return out;
}

/// The participant has not seen the call. Only a one-phase commit must be told from an unknown
/// effect: as long as nothing was sent its transaction can still be aborted. Elsewhere the detail
/// is worth more to people.
CallAnswer not_sent(core::Operation operation, const std::string& detail) {
    if (operation == core::Operation::commit_one_phase) {
        return core::CallResult::Later{};
    }
    return core::CallResult::Unknown{detail};
}

std::chrono::milliseconds longest_timeout(const std::vector<core::ParticipantCall>& calls) {
    core::Duration longest{std::chrono::milliseconds{1}};
    for (const core::ParticipantCall& call : calls) {
        longest = std::max(longest, call.timeout);
    }
    return std::chrono::ceil<std::chrono::milliseconds>(longest);
}

} // namespace

class ParticipantCaller::Impl : public std::enable_shared_from_this<Impl> {
public:
    Impl(transport::IoThreads& threads, CallerOptions options, ResultSink sink)
        : threads_(threads),
          options_(std::move(options)),
          sink_(std::move(sink)),
          client_(threads, client_options(options_)) {}

    void call(std::vector<core::ParticipantCall> calls);
    void stop();
    [[nodiscard]] CallerFigures figures() const;

private:
    /// What is known about one base URL.
    struct Target {
        Target(const CallerOptions& options, transport::BaseUrl base)
            : url(std::move(base)), breaker(options.breaker_failures, options.breaker_open) {}
        const transport::BaseUrl url;
        CircuitBreaker breaker;
        std::atomic<bool> takes_batches{false};
    };
    using TargetPtr = std::shared_ptr<Target>;
    using Calls = std::vector<core::ParticipantCall>;
    using Operations = std::vector<core::Operation>;

    TargetPtr target_of(const std::string& base_url);
    void send_group(Calls calls);
    [[nodiscard]] std::size_t batch_size(std::span<const core::ParticipantCall> calls) const;
    void send_one(const TargetPtr& target, core::ParticipantCall call);
    void send_batch(const TargetPtr& target, Calls calls);
    void send(const TargetPtr& target, transport::OutboundRequest request,
              std::vector<core::CallKey> keys, bool batch);
    void finish(const TargetPtr& target, std::vector<core::CallKey> keys, bool batch,
                transport::Client::Result result);
    static void note_batch_support(Target& target, const transport::Response& response, bool batch);
    void fail(const Calls& calls, const std::string& detail);
    void deliver(std::vector<core::CallResult> results);

    transport::IoThreads& threads_;
    const CallerOptions options_;
    const ResultSink sink_;
    std::mutex mutex_;
    std::map<std::string, TargetPtr> targets_;
    // Delivering and stopping exclude each other, so that no result comes after stop().
    std::mutex delivery_mutex_;
    bool stopped_ = false;
    std::atomic<std::uint64_t> requests_{0};
    std::atomic<std::uint64_t> batched_operations_{0};
    std::atomic<std::uint64_t> unknown_results_{0};
    std::atomic<std::uint64_t> breaker_rejections_{0};
    transport::Client client_;
};

void ParticipantCaller::Impl::call(Calls calls) {
    std::map<std::string, Calls> groups;
    for (core::ParticipantCall& call : calls) {
        groups[call.target.base_url].push_back(std::move(call));
    }
    // Encoding happens on the io threads: the core thread only hands over.
    for (auto& [base_url, group] : groups) {
        threads_.post([weak = weak_from_this(), waiting = std::move(group)]() mutable {
            if (const auto self = weak.lock()) {
                self->send_group(std::move(waiting));
            }
        });
    }
}

ParticipantCaller::Impl::TargetPtr ParticipantCaller::Impl::target_of(const std::string& base_url) {
    const std::lock_guard lock(mutex_);
    if (const auto found = targets_.find(base_url); found != targets_.end()) {
        return found->second;
    }
    auto url = transport::parse_base_url(base_url);
    if (!url) {
        return nullptr;
    }
    if (targets_.size() >= max_known_targets) {
        std::erase_if(targets_, [](const auto& known) { return known.second.use_count() == 1; });
    }
    auto target = std::make_shared<Target>(options_, std::move(*url));
    targets_.emplace(base_url, target);
    return target;
}

void ParticipantCaller::Impl::send_group(Calls calls) {
    const TargetPtr target = target_of(calls.front().target.base_url);
    if (!target) {
        fail(calls, "the participant's base_url cannot be used");
        return;
    }
    std::size_t sent = 0;
    while (sent < calls.size()) {
        const std::size_t count = target->takes_batches.load(std::memory_order_relaxed)
                                      ? batch_size(std::span(calls).subspan(sent))
                                      : 1;
        const auto begin = calls.begin() + static_cast<std::ptrdiff_t>(sent);
        Calls part(std::make_move_iterator(begin),
                   std::make_move_iterator(begin + static_cast<std::ptrdiff_t>(count)));
        sent += count;
        if (!target->breaker.allow(CircuitBreaker::Clock::now())) {
            breaker_rejections_.fetch_add(part.size(), std::memory_order_relaxed);
            fail(part, "held back: the participant has stopped answering");
        } else if (part.size() == 1) {
            send_one(target, std::move(part.front()));
        } else {
            send_batch(target, std::move(part));
        }
    }
}

std::size_t
ParticipantCaller::Impl::batch_size(std::span<const core::ParticipantCall> calls) const {
    const std::size_t most = std::min({options_.max_batch, wire::max_batch, calls.size()});
    std::size_t count = 0;
    std::size_t payload_bytes = 0;
    while (count < most) {
        payload_bytes += calls[count].payload ? calls[count].payload->size() : 0;
        if (payload_bytes > options_.max_batch_payload_bytes) {
            break;
        }
        ++count;
    }
    return std::max<std::size_t>(count, 1);
}

void ParticipantCaller::Impl::send_one(const TargetPtr& target, core::ParticipantCall call) {
    const wire::BranchRequest body = branch_request(call, options_.coordinators);
    transport::OutboundRequest request;
    request.target = target->url.base_path + wire::target_of(body);
    request.body = wire::encode(body);
    request.timeout = std::chrono::ceil<std::chrono::milliseconds>(call.timeout);
    if (!call.traceparent.empty()) {
        request.headers.add("traceparent", call.traceparent);
    }
    std::vector<core::CallKey> keys;
    keys.push_back(std::move(call.key));
    CONCORDAT_FAILPOINT("leader.send.*.before", failpoint::kind_of(body.operation));
    send(target, std::move(request), std::move(keys), false);
    CONCORDAT_FAILPOINT("leader.send.*.after", failpoint::kind_of(body.operation));
}

void ParticipantCaller::Impl::send_batch(const TargetPtr& target, Calls calls) {
    batched_operations_.fetch_add(calls.size(), std::memory_order_relaxed);
    std::vector<wire::BranchRequest> bodies;
    bodies.reserve(calls.size());
    std::vector<core::CallKey> keys;
    keys.reserve(calls.size());
    for (const core::ParticipantCall& call : calls) {
        bodies.push_back(branch_request(call, options_.coordinators));
    }
    transport::OutboundRequest request;
    request.target = target->url.base_path + batch_path;
    request.body = wire::encode_batch(bodies);
    request.timeout = longest_timeout(calls);
    for (core::ParticipantCall& call : calls) {
        keys.push_back(std::move(call.key));
    }
    CONCORDAT_FAILPOINT("leader.send.*.before", failpoint::kinds_of(bodies));
    send(target, std::move(request), std::move(keys), true);
    CONCORDAT_FAILPOINT("leader.send.*.after", failpoint::kinds_of(bodies));
}

void ParticipantCaller::Impl::send(const TargetPtr& target, transport::OutboundRequest request,
                                   std::vector<core::CallKey> keys, bool batch) {
    requests_.fetch_add(1, std::memory_order_relaxed);
    // Resent after its first copy took effect, it could be answered "later", as if nothing were
    // done.
    request.idempotent = std::none_of(keys.begin(), keys.end(), [](const core::CallKey& key) {
        return key.operation == core::Operation::commit_one_phase;
    });
    client_.send(target->url.origin, std::move(request),
                 [weak = weak_from_this(), target, keys = std::move(keys),
                  batch](transport::Client::Result result) mutable {
                     if (const auto self = weak.lock()) {
                         self->finish(target, std::move(keys), batch, std::move(result));
                     }
                 });
}

void ParticipantCaller::Impl::finish(const TargetPtr& target, std::vector<core::CallKey> keys,
                                     bool batch, transport::Client::Result result) {
    std::vector<core::CallResult> results;
    results.reserve(keys.size());
    if (!result) {
        for (core::CallKey& key : keys) {
            CallAnswer answer = result.error().effect == transport::TransportError::Effect::none
                                    ? not_sent(key.operation, result.error().detail)
                                    : CallAnswer{core::CallResult::Unknown{result.error().detail}};
            results.push_back({std::move(key), std::move(answer)});
        }
    } else if (batch) {
        Operations operations;
        for (const core::CallKey& key : keys) {
            operations.push_back(key.operation);
        }
        auto answers = answers_from_batch(operations, *result);
        for (std::size_t i = 0; i < keys.size(); ++i) {
            results.push_back({std::move(keys[i]), std::move(answers[i])});
        }
    } else {
        CallAnswer answer = answer_from(keys.front().operation, *result);
        results.push_back({std::move(keys.front()), std::move(answer)});
    }
    if (result) {
        note_batch_support(*target, *result, batch);
    }
    const auto is_unknown = [](const core::CallResult& one) {
        return std::holds_alternative<core::CallResult::Unknown>(one.answer);
    };
    const auto unknown = std::count_if(results.begin(), results.end(), is_unknown);
    unknown_results_.fetch_add(static_cast<std::uint64_t>(unknown), std::memory_order_relaxed);
    if (!result || static_cast<std::size_t>(unknown) == results.size()) {
        target->breaker.failed(CircuitBreaker::Clock::now());
    } else {
        target->breaker.succeeded();
    }
    deliver(std::move(results));
}

void ParticipantCaller::Impl::note_batch_support(Target& target,
                                                 const transport::Response& response, bool batch) {
    if (response.headers.find(batch_header) == "1" && response.status < 400) {
        target.takes_batches.store(true, std::memory_order_relaxed);
    } else if (batch && response.status >= 400 && response.status < 500) {
        // Replaced by a version without batches, or the batch was too large for it.
        target.takes_batches.store(false, std::memory_order_relaxed);
    }
}

void ParticipantCaller::Impl::fail(const Calls& calls, const std::string& detail) {
    std::vector<core::CallResult> results;
    results.reserve(calls.size());
    for (const core::ParticipantCall& call : calls) {
        results.push_back({call.key, not_sent(call.key.operation, detail)});
    }
    deliver(std::move(results));
}

void ParticipantCaller::Impl::deliver(std::vector<core::CallResult> results) {
    const std::lock_guard lock(delivery_mutex_);
    if (!stopped_) {
        sink_(std::move(results));
    }
}

void ParticipantCaller::Impl::stop() {
    {
        const std::lock_guard lock(delivery_mutex_);
        stopped_ = true;
    }
    client_.stop();
}

CallerFigures ParticipantCaller::Impl::figures() const {
    CallerFigures out;
    out.requests = requests_.load(std::memory_order_relaxed);
    out.batched_operations = batched_operations_.load(std::memory_order_relaxed);
    out.unknown_results = unknown_results_.load(std::memory_order_relaxed);
    out.breaker_rejections = breaker_rejections_.load(std::memory_order_relaxed);
    return out;
}

ParticipantCaller::ParticipantCaller(transport::IoThreads& threads, CallerOptions options,
                                     ResultSink sink)
    : impl_(std::make_shared<Impl>(threads, std::move(options), std::move(sink))) {}

ParticipantCaller::~ParticipantCaller() {
    impl_->stop();
}

void ParticipantCaller::call(std::vector<core::ParticipantCall> calls) {
    impl_->call(std::move(calls));
}

CallerFigures ParticipantCaller::figures() const {
    return impl_->figures();
}

void ParticipantCaller::stop() {
    impl_->stop();
}

} // namespace concordat::http
