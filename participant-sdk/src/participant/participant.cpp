#include "participant-sdk/src/failpoint/operation_kinds.hpp"
#include "participant-sdk/src/participant/batch.hpp"
#include "participant-sdk/src/participant/branch_routes.hpp"
#include "participant-sdk/src/participant/counters.hpp"
#include "participant-sdk/src/participant/delivery.hpp"
#include "participant-sdk/src/participant/outbound.hpp"
#include "participant-sdk/src/participant/recovery.hpp"
#include "participant-sdk/src/participant/worker_pool.hpp"
#include "participant-sdk/src/wire/json_text.hpp"
#include "participant-sdk/src/wire/participant_contract.hpp"

#include <concordat/participant.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <latch>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <utility>

namespace concordat {

namespace {

using participant::BranchRoute;

std::string_view path_of(std::string_view target) {
    return target.substr(0, target.find('?'));
}

std::string_view header_of(const HttpRequest& request, std::string_view wanted) {
    const auto same = [wanted](const auto& header) {
        return std::equal(header.first.begin(), header.first.end(), wanted.begin(), wanted.end(),
                          [](char a, char b) {
                              const auto lower = [](char c) {
                                  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
                              };
                              return lower(a) == lower(b);
                          });
    };
    const auto found = std::find_if(request.headers.begin(), request.headers.end(), same);
    return found == request.headers.end() ? std::string_view{} : std::string_view(found->second);
}

HttpResponse response_of(int status, std::string body) {
    HttpResponse response;
    response.status = status;
    response.headers.emplace_back(wire::batch_header, "1");
    response.body = std::move(body);
    return response;
}

HttpResponse response_of(const wire::BranchAnswer& answer) {
    HttpResponse response = response_of(answer.status, wire::encode(answer));
    if (answer.retry_after) {
        const auto seconds = std::chrono::ceil<std::chrono::seconds>(*answer.retry_after);
        response.headers.emplace_back("Retry-After", std::to_string(seconds.count()));
    }
    return response;
}

HttpResponse problem_response(int status, std::string_view code, std::string_view detail) {
    std::string body = "{\"title\":";
    wire::append_json_string(body, code);
    body += ",\"status\":" + std::to_string(status) + ",\"code\":";
    wire::append_json_string(body, code);
    body += ",\"effect\":\"none\",\"retryable\":false,\"detail\":";
    wire::append_json_string(body, detail);
    body += '}';
    HttpResponse response = response_of(status, std::move(body));
    response.headers.emplace_back("Content-Type", "application/problem+json");
    return response;
}

HttpResponse invalid_request(const wire::WireError& error) {
    return problem_response(400, "invalid-request",
                            (error.pointer.empty() ? "the body" : error.pointer) + " " +
                                error.detail);
}

} // namespace

std::string_view name_of(Alarm::Kind kind) noexcept {
    switch (kind) {
    case Alarm::Kind::prepared_branch_lost:
        return "prepared_branch_lost";
    case Alarm::Kind::heuristic_outcome:
        return "heuristic_outcome";
    case Alarm::Kind::in_doubt_too_long:
        return "in_doubt_too_long";
    case Alarm::Kind::store_problem:
        return "store_problem";
    }
    return "store_problem";
}

// Its tasks refer to it; stop() joins the workers before it goes.
class Participant::Impl {
public:
    Impl(std::shared_ptr<Resource> resource, ParticipantOptions options)
        : resource_(std::move(resource)),
          options_(std::move(options)),
          delivery_(*resource_, counters_, [this](const Alarm& alarm) { raise(alarm); }),
          outbound_(participant::make_http_outbound()),
          recovery_(*resource_, delivery_, *outbound_, counters_, options_.recovery,
                    [this](const Alarm& alarm) { raise(alarm); }),
          preparers_("prepare", std::max<std::size_t>(1, options_.workers), options_.max_queued),
          finishers_("finish", options_.workers / 2 + 1, options_.max_queued),
          patience_(options_.batch_patience) {}

    using Answer = std::function<void(HttpResponse)>;

    void handle_async(HttpRequest request, Answer answer) {
        const auto route = participant::branch_route(path_of(request.target));
        if (!route) {
            answer(problem_response(404, "route-not-found", "no such resource"));
            return;
        }
        if (request.method != route->method) {
            HttpResponse response =
                problem_response(405, "method-not-allowed", "the resource has no such method");
            response.headers.emplace_back("Allow", route->method);
            answer(std::move(response));
            return;
        }
        switch (route->kind) {
        case BranchRoute::Kind::operation:
            run_operation(*route, request, std::move(answer));
            return;
        case BranchRoute::Kind::batch:
            run_batch(request, std::move(answer));
            return;
        case BranchRoute::Kind::promise:
        case BranchRoute::Kind::accept:
            run_ballot(*route, request, std::move(answer));
            return;
        case BranchRoute::Kind::status:
            submit(finishers_, answer,
                   [this, answer, key = *route->key,
                    capability = std::string(header_of(request, wire::capability_header))] {
                       const auto status = delivery_.status(key, capability);
                       answer(status ? response_of(200, wire::encode(*status))
                                     : response_of(status.error()));
                   });
            return;
        }
    }

