#include "coordinator/http/forwarder.hpp"

#include "coordinator/http/problem.hpp"
#include "participant-sdk/src/transport/uri.hpp"

#include <algorithm>
#include <array>

namespace concordat::http {
namespace {

transport::ClientOptions client_options(std::size_t max_waiting, std::size_t max_answer_bytes) {
    transport::ClientOptions options;
    options.max_queued_per_origin = max_waiting;
    options.max_connections_per_origin = 256; // a waiting request holds its connection
    options.connect_timeout = std::chrono::milliseconds{1000};
    options.response_body_limit_bytes = max_answer_bytes;
    return options;
}

/// Fields that belong to one connection or are written anew by the next hop.
bool is_hop_by_hop(std::string_view name) {
    static constexpr std::array<std::string_view, 14> names{"Connection",
                                                            "Keep-Alive",
                                                            "Proxy-Connection",
                                                            "TE",
                                                            "Trailer",
                                                            "Upgrade",
                                                            "Host",
                                                            "Content-Length",
                                                            "Content-Type",
                                                            "Transfer-Encoding",
                                                            "Expect",
                                                            "Date",
                                                            "Server",
                                                            forwarded_header};
    return std::any_of(names.begin(), names.end(), [name](std::string_view other) {
        return transport::equals_ignoring_case(name, other);
    });
}

transport::Response relayed(transport::Response answer) {
    transport::Response response;
    response.status = answer.status;
    response.content_type = answer.headers.find("Content-Type").value_or("application/json");
    for (const transport::Header header : answer.headers) {
        if (!is_hop_by_hop(header.name)) {
            response.headers.add(header.name, header.value);
        }
    }
    response.body = std::move(answer.body);
    return response;
}

} // namespace

Forwarder::Forwarder(transport::IoThreads& threads, std::size_t max_waiting,
                     std::size_t max_answer_bytes)
    : client_(threads, client_options(max_waiting, max_answer_bytes)) {}

void Forwarder::stop() {
    client_.stop();
}

void Forwarder::send(const transport::Request& request, const std::string& leader_url,
                     core::NodeId self, const std::string& xid, std::chrono::milliseconds timeout,
                     Callback callback) {
    Problem lost;
    lost.code = ProblemCode::no_leader;
    lost.xid = xid;
    const auto url = transport::parse_base_url(leader_url);
    if (!url) {
        lost.detail = "the leader's api_url cannot be used: " + url.error();
        callback(render(lost));
        return;
    }
    transport::OutboundRequest out;
    out.method = request.method;
    out.target = url->base_path + request.target;
    for (const transport::Header header : request.headers) {
        if (!is_hop_by_hop(header.name)) {
            out.headers.add(header.name, header.value);
        }
    }
    out.headers.add(forwarded_header, std::to_string(self.value()));
    out.body = request.body;
    out.timeout = timeout;
    const bool reads = request.method == "GET";
    out.idempotent = reads;
    client_.send(url->origin, std::move(out),
                 [reads, lost = std::move(lost),
                  callback = std::move(callback)](transport::Client::Result result) mutable {
                     if (result) {
                         callback(relayed(std::move(*result)));
                         return;
                     }
                     if (result.error().effect == transport::TransportError::Effect::unknown &&
                         !reads) {
                         lost.code = ProblemCode::outcome_unknown;
                     }
                     lost.detail = "the leader did not answer: " + result.error().detail;
                     callback(render(lost));
                 });
}

} // namespace concordat::http
