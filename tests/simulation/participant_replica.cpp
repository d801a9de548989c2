#include "tests/simulation/participant_replica.hpp"

#include "coordinator/http/call_answers.hpp"
#include "coordinator/http/call_requests.hpp"
#include "participant-sdk/src/participant/branch_routes.hpp"
#include "participant-sdk/src/postgres/prepared_branches.hpp"
#include "participant-sdk/src/wire/participant_contract.hpp"
#include "tests/simulation/participant_bugs.hpp"

#include <charconv>
#include <utility>

namespace concordat::simulation {
namespace {

using core::CallResult;

constexpr std::size_t most_requests = 12; ///< at once; beyond, all workers are busy
constexpr std::size_t accounts = 5;
constexpr std::uint64_t looks_between_forgetting = 8;

RecoveryOptions recovery_options(const ReplicaHost& host) {
    RecoveryOptions options;
    options.interval = std::chrono::milliseconds{600};
    options.grace = std::chrono::milliseconds{500};
    options.call_timeout = std::chrono::milliseconds{400};
    options.coordinators = host.coordinators();
    return options;
}

PostgresOptions database_options(Timeline& timeline) {
    PostgresOptions options;
    options.max_connections = 100; // never waited for: that would block the only thread
    options.isolation = static_cast<Isolation>(timeline.pick(3));
    return options;
}

wire::BranchAnswer put_off(std::string reason) {
    wire::BranchAnswer answer;
    answer.status = 503;
    answer.reason = std::move(reason);
    answer.retry_after = std::chrono::milliseconds{20};
    return answer;
}

wire::BranchAnswer malformed(const wire::WireError& error) {
    wire::BranchAnswer answer;
    answer.status = 400;
    answer.reason = error.pointer + " " + error.detail;
    return answer;
}

} // namespace

// Calls go out side by side; the fiber waits for all answers or the time-out.
class Replica::FiberOutbound final : public participant::Outbound {
public:
    FiberOutbound(ReplicaHost& host, std::shared_ptr<ClientProcess> process)
        : host_(host), process_(std::move(process)) {}

