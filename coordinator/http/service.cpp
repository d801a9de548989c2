#include "coordinator/http/service.hpp"

#include "coordinator/http/request_headers.hpp"

#include <algorithm>
#include <utility>

namespace concordat::http {
namespace {

bool has_json_type(const transport::Request& request) {
    const auto type = request.headers.find("Content-Type");
    if (!type || request.body.empty()) {
        return true;
    }
    std::string_view media = type->substr(0, type->find(';'));
    while (media.ends_with(' ')) {
        media.remove_suffix(1);
    }
    return transport::equals_ignoring_case(media, "application/json");
}

/// The xid that a problem should name, when the route is about one.
std::string xid_of(const Exchange& exchange) {
    const bool about_transaction =
        exchange.route != nullptr &&
        (exchange.route->pattern.find("{xid}") != std::string_view::npos);
    return about_transaction ? exchange.parameter : std::string();
}

std::string leader_url(const ClusterView& view, core::NodeId leader) {
    const auto found = std::find_if(view.nodes.begin(), view.nodes.end(),
                                    [leader](const NodeView& node) { return node.id == leader; });
    return found == view.nodes.end() ? std::string() : found->api_url;
}

} // namespace

Service::Service(Gateway& core_gateway, ApiOptions api_options, transport::IoThreads& io_threads)
    : gateway(core_gateway),
      options(std::move(api_options)),
      events(core_gateway, io_threads, options.max_event_streams, options.event_keep_alive),
      threads_(io_threads),
      forwarder_(io_threads, options.max_forwards_waiting, options.max_forwarded_answer_bytes),
      inboxes_(io_threads.size()) {}

void Service::stop() {
    events.stop();
    forwarder_.stop();
}

void Service::handle(transport::Request&& request, transport::Responder responder) {
    auto exchange = std::make_shared<Exchange>();
    exchange->request = std::move(request);
    exchange->responder = std::move(responder);
    exchange->io_thread = threads_.current().value_or(0);
    exchange->started = std::chrono::steady_clock::now();
    RouteMatch match = match_route(exchange->request.method, exchange->request.path());
    if (match.route == nullptr) {
        Problem problem;
        problem.code =
            match.allowed.empty() ? ProblemCode::route_not_found : ProblemCode::method_not_allowed;
        transport::Response response = render(problem);
        if (!match.allowed.empty()) {
            response.headers.add("Allow", match.allowed);
        }
        answer(*exchange, std::move(response));
        return;
    }
    exchange->route = match.route;
    exchange->parameter = std::move(match.parameter);
    if (match.route->roles != 0) {
        auto caller = options.access.identify(exchange->request);
        if (!caller) {
            refuse(*exchange, {.code = ProblemCode::unauthenticated});
            return;
        }
        if (!holds(match.route->roles, caller->role)) {
            refuse(*exchange, {.code = ProblemCode::forbidden});
            return;
        }
        exchange->caller = std::move(*caller);
    }
    if (!has_json_type(exchange->request)) {
        refuse(*exchange, {.code = ProblemCode::unsupported_media_type});
        return;
    }
    std::vector<Complaint> complaints;
    if (!exchange->route->takes_query) {
        refuse_query(exchange->request.query(), complaints);
    }
    if (!complaints.empty()) {
        refuse(*exchange, std::move(complaints));
        return;
    }
    exchange->route->handler(*this, exchange);
}

void Service::ask(const ExchangePtr& exchange, core::ClientRequest request, Renderer renderer) {
    const auto token = gateway.submit(
        std::move(request), [self = shared_from_this(), exchange, renderer](core::Reply reply) {
            self->hand_over({exchange, renderer, std::move(reply)});
        });
    if (!token) {
        Problem problem;
        problem.code = ProblemCode::overloaded;
        problem.detail = "too many requests are waiting for the core";
        refuse(*exchange, std::move(problem));
    }
}

void Service::hand_over(Arrived&& arrived) {
    const std::size_t index = arrived.exchange->io_thread;
    Inbox& inbox = inboxes_[index];
    bool first = false;
    {
        const std::lock_guard lock(inbox.mutex);
        first = inbox.arrived.empty();
        inbox.arrived.push_back(std::move(arrived));
    }
    if (first) {
        threads_.post(index, [weak = weak_from_this(), index] {
            if (const auto self = weak.lock()) {
                self->drain_inbox(index);
            }
        });
    }
}

void Service::drain_inbox(std::size_t index) {
    std::vector<Arrived> arrived;
    {
        const std::lock_guard lock(inboxes_[index].mutex);
        arrived.swap(inboxes_[index].arrived);
    }
    for (Arrived& one : arrived) {
        respond(one);
    }
}

void Service::respond(Arrived& arrived) {
    Exchange& exchange = *arrived.exchange;
    const auto* rejected = std::get_if<core::Rejected>(&arrived.reply);
    if (rejected == nullptr) {
        answer(exchange, arrived.renderer(exchange, arrived.reply));
        return;
    }
    if (rejected->code == core::RejectCode::no_leader) {
        forward(arrived.exchange, rejected->leader);
        return;
    }
    refuse(exchange, problem_of(*rejected, false));
}

void Service::forward(const ExchangePtr& exchange, std::optional<core::NodeId> leader) {
    const ClusterView view = gateway.cluster();
    if (!leader) {
        leader = view.leader;
    }
    Problem problem;
    problem.code = view.role == "candidate" ? ProblemCode::no_quorum : ProblemCode::no_leader;
    if (!leader || *leader == view.self) {
        problem.detail = leader ? "this node was elected and is not ready yet"
                                : "no leader is known to this node";
        refuse(*exchange, std::move(problem));
        return;
    }
    const std::string url = leader_url(view, *leader);
    if (url.empty() || exchange->request.headers.contains(forwarded_header)) {
        problem.code = ProblemCode::no_leader;
        problem.detail = url.empty() ? "the leader's api_url is not configured"
                                     : "the request was forwarded here, but another node leads";
        refuse(*exchange, std::move(problem));
        return;
    }
    const auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(exchange->wait);
    const auto limit = (wait.count() == 0 ? options.max_wait : wait) + options.forward_margin;
    forwarder_.send(exchange->request, url, view.self, xid_of(*exchange), limit,
                    [self = shared_from_this(), exchange](transport::Response response) {
                        self->answer(*exchange, std::move(response));
                    });
}

void Service::answer(Exchange& exchange, transport::Response response) {
    metrics.count(exchange.route, response.status,
                  std::chrono::steady_clock::now() - exchange.started);
    exchange.responder(std::move(response));
}

void Service::refuse(Exchange& exchange, Problem problem) {
    if (problem.xid.empty()) {
        problem.xid = xid_of(exchange);
    }
    answer(exchange, render(problem));
}

void Service::refuse(Exchange& exchange, std::vector<Complaint> complaints) {
    Problem problem;
    problem.code = ProblemCode::invalid_request;
    if (!complaints.empty()) {
        const Complaint& first = complaints.front();
        problem.detail = first.where.empty() ? first.detail : first.where + " " + first.detail;
    }
    problem.errors = std::move(complaints);
    refuse(exchange, std::move(problem));
}

} // namespace concordat::http
