#include "coordinator/http/handlers.hpp"
#include "coordinator/http/reply_rendering.hpp"
#include "coordinator/http/request_decoding.hpp"
#include "coordinator/http/request_headers.hpp"
#include "coordinator/http/service.hpp"

#include <algorithm>
#include <utility>

namespace concordat::http {
namespace {

transport::Response wrong_reply() {
    return render({.code = ProblemCode::internal_error, .detail = "unexpected reply of the core"});
}

transport::Response render_all_participants(const Exchange&, core::Reply& reply) {
    const auto* participants = std::get_if<core::ParticipantsReply>(&reply);
    return participants != nullptr ? render_participants(*participants) : wrong_reply();
}

transport::Response render_one_participant(const Exchange& exchange, core::Reply& reply) {
    const auto* participants = std::get_if<core::ParticipantsReply>(&reply);
    if (participants == nullptr) {
        return wrong_reply();
    }
    for (const auto& [name, definition] : participants->items) {
        if (name.value() == exchange.parameter) {
            return render_participant(name, definition);
        }
    }
    return render({.code = ProblemCode::participant_not_found});
}

transport::Response render_stored_participant(const Exchange& exchange, core::Reply& reply) {
    return std::holds_alternative<core::Acknowledged>(reply)
               ? render_participant(core::ParticipantName{exchange.parameter}, exchange.definition)
               : wrong_reply();
}

transport::Response render_removed(const Exchange&, core::Reply& reply) {
    if (!std::holds_alternative<core::Acknowledged>(reply)) {
        return wrong_reply();
    }
    transport::Response response;
    response.status = 204;
    return response;
}

/// The participant name of the path, or nothing after a refusal.
std::optional<core::ParticipantName> path_name(Service& service, Exchange& exchange) {
    auto name = core::parse_participant_name(exchange.parameter);
    if (!name) {
        Problem problem;
        problem.code = ProblemCode::invalid_request;
        problem.detail = "a participant name matches [a-z0-9-]{1,63}";
        service.refuse(exchange, std::move(problem));
    }
    return name;
}

bool is_follower_of_known_leader(const ClusterView& view) {
    return view.leader && *view.leader != view.self;
}

} // namespace

void handle_list_participants(Service& service, const ExchangePtr& exchange) {
    service.ask(exchange, core::ListParticipantsRequest{}, render_all_participants);
}

void handle_get_participant(Service& service, const ExchangePtr& exchange) {
    if (path_name(service, *exchange)) {
        service.ask(exchange, core::ListParticipantsRequest{}, render_one_participant);
    }
}

void handle_put_participant(Service& service, const ExchangePtr& exchange) {
    auto name = path_name(service, *exchange);
    if (!name) {
        return;
    }
    auto definition = decode_participant(exchange->request.body);
    if (!definition) {
        service.refuse(*exchange, std::move(definition.error()));
        return;
    }
    exchange->definition = *definition;
    service.ask(exchange,
                core::PutParticipantRequest{std::move(*name), std::move(*definition),
                                            exchange->caller.name},
                render_stored_participant);
}

void handle_delete_participant(Service& service, const ExchangePtr& exchange) {
    auto name = path_name(service, *exchange);
    if (!name) {
        return;
    }
    std::vector<Complaint> complaints;
    std::string reason = parse_reason_query(exchange->request.query(), complaints);
    if (!complaints.empty()) {
        service.refuse(*exchange, std::move(complaints));
        return;
    }
    service.ask(
        exchange,
        core::RemoveParticipantRequest{std::move(*name), exchange->caller.name, std::move(reason)},
        render_removed);
}

void handle_cluster(Service& service, const ExchangePtr& exchange) {
    service.answer(*exchange, render_cluster(service.gateway.cluster(), 200));
}

void handle_transfer(Service& service, const ExchangePtr& exchange) {
    auto body = decode_transfer(exchange->request.body);
    if (!body) {
        service.refuse(*exchange, std::move(body.error()));
        return;
    }
    const ClusterView view = service.gateway.cluster();
    if (is_follower_of_known_leader(view)) {
        service.forward(exchange, view.leader);
        return;
    }
    const auto known = [&body](const NodeView& node) { return node.id == *body->to; };
    if (body->to && std::none_of(view.nodes.begin(), view.nodes.end(), known)) {
        service.refuse(*exchange,
                       {{Complaint::Place::body, "/to", "is not a node of the cluster"}});
        return;
    }
    std::string why_not;
    if (!service.gateway.transfer_leadership(body->to, exchange->caller.name,
                                             std::move(body->reason), why_not)) {
        service.refuse(*exchange,
                       {.code = ProblemCode::transfer_refused, .detail = std::move(why_not)});
        return;
    }
    service.answer(*exchange, render_cluster(service.gateway.cluster(), 202));
}

void handle_drain(Service& service, const ExchangePtr& exchange) {
    auto reason = decode_reason(exchange->request.body);
    if (!reason) {
        service.refuse(*exchange, std::move(reason.error()));
        return;
    }
    service.gateway.drain();
    service.answer(*exchange, render_cluster(service.gateway.cluster(), 202));
}

void handle_events(Service& service, const ExchangePtr& exchange) {
    if (service.events.open(exchange->responder, exchange->io_thread)) {
        service.metrics.count(exchange->route, 200,
                              std::chrono::steady_clock::now() - exchange->started);
        return;
    }
    service.refuse(*exchange,
                   {.code = ProblemCode::overloaded, .detail = "too many event streams are open"});
}

void handle_livez(Service& service, const ExchangePtr& exchange) {
    transport::Response response;
    response.body = R"({"status":"alive"})";
    service.answer(*exchange, std::move(response));
}

void handle_readyz(Service& service, const ExchangePtr& exchange) {
    const ClusterView view = service.gateway.cluster();
    if (view.draining || !view.replayed) {
        service.refuse(*exchange, {.code = ProblemCode::not_ready,
                                   .detail = view.draining ? "the node is draining"
                                                           : "the log is being replayed"});
        return;
    }
    transport::Response response;
    response.body = R"({"status":"ready"})";
    service.answer(*exchange, std::move(response));
}

void handle_metrics(Service& service, const ExchangePtr& exchange) {
    transport::Response response;
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    response.body = service.gateway.metrics() + service.metrics.text();
    service.answer(*exchange, std::move(response));
}

} // namespace concordat::http