    std::vector<std::optional<participant::OutboundReply>>
    exchange(const std::vector<participant::OutboundCall>& calls,
             std::chrono::milliseconds timeout) override {
        struct Exchange {
            std::vector<std::optional<participant::OutboundReply>> replies;
            std::size_t open = 0;
            Fibers::Ticket ticket;
        };
        auto exchange = std::make_shared<Exchange>();
        exchange->replies.resize(calls.size());
        exchange->open = calls.size();
        Fibers& fibers = host_.fibers();
        if (calls.empty() || process_->is_dead || fibers.is_draining()) {
            return exchange->replies;
        }
        exchange->ticket = fibers.ticket();
        for (std::size_t index = 0; index < calls.size(); ++index) {
            host_.ask(calls[index], [exchange, index, &fibers](participant::OutboundReply reply) {
                auto& own = exchange->replies[index];
                if (!own) {
                    own = std::move(reply);
                    if (--exchange->open == 0) {
                        fibers.wake(exchange->ticket);
                    }
                }
            });
        }
        static_cast<void>(fibers.wait(static_cast<Milliseconds>(timeout.count())));
        return exchange->replies; // a copy: late answers may still come
    }

private:
    ReplicaHost& host_;
    const std::shared_ptr<ClientProcess> process_;
};

Replica::Replica(ReplicaHost& host)
    : host_(host),
      resource_(
          misbehaving(postgres::prepared_branches(
                          database_options(host.timeline()),
                          modelled_sessions(host.database(), host.fibers(), host.timeline(),
                                            host.observer(), process_),
                          [this](postgres::Connection& session, const BranchKey&,
                                 std::string_view payload) { return work(session, payload); }),
                      host.bug(), host.timeline(), host.database())),
      outbound_(std::make_unique<FiberOutbound>(host, process_)),
      delivery_(*resource_, counters_, [this](const Alarm& alarm) { host_.alarm(alarm); }),
      recovery_(*resource_, delivery_, *outbound_, counters_, recovery_options(host),
                [this](const Alarm& alarm) { host_.alarm(alarm); }) {}

bool Replica::is_over() const {
    return process_->is_dead || host_.fibers().is_draining();
}

void Replica::stand_still() {
    while (host_.timeline().now() < process_->paused_until && !is_over()) {
        host_.fibers().sleep(process_->paused_until - host_.timeline().now());
    }
}

void Replica::pause(Milliseconds duration) {
    process_->paused_until = host_.timeline().now() + duration;
}

void Replica::crash() {
    process_->is_dead = true;
    host_.database().hang_up(*process_);
    for (const auto& [number, reset] : std::exchange(open_, {})) {
        reset();
    }
}

void Replica::run(std::function<std::function<void()>()> work, std::function<void()> when_it_dies) {
    const std::uint64_t number = ++last_request_;
    open_.emplace(number, std::move(when_it_dies));
    host_.fibers().start([self = shared_from_this(), number, work = std::move(work)] {
        self->stand_still();
        const std::function<void()> answer = work();
        self->stand_still();
        if (!self->is_over() && self->open_.erase(number) > 0) {
            answer();
        }
    });
}

// ---------------------------------------------------------------- requests

void Replica::serve(const core::ParticipantCall& call,
                    std::function<void(core::CallResult)> answer) {
    const std::string body = wire::encode(http::branch_request(call, host_.coordinators()));
    if (call.key.operation == core::Operation::commit_one_phase) {
        host_.commits_in_one_phase(call.key.xid.value());
    }
    run(
        [this, key = call.key, body, answer, epoch = call.epoch,
         before = host_.bound_to(call.key.xid.value())]() -> std::function<void()> {
            const wire::BranchAnswer told = deliver(key.xid.value(), key.branch.value(), body);
            if (told.vote && key.operation == core::Operation::prepare) {
                host_.obeyed(key.xid.value(), static_cast<Vote>(*told.vote), epoch, before);
            }
            if (told.vote) {
                host_.voted(key.xid.value(), static_cast<Vote>(*told.vote));
            }
            return [key, told, answer] {
                const auto heard = wire::decode_answer(told.status, wire::encode(told));
                if (!heard) {
                    throw Violation("an answer that the contract does not allow");
                }
                answer({key, http::answer_from(key.operation, *heard)});
            };
        },
        [key = call.key, answer] { answer({key, CallResult::Unknown{"connection reset"}}); });
}

wire::BranchAnswer Replica::deliver(std::string_view xid, std::uint16_t branch,
                                    const std::string& body) {
    auto request = wire::decode_request(xid, branch, body);
    if (!request) {
        return malformed(request.error());
    }
    const bool begins = request->operation == wire::Operation::prepare ||
                        request->operation == wire::Operation::commit_one_phase;
    if (begins && (open_.size() > most_requests ||
                   host_.observer().goes_wrong(Fault::participant_busy, 15))) {
        return put_off("all workers are busy");
    }
    return delivery_.run(std::move(*request));
}

void Replica::serve(const PeerCall& call, PeerAnswer answer) {
    run(
        [this, call, answer = std::move(answer)]() -> std::function<void()> {
            return [answer, reply = answer_peer(call)] { answer(reply); };
        },
        [] {});
}

// As Participant::handle_async() does it, without its threads.
participant::OutboundReply Replica::answer_peer(const PeerCall& call) {
    using Kind = participant::BranchRoute::Kind;
    const auto route = participant::branch_route(call.target);
    if (!route || route->method != call.method || !route->key) {
        return {404, {}};
    }
    const std::string& xid = route->key->xid.value();
    const std::uint16_t branch = route->key->branch;
    if (route->kind == Kind::status) {
        const auto status = delivery_.status(*route->key, call.capability);
        return status ? participant::OutboundReply{200, wire::encode(*status)}
                      : participant::OutboundReply{status.error().status,
                                                   wire::encode(status.error())};
    }
    if (route->kind == Kind::operation) {
        const wire::BranchAnswer answer = deliver(xid, branch, call.body);
        return {answer.status, wire::encode(answer)};
    }
    const auto ballot = wire::decode_ballot_request(xid, branch, call.body);
    if (!ballot || ballot->value.has_value() != (route->kind == Kind::accept)) {
        return {400, {}};
    }
    const wire::BallotAnswer answer = delivery_.run(*ballot);
    return {answer.status, wire::encode(answer)};
}

// ---------------------------------------------------------------- the service

// Books an amount, from one account or from two.
VoteCast Replica::work(postgres::Connection& session, std::string_view payload) {
    Timeline& timeline = host_.timeline();
    std::int64_t amount = 0;
    std::from_chars(payload.data(), payload.data() + payload.size(), amount);
    if (host_.observer().goes_wrong(Fault::participant_refusal, 50)) {
        return vote_no("declined");
    }
    if (amount == 0) {
        return vote_read_only();
    }
    const std::int64_t second = timeline.chance(300) ? amount / 2 : 0;
    for (const std::int64_t part : {amount - second, second}) {
        if (part == 0) {
            continue;
        }
        const auto booked =
            session.run("UPDATE account SET amount = amount + " + std::to_string(part) +
                        " WHERE id = " + std::to_string(timeline.pick(accounts)));
        // A service that does not look at the result of its statement (P7).
        if (!booked && !host_.observer().goes_wrong(Fault::failure_ignored, 400)) {
            return vote_no(postgres::reason_of(booked.error().sqlstate, booked.error().message));
        }
        if (host_.observer().goes_wrong(Fault::participant_late, 20)) {
            host_.fibers().sleep(timeline.between(50, 2'500));
        }
    }
    return vote_yes();
}

void Replica::start() {
    host_.fibers().start([self = shared_from_this()] { self->recover(); });
}

void Replica::recover() {
    host_.fibers().sleep(host_.timeline().pick(600));
    for (std::uint64_t look = 1; !is_over(); ++look) {
        stand_still();
        static_cast<void>(recovery_.look());
        if (look % looks_between_forgetting == 0) {
            static_cast<void>(resource_->forget_finished());
        }
        host_.fibers().sleep(host_.timeline().between(300, 600));
    }
}

} // namespace concordat::simulation
