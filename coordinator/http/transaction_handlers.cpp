#include "coordinator/http/handlers.hpp"
#include "coordinator/http/reply_rendering.hpp"
#include "coordinator/http/request_decoding.hpp"
#include "coordinator/http/request_headers.hpp"
#include "coordinator/http/service.hpp"

#include <algorithm>
#include <utility>

namespace concordat::http {
namespace {

/// A reply of another kind than the request asks for is a fault of this process.
transport::Response wrong_reply() {
    return render({.code = ProblemCode::internal_error, .detail = "unexpected reply of the core"});
}

Awaited awaited_by(const Exchange& exchange) {
    if (exchange.opens) {
        return Awaited::opening;
    }
    return exchange.to_completion ? Awaited::completion : Awaited::decision;
}

transport::Response render_begun(const Exchange& exchange, core::Reply& reply) {
    const auto* transaction = std::get_if<core::TransactionReply>(&reply);
    if (transaction == nullptr) {
        return wrong_reply();
    }
    transport::Response response = render_progress(*transaction, awaited_by(exchange));
    if (!transaction->created) {
        response.headers.add("Idempotency-Replayed", "true");
    }
    return response;
}

transport::Response render_decided(const Exchange& exchange, core::Reply& reply) {
    const auto* transaction = std::get_if<core::TransactionReply>(&reply);
    return transaction != nullptr ? render_progress(*transaction, awaited_by(exchange))
                                  : wrong_reply();
}

transport::Response render_branch_enlisted(const Exchange&, core::Reply& reply) {
    const auto* transaction = std::get_if<core::TransactionReply>(&reply);
    return transaction != nullptr ? render_enlisted(*transaction) : wrong_reply();
}

transport::Response render_read(const Exchange& exchange, core::Reply& reply) {
    const auto* transaction = std::get_if<core::TransactionReply>(&reply);
    if (transaction == nullptr) {
        return wrong_reply();
    }
    if (matches_entity_tag(exchange.request.headers, transaction->view.changed_index)) {
        transport::Response unchanged;
        unchanged.status = 304;
        unchanged.headers.add("ETag", entity_tag(transaction->view.changed_index));
        return unchanged;
    }
    return render_transaction(*transaction);
}

transport::Response render_list(const Exchange&, core::Reply& reply) {
    const auto* page = std::get_if<core::TransactionPage>(&reply);
    return page != nullptr ? render_page(*page) : wrong_reply();
}

transport::Response render_retried(const Exchange&, core::Reply& reply) {
    if (const auto* transaction = std::get_if<core::TransactionReply>(&reply)) {
        return render_transaction(*transaction);
    }
    if (!std::holds_alternative<core::Acknowledged>(reply)) {
        return wrong_reply();
    }
    transport::Response response;
    response.status = 204;
    return response;
}

transport::Response render_asked(const Exchange&, core::Reply& reply) {
    const auto* inquiry = std::get_if<core::InquiryReply>(&reply);
    return inquiry != nullptr ? render_inquiry(*inquiry) : wrong_reply();
}

/// A transaction that the group does not know is aborted: its answer is that of an inquiry.
transport::Response render_acceptor(const Exchange&, core::Reply& reply) {
    if (const auto* ballot = std::get_if<core::BallotReply>(&reply)) {
        return render_ballot(*ballot);
    }
    if (const auto* inquiry = std::get_if<core::InquiryReply>(&reply)) {
        core::BallotReply settled;
        settled.xid = inquiry->xid;
        settled.outcome = inquiry->outcome;
        return render_ballot(settled);
    }
    return wrong_reply();
}

/// The xid of the path, or nothing after a refusal.
std::optional<core::Xid> path_xid(Service& service, Exchange& exchange) {
    auto xid = core::parse_xid(exchange.parameter);
    if (!xid) {
        Problem problem;
        problem.code = ProblemCode::invalid_request;
        problem.detail = "an xid matches [A-Za-z0-9._-]{1,64}";
        exchange.parameter.clear();
        service.refuse(exchange, std::move(problem));
    }
    return xid;
}

/// How long the core holds the answer: what the client prefers, within the limit.
core::Duration wait_of(const Service& service, const Preferences& preferences) {
    const core::Duration limit = service.options.max_wait;
    return std::min(preferences.wait.value_or(limit), limit);
}

void begin(Service& service, const ExchangePtr& exchange, std::optional<core::Xid> xid) {
    auto decoded = decode_begin(exchange->request.body);
    std::vector<Complaint> complaints;
    if (!decoded) {
        complaints = std::move(decoded.error());
    }
    const Preferences preferences = parse_prefer(exchange->request.headers, complaints);
    std::string key = idempotency_key(exchange->request.headers, complaints);
    if (!complaints.empty()) {
        service.refuse(*exchange, std::move(complaints));
        return;
    }
    core::BeginRequest& request = *decoded;
    request.xid = std::move(xid);
    request.digest = digest_of(request);
    request.idempotency_key = std::move(key);
    request.traceparent = next_traceparent(exchange->request.headers);
    exchange->opens = request.mode == core::Mode::interactive;
    exchange->to_completion = request.wait_for == core::WaitFor::completion;
    if (preferences.respond_async || exchange->opens) {
        request.wait_for = core::WaitFor::begun;
    }
    exchange->wait = wait_of(service, preferences);
    request.wait_limit = exchange->wait;
    service.ask(exchange, std::move(request), render_begun);
}

void decide(Service& service, const ExchangePtr& exchange, core::Outcome wanted) {
    auto xid = path_xid(service, *exchange);
    if (!xid) {
        return;
    }
    const std::string& body = exchange->request.body;
    auto decoded = wanted == core::Outcome::committed ? decode_commit(body) : decode_abort(body);
    std::vector<Complaint> complaints;
    if (!decoded) {
        complaints = std::move(decoded.error());
    }
    const Preferences preferences = parse_prefer(exchange->request.headers, complaints);
    if (!complaints.empty()) {
        service.refuse(*exchange, std::move(complaints));
        return;
    }
    if (decoded->by_operator && exchange->caller.role != Role::operations) {
        service.refuse(*exchange, {.code = ProblemCode::forbidden,
                                   .detail = "by_operator needs the role operator"});
        return;
    }
    core::DecideRequest request;
    request.xid = std::move(*xid);
    request.wanted = wanted;
    request.by_operator = decoded->by_operator;
    request.who = exchange->caller.name;
    request.why = std::move(decoded->reason);
    request.wait_for = preferences.respond_async ? core::WaitFor::begun : decoded->wait_for;
    exchange->to_completion = decoded->wait_for == core::WaitFor::completion;
    exchange->wait = wait_of(service, preferences);
    request.wait_limit = exchange->wait;
    service.ask(exchange, std::move(request), render_decided);
}

} // namespace

void handle_submit(Service& service, const ExchangePtr& exchange) {
    begin(service, exchange, std::nullopt);
}

void handle_put(Service& service, const ExchangePtr& exchange) {
    if (auto xid = path_xid(service, *exchange)) {
        begin(service, exchange, std::move(xid));
    }
}

void handle_get(Service& service, const ExchangePtr& exchange) {
    auto xid = path_xid(service, *exchange);
    if (!xid) {
        return;
    }
    core::GetRequest request;
    request.xid = std::move(*xid);
    std::vector<Complaint> complaints;
    parse_get_query(exchange->request.query(), request, complaints);
    const Preferences preferences = parse_prefer(exchange->request.headers, complaints);
    if (!complaints.empty()) {
        service.refuse(*exchange, std::move(complaints));
        return;
    }
    if (request.wait_index) {
        if (!request.wait_limit) {
            request.wait_limit = preferences.wait.value_or(service.options.default_poll);
        }
        request.wait_limit =
            std::min<core::Duration>(*request.wait_limit, service.options.max_wait);
        exchange->wait = *request.wait_limit;
    } else {
        request.wait_limit.reset();
    }
    service.ask(exchange, std::move(request), render_read);
}

void handle_list(Service& service, const ExchangePtr& exchange) {
    core::ListRequest request;
    std::vector<Complaint> complaints;
    parse_list_query(exchange->request.query(), request, complaints);
    if (!complaints.empty()) {
        service.refuse(*exchange, std::move(complaints));
        return;
    }
    service.ask(exchange, std::move(request), render_list);
}

void handle_enlist(Service& service, const ExchangePtr& exchange) {
    auto xid = path_xid(service, *exchange);
    if (!xid) {
        return;
    }
    auto branch = decode_branch(exchange->request.body);
    if (!branch) {
        service.refuse(*exchange, std::move(branch.error()));
        return;
    }
    service.ask(exchange, core::EnlistRequest{std::move(*xid), std::move(*branch)},
                render_branch_enlisted);
}

void handle_commit(Service& service, const ExchangePtr& exchange) {
    decide(service, exchange, core::Outcome::committed);
}

void handle_abort(Service& service, const ExchangePtr& exchange) {
    decide(service, exchange, core::Outcome::aborted);
}

void handle_retry(Service& service, const ExchangePtr& exchange) {
    auto xid = path_xid(service, *exchange);
    if (!xid) {
        return;
    }
    auto reason = decode_reason(exchange->request.body);
    if (!reason) {
        service.refuse(*exchange, std::move(reason.error()));
        return;
    }
    service.ask(exchange,
                core::RetryRequest{std::move(*xid), exchange->caller.name, std::move(*reason)},
                render_retried);
}

void handle_inquiry(Service& service, const ExchangePtr& exchange) {
    if (auto xid = path_xid(service, *exchange)) {
        service.ask(exchange, core::InquiryRequest{std::move(*xid)}, render_asked);
    }
}

void handle_promise(Service& service, const ExchangePtr& exchange) {
    auto xid = path_xid(service, *exchange);
    if (!xid) {
        return;
    }
    auto body = decode_promise(exchange->request.body);
    if (!body) {
        service.refuse(*exchange, std::move(body.error()));
        return;
    }
    service.ask(exchange,
                core::PromiseRequest{std::move(*xid), body->ballot, std::move(body->capability)},
                render_acceptor);
}

void handle_accept(Service& service, const ExchangePtr& exchange) {
    auto xid = path_xid(service, *exchange);
    if (!xid) {
        return;
    }
    auto body = decode_accept(exchange->request.body);
    if (!body) {
        service.refuse(*exchange, std::move(body.error()));
        return;
    }
    service.ask(exchange,
                core::AcceptRequest{std::move(*xid), body->ballot, body->value,
                                    std::move(body->capability)},
                render_acceptor);
}

} // namespace concordat::http
