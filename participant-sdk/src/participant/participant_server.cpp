#include "participant-sdk/src/participant/worker_pool.hpp"
#include "participant-sdk/src/transport/io_threads.hpp"
#include "participant-sdk/src/transport/server.hpp"
#include "participant-sdk/src/wire/json_text.hpp"

#include <concordat/participant.hpp>

#include <algorithm>
#include <exception>
#include <memory>
#include <utility>

namespace concordat {

namespace {

HttpRequest from_transport(transport::Request&& request) {
    HttpRequest plain;
    for (const transport::Header header : request.headers) {
        plain.headers.emplace_back(header.name, header.value);
    }
    plain.method = std::move(request.method);
    plain.target = std::move(request.target);
    plain.body = std::move(request.body);
    return plain;
}

transport::Response to_transport(HttpResponse&& plain) {
    transport::Response response;
    response.status = plain.status;
    for (const auto& [name, value] : plain.headers) {
        if (transport::equals_ignoring_case(name, "content-type")) {
            response.content_type = value;
        } else {
            response.headers.add(name, value);
        }
    }
    response.body = std::move(plain.body);
    return response;
}

HttpResponse problem(int status, std::string_view code, std::string_view detail) {
    HttpResponse response;
    response.status = status;
    response.headers.emplace_back("Content-Type", "application/problem+json");
    response.body = "{\"status\":" + std::to_string(status) + ",\"code\":";
    wire::append_json_string(response.body, code);
    response.body += ",\"title\":";
    wire::append_json_string(response.body, detail);
    response.body += '}';
    return response;
}

transport::ServerOptions server_options(const ParticipantServerOptions& options) {
    transport::ServerOptions server;
    server.address = options.address;
    server.port = options.port;
    server.body_limit_bytes = options.max_body_bytes;
    server.max_connections = options.max_connections;
    server.max_connections_per_address = options.max_connections;
    return server;
}

} // namespace

class ParticipantServer::Impl {
public:
    Impl(Participant& participant, ParticipantServerOptions options)
        : participant_(participant),
          options_(std::move(options)),
          threads_(std::max<std::size_t>(1, options_.io_threads), "concordat-srv"),
          service_("service",
                   options_.service ? std::max<std::size_t>(2, options_.service_threads) : 1,
                   options_.max_queued_service_requests),
          server_(
              threads_, server_options(options_),
              [this](transport::Request&& request, transport::Responder responder) {
                  serve(std::move(request), std::move(responder));
              },
              [](const transport::ProtocolError& error) {
                  return to_transport(problem(error.status, "invalid-request", error.detail));
              }) {}

    std::expected<void, std::string> start() {
        threads_.start();
        if (auto started = server_.start(); !started) {
            return started;
        }
        participant_.start_recovery();
        return {};
    }

    void stop(std::chrono::milliseconds grace) {
        server_.stop(grace);
        service_.stop();
        threads_.stop();
    }

    [[nodiscard]] std::uint16_t port() const noexcept { return server_.port(); }

private:
    // std::function must be copyable and a Responder is not.
    using SharedResponder = std::shared_ptr<transport::Responder>;

    void serve(transport::Request&& request, transport::Responder responder) {
        auto answer = std::make_shared<transport::Responder>(std::move(responder));
        const std::string_view path = request.path();
        if (Participant::serves(path)) {
            participant_.handle_async(
                from_transport(std::move(request)),
                [answer](HttpResponse response) { (*answer)(to_transport(std::move(response))); });
            return;
        }
        if (path == "/livez") {
            (*answer)(to_transport({.status = 200, .headers = {}, .body = "{\"status\":\"ok\"}"}));
            return;
        }
        if (path != "/readyz" && !options_.service) {
            (*answer)(to_transport(problem(404, "route-not-found", "no such resource")));
            return;
        }
        const bool queued =
            service_.submit([this, answer, plain = from_transport(std::move(request))]() mutable {
                (*answer)(to_transport(run_service(plain)));
            });
        if (!queued) {
            HttpResponse busy = problem(503, "overloaded", "too many requests wait");
            busy.headers.emplace_back("Retry-After", "1");
            (*answer)(to_transport(std::move(busy)));
        }
    }

    HttpResponse run_service(const HttpRequest& request) {
        if (std::string_view(request.target).substr(0, request.target.find('?')) == "/readyz") {
            const std::string wrong = participant_.problem();
            return wrong.empty()
                       ? HttpResponse{.status = 200, .headers = {}, .body = "{\"status\":\"ok\"}"}
                       : problem(503, "not-ready", wrong);
        }
        try {
            return options_.service(request);
        } catch (const std::exception& error) {
            return problem(500, "internal-error", error.what());
        } catch (...) {
            return problem(500, "internal-error", "the service failed");
        }
    }

    Participant& participant_;
    const ParticipantServerOptions options_;
    transport::IoThreads threads_;
    participant::WorkerPool service_;
    transport::Server server_;
};

ParticipantServer::ParticipantServer(Participant& participant, ParticipantServerOptions options)
    : impl_(std::make_unique<Impl>(participant, std::move(options))) {}

ParticipantServer::~ParticipantServer() {
    stop(std::chrono::milliseconds{0});
}

std::expected<void, std::string> ParticipantServer::start() {
    return impl_->start();
}
std::uint16_t ParticipantServer::port() const noexcept {
    return impl_->port();
}
void ParticipantServer::stop(std::chrono::milliseconds grace) {
    impl_->stop(grace);
}

} // namespace concordat