    void start_recovery() {
        const std::lock_guard lock(mutex_);
        if (recovery_thread_.joinable() || stopped_) {
            return;
        }
        recovery_thread_ = std::jthread([this](const std::stop_token& stop) { recover(stop); });
    }

    std::size_t recover_now() {
        const std::lock_guard lock(looking_);
        return recovery_.look();
    }

    void stop() {
        {
            const std::lock_guard lock(mutex_);
            stopped_ = true;
        }
        recovery_thread_.request_stop();
        wake_.notify_all();
        if (recovery_thread_.joinable()) {
            recovery_thread_.join();
        }
        preparers_.stop();
        finishers_.stop();
        patience_.stop();
    }

    [[nodiscard]] ParticipantFigures figures() const {
        ParticipantFigures figures;
        figures.votes_yes = counters_.votes_yes;
        figures.votes_no = counters_.votes_no;
        figures.votes_read_only = counters_.votes_read_only;
        figures.committed = counters_.committed;
        figures.aborted = counters_.aborted;
        figures.refused = counters_.refused;
        figures.later = counters_.later;
        figures.unknown = counters_.unknown;
        figures.overloaded = counters_.overloaded;
        figures.alarms = counters_.alarms;
        figures.inquiries = counters_.inquiries;
        figures.ballots_started = counters_.ballots_started;
        figures.recovered_by_coordinator = counters_.recovered_by_coordinator;
        figures.recovered_by_peers = counters_.recovered_by_peers;
        figures.recovered_by_ballot = counters_.recovered_by_ballot;
        figures.in_doubt = counters_.in_doubt;
        figures.oldest_in_doubt = std::chrono::milliseconds(counters_.oldest_in_doubt_ms);
        figures.queued = preparers_.queued() + finishers_.queued();
        return figures;
    }

    [[nodiscard]] std::string problem() { return resource_->problem(); }

private:
    [[nodiscard]] wire::BranchAnswer overloaded() {
        ++counters_.overloaded;
        wire::BranchAnswer answer;
        answer.status = 503;
        answer.reason = "all workers are busy";
        answer.retry_after = options_.retry_after;
        return answer;
    }

    template <class Task>
    void submit(participant::WorkerPool& pool, const Answer& answer, Task task) {
        if (!pool.submit(std::move(task))) {
            answer(response_of(overloaded()));
        }
    }

    void run_operation(const BranchRoute& route, const HttpRequest& request, Answer answer) {
        auto order = wire::decode_request(route.key->xid.value(), route.key->branch, request.body);
        if (order && order->operation != route.operation) {
            order = std::unexpected(wire::WireError{"/operation", "differs from the path"});
        }
        if (!order) {
            answer(invalid_request(order.error()));
            return;
        }
        submit(pool_for(order->operation), answer,
               [this, answer, order = std::move(*order)]() mutable {
                   auto done = delivery_.run(std::move(order));
                   CONCORDAT_FAILPOINT("participant.*.answer.before",
                                       failpoint::kind_of(order.operation));
                   answer(response_of(done));
                   CONCORDAT_FAILPOINT("participant.*.answer.after",
                                       failpoint::kind_of(order.operation));
               });
    }

    void run_ballot(const BranchRoute& route, const HttpRequest& request, Answer answer) {
        auto ballot =
            wire::decode_ballot_request(route.key->xid.value(), route.key->branch, request.body);
        if (ballot && ballot->value.has_value() != (route.kind == BranchRoute::Kind::accept)) {
            ballot =
                std::unexpected(wire::WireError{"/value", "belongs to accept, and only there"});
        }
        if (!ballot) {
            answer(invalid_request(ballot.error()));
            return;
        }
        submit(finishers_, answer, [this, answer, ballot = std::move(*ballot)] {
            const wire::BallotAnswer result = delivery_.run(ballot);
            CONCORDAT_FAILPOINT("participant.*.answer.before", ballot.value ? "accept" : "promise");
            answer(response_of(result.status, wire::encode(result)));
            CONCORDAT_FAILPOINT("participant.*.answer.after", ballot.value ? "accept" : "promise");
        });
    }

