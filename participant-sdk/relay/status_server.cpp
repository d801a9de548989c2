#include "participant-sdk/relay/status_server.hpp"

#include "participant-sdk/src/wire/hex.hpp"

#include <nlohmann/json.hpp>

#include <charconv>
#include <optional>
#include <string_view>
#include <vector>

namespace concordat::relay {
namespace {

constexpr std::chrono::milliseconds stop_grace{500};
constexpr int list_limit = 1000;
constexpr std::size_t told_limit_bytes = 1000; // of "by" and "reason"
constexpr std::string_view dead_row_prefix = "/v1/outbox/dead/";

transport::Response problem(int status, std::string_view title, const std::string& detail) {
    transport::Response response;
    response.status = status;
    response.content_type = "application/problem+json";
    response.body = nlohmann::json{
        {"type", "about:blank"},
        {"title", title},
        {"status", status},
        {"detail",
         detail}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return response;
}

transport::Response not_found() {
    return problem(404, "Not Found", "there is nothing at this address");
}

// The number after "name=" in a query; the default without it, nothing if it is no number.
std::optional<std::int64_t> query_number(std::string_view query, std::string_view name,
                                         std::int64_t fallback) {
    while (!query.empty()) {
        const std::string_view field = query.substr(0, query.find('&'));
        query.remove_prefix(std::min(query.size(), field.size() + 1));
        if (!field.starts_with(name) || field.substr(name.size(), 1) != "=") {
            continue;
        }
        const std::string_view text = field.substr(name.size() + 1);
        std::int64_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc{} || end != text.data() + text.size() || value < 0) {
            return std::nullopt;
        }
        return value;
    }
    return fallback;
}

bool is_about_dead_row(AdminRequest::Kind kind) {
    return kind == AdminRequest::Kind::replay_dead || kind == AdminRequest::Kind::drop_dead;
}

// {"topic", "key_hex"} or {"id"}; and who asks why, if they say so.
std::optional<AdminRequest> parse_change(AdminRequest::Kind kind, const std::string& body) {
    const auto document = nlohmann::json::parse(body, nullptr, false);
    if (!document.is_object()) {
        return std::nullopt;
    }
    AdminRequest request{.kind = kind};
    const bool dead = is_about_dead_row(kind);
    std::size_t needed = dead ? 1 : 2;
    for (const auto& [name, value] : document.items()) {
        const std::string text = value.is_string() ? value.get<std::string>() : std::string();
        if (dead && name == "id" && value.is_number_integer()) {
            request.id = value.get<std::int64_t>();
            --needed;
        } else if (!dead && name == "topic" && value.is_string()) {
            request.topic = text;
            --needed;
        } else if (!dead && name == "key_hex" && value.is_string()) {
            auto key = wire::from_hex(text);
            if (!key) {
                return std::nullopt;
            }
            request.key = std::move(*key);
            --needed;
        } else if (name == "by" && value.is_string() && text.size() <= told_limit_bytes) {
            request.by = text;
        } else if (name == "reason" && value.is_string() && text.size() <= told_limit_bytes) {
            request.reason = text;
        } else {
            return std::nullopt;
        }
    }
    return needed == 0 ? std::optional(std::move(request)) : std::nullopt;
}

// The route's change; nothing when there is no such route.
std::optional<AdminRequest::Kind> change_at(std::string_view path) {
    if (path == "/v1/outbox/parked/replay") {
        return AdminRequest::Kind::replay_parked;
    }
    if (path == "/v1/outbox/parked/skip") {
        return AdminRequest::Kind::skip_parked;
    }
    if (path == "/v1/outbox/dead/replay") {
        return AdminRequest::Kind::replay_dead;
    }
    if (path == "/v1/outbox/dead/drop") {
        return AdminRequest::Kind::drop_dead;
    }
    return std::nullopt;
}

transport::Response admin_is_off() {
    return problem(403, "Forbidden",
                   "http.admin is off: this relay only shows; start it with --http.admin=true");
}

} // namespace

StatusServer::StatusServer(const Options& options, const Telemetry& telemetry,
                           const LeaseKeeper& leases, Monitor& monitor)
    : options_(options),
      telemetry_(telemetry),
      leases_(leases),
      monitor_(monitor),
      threads_(1, "http") {
    transport::ServerOptions server;
    server.address = options.http.address;
    server.port = options.http.port;
    server.body_limit_bytes = 64 * 1024;
    server.max_connections = 64;
    server_ = std::make_unique<transport::Server>(
        threads_, server,
        [this](transport::Request&& request, transport::Responder respond) {
            handle(std::move(request), std::move(respond));
        },
        [](const transport::ProtocolError& error) {
            return problem(error.status, "Bad Request", std::string(error.detail));
        });
}

StatusServer::~StatusServer() {
    stop();
}

std::expected<void, std::string> StatusServer::start() {
    threads_.start();
    return server_->start();
}

std::uint16_t StatusServer::port() const noexcept {
    return server_->port();
}

void StatusServer::stop() {
    server_->stop(stop_grace);
    threads_.stop();
}

void StatusServer::handle(transport::Request&& request, transport::Responder respond) {
    if (request.method == "GET") {
        handle_get(request, std::move(respond));
    } else if (request.method == "POST") {
        handle_post(request, std::move(respond));
    } else {
        respond(problem(405, "Method Not Allowed", "only GET and POST are known here"));
    }
}

void StatusServer::handle_get(const transport::Request& request, transport::Responder respond) {
    const std::string_view path = request.path();
    transport::Response response;
    if (path == "/livez") {
        response.body = R"({"status":"alive"})";
        respond(std::move(response));
    } else if (path == "/readyz") {
        respond(readiness());
    } else if (path == "/metrics") {
        response.content_type = "text/plain; version=0.0.4";
        response.body = render_metrics(telemetry_, leases_.status());
        respond(std::move(response));
    } else if (path == "/v1/outbox") {
        respond(outbox_status());
    } else if (path == "/v1/outbox/leases") {
        pass_on({.kind = AdminRequest::Kind::list_leases}, std::move(respond));
    } else if (path.starts_with(dead_row_prefix)) {
        show_dead_row(path.substr(dead_row_prefix.size()), std::move(respond));
    } else if (path == "/v1/outbox/parked" || path == "/v1/outbox/dead") {
        const auto after = query_number(request.query(), "after", 0);
        const auto limit = query_number(request.query(), "limit", 100);
        if (!after || !limit || *limit < 1 || *limit > list_limit) {
            respond(problem(400, "Bad Request", "after and limit (1 to 1000) must be numbers"));
            return;
        }
        pass_on({.kind = path.ends_with("dead") ? AdminRequest::Kind::list_dead
                                                : AdminRequest::Kind::list_parked,
                 .id = *after,
                 .limit = static_cast<int>(*limit)},
                std::move(respond));
    } else {
        respond(not_found());
    }
}

void StatusServer::show_dead_row(std::string_view id, transport::Responder respond) {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
    if (error != std::errc{} || end != id.data() + id.size()) {
        respond(not_found());
    } else if (!options_.http.admin) {
        respond(admin_is_off()); // a payload is nobody else's business
    } else {
        pass_on({.kind = AdminRequest::Kind::show_dead, .id = number}, std::move(respond));
    }
}

void StatusServer::handle_post(const transport::Request& request, transport::Responder respond) {
    const auto kind = change_at(request.path());
    if (!kind) {
        respond(not_found());
        return;
    }
    if (!options_.http.admin) {
        respond(admin_is_off());
        return;
    }
    const auto change = parse_change(*kind, request.body);
    if (!change) {
        respond(problem(400, "Bad Request",
                        R"(expected {"topic":"...","key_hex":"..."} or {"id":N}, and "by" and )"
                        R"("reason" of at most 1000 bytes)"));
        return;
    }
    pass_on(*change, std::move(respond));
}

void StatusServer::pass_on(AdminRequest request, transport::Responder respond) {
    monitor_.ask(std::move(request), [respond = std::move(respond)](AdminAnswer answer) mutable {
        switch (answer.kind) {
        case AdminAnswer::Kind::done: {
            transport::Response response;
            response.body = std::move(answer.text);
            respond(std::move(response));
            return;
        }
        case AdminAnswer::Kind::not_found:
            respond(problem(404, "Not Found", answer.text));
            return;
        case AdminAnswer::Kind::unavailable:
            respond(problem(503, "Service Unavailable", answer.text));
            return;
        }
    });
}

transport::Response StatusServer::readiness() const {
    nlohmann::json reasons = nlohmann::json::object();
    // A topic that is missing is the operator's business; the relay itself is fit for the others.
    for (const auto& [subject, text] : telemetry_.troubles()) {
        if (!subject.starts_with("topic ")) {
            reasons[subject] = text;
        }
    }
    const LeaseKeeper::Status leases = leases_.status();
    if (!telemetry_.database_connected || !leases.connected) {
        reasons.emplace("database", leases.detail.empty() ? "not connected" : leases.detail);
    }
    if (!telemetry_.producer_ready) {
        reasons.emplace("kafka", "the producer is being made");
    }
    if (telemetry_.stopping) {
        reasons["process"] = "stopping";
    }
    transport::Response response;
    response.status = reasons.empty() ? 200 : 503;
    response.body = nlohmann::json{
        {"status", reasons.empty() ? "ready" : "not ready"},
        {"reasons",
         reasons}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return response;
}

transport::Response StatusServer::outbox_status() const {
    const LeaseKeeper::Status leases = leases_.status();
    transport::Response response;
    response.body =
        nlohmann::json{
            {"buckets_owned", leases.owned},
            {"instances", leases.instances},
            {"pending_rows", telemetry_.pending_rows.load()},
            {"oldest_pending_ms", telemetry_.oldest_pending_ms.load()},
            {"parked_keys", telemetry_.parked_now.load()},
            {"dead_rows", telemetry_.dead_now.load()},
            {"rows_published", telemetry_.rows_published.load()},
            {"published_per_second", telemetry_.published_per_second.load()},
            {"rows_in_memory", telemetry_.rows_in_memory.load()},
            {"rows_at_kafka", telemetry_.rows_at_kafka.load()},
            {"position", telemetry_.position.load()},
            {"floor", telemetry_.floor.load()},
            {"troubles", telemetry_.troubles()},
        }
            .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return response;
}

} // namespace concordat::relay