    void run_batch(const HttpRequest& request, Answer answer) {
        auto orders = wire::decode_request_batch(request.body);
        if (!orders) {
            answer(invalid_request(orders.error()));
            return;
        }
        std::vector<wire::BranchAnswer> placeholders;
        for (const wire::BranchRequest& order : *orders) {
            placeholders.push_back(still_running(order.operation));
        }
        const auto batch = std::make_shared<participant::PendingBatch>(
            std::move(placeholders), not_begun(), [answer = std::move(answer)](std::string body) {
                answer(response_of(200, std::move(body)));
            });
        for (std::size_t index = 0; index < orders->size(); ++index) {
            participant::WorkerPool& pool = pool_for((*orders)[index].operation);
            const bool queued =
                pool.submit([this, batch, index, order = std::move((*orders)[index])]() mutable {
                    if (!batch->begin(index)) {
                        return;
                    }
                    auto done = delivery_.run(std::move(order));
                    CONCORDAT_FAILPOINT("participant.*.answer.before",
                                        failpoint::kind_of(order.operation));
                    batch->set(index, std::move(done));
                });
            if (!queued) {
                batch->set(index, overloaded());
            }
        }
        patience_.watch(batch);
    }

    [[nodiscard]] wire::BranchAnswer not_begun() const {
        wire::BranchAnswer answer;
        answer.status = 503;
        answer.reason = "no worker was free in time";
        answer.retry_after = options_.retry_after;
        return answer;
    }

    // A prepare that is not voted on yet may be said to come later. A commit in one phase may take
    // effect any moment, so the only honest answer is that its effect is unknown.
    [[nodiscard]] wire::BranchAnswer still_running(wire::Operation operation) const {
        wire::BranchAnswer answer;
        answer.status = operation == wire::Operation::prepare ? 503 : 500;
        answer.reason = "still running";
        answer.retry_after = options_.retry_after;
        return answer;
    }

    [[nodiscard]] participant::WorkerPool& pool_for(wire::Operation operation) noexcept {
        return operation == wire::Operation::prepare ||
                       operation == wire::Operation::commit_one_phase
                   ? preparers_
                   : finishers_;
    }

    /// True when the next look should follow at once.
    bool look_on() {
        const std::lock_guard lock(looking_);
        (void)recovery_.look();
        return recovery_.has_more();
    }

    void recover(const std::stop_token& stop) {
        // Forgetting is cheap and never urgent.
        static constexpr std::uint64_t looks_between_forgetting = 60;
        // Participants that outbid each other's ballots in step would go on doing so.
        std::minstd_rand random{std::random_device{}()};
        const std::int64_t longest = std::max<std::int64_t>(1, options_.recovery.interval.count());
        std::uniform_int_distribution<std::int64_t> pause_ms(longest - longest / 2, longest);
        for (std::uint64_t look = 1; !stop.stop_requested(); ++look) {
            const bool there_is_more = look_on();
            if (look % looks_between_forgetting == 0) {
                (void)resource_->forget_finished();
            }
            if (there_is_more) {
                continue;
            }
            std::unique_lock lock(mutex_);
            wake_.wait_for(lock, std::chrono::milliseconds(pause_ms(random)),
                           [this] { return stopped_; });
        }
    }

    void raise(const Alarm& alarm) {
        ++counters_.alarms;
        if (!options_.on_alarm) {
            return;
        }
        try {
            options_.on_alarm(alarm);
        } catch (
            ...) { // NOLINT(bugprone-empty-catch): the service's own, and nothing depends on it
        }
    }

    const std::shared_ptr<Resource> resource_;
    const ParticipantOptions options_;
    participant::Counters counters_;
    participant::Delivery delivery_;
    const std::unique_ptr<participant::Outbound> outbound_;
    participant::Recovery recovery_;
    std::mutex looking_;
    std::mutex mutex_;
    std::condition_variable wake_;
    bool stopped_ = false;
    participant::WorkerPool preparers_;
    participant::WorkerPool finishers_;
    participant::BatchPatience patience_;
    std::jthread recovery_thread_;
};

Participant::Participant(std::shared_ptr<Resource> resource, ParticipantOptions options)
    : impl_(std::make_unique<Impl>(std::move(resource), std::move(options))) {}

Participant::~Participant() {
    stop();
}

bool Participant::serves(std::string_view target) noexcept {
    static constexpr std::string_view root = "/v1/branches";
    return target.starts_with(root) && (target.size() == root.size() ||
                                        target[root.size()] == '/' || target[root.size()] == ':');
}

HttpResponse Participant::handle(const HttpRequest& request) {
    HttpResponse result;
    std::latch answered(1);
    impl_->handle_async(request, [&](HttpResponse response) {
        result = std::move(response);
        answered.count_down();
    });
    answered.wait();
    return result;
}

void Participant::handle_async(HttpRequest request, std::function<void(HttpResponse)> answer) {
    impl_->handle_async(std::move(request), std::move(answer));
}

void Participant::start_recovery() {
    impl_->start_recovery();
}
std::size_t Participant::recover_now() {
    return impl_->recover_now();
}
void Participant::stop() {
    impl_->stop();
}
ParticipantFigures Participant::figures() const {
    return impl_->figures();
}
std::string Participant::problem() {
    return impl_->problem();
}

} // namespace concordat
