#include "coordinator/cli/session.hpp"

#include "coordinator/cli/documents.hpp"
#include "participant-sdk/src/transport/client.hpp"
#include "participant-sdk/src/transport/io_threads.hpp"
#include "participant-sdk/src/transport/uri.hpp"

#include <fmt/format.h>

#include <fstream>
#include <future>

namespace concordat::cli {
namespace {

using transport::TransportError;

std::string quoted_for_shell(const std::string& text) {
    std::string out = "'";
    for (const char c : text) {
        out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    }
    return out + "'";
}

void print_curl(const Settings& settings, const ApiRequest& request) {
    fmt::print("curl -sS -X {} {}", request.method,
               quoted_for_shell(settings.servers.front() + request.target));
    for (const auto& [name, value] : request.headers) {
        fmt::print(" \\\n  -H {}", quoted_for_shell(name + ": " + value));
    }
    if (!settings.token_file.empty()) {
        // The token stays in its file.
        fmt::print(" \\\n  -H \"Authorization: Bearer $(cat {})\"",
                   quoted_for_shell(settings.token_file));
    }
    if (!request.body.empty()) {
        fmt::print(" \\\n  -H 'Content-Type: application/json' \\\n  --data-binary {}",
                   quoted_for_shell(request.body));
    }
    fmt::print("\n");
}

} // namespace

ExitCode exit_code_for(int status) noexcept {
    if (status < 400) {
        return ExitCode::ok;
    }
    switch (status) {
    case 404:
        return ExitCode::not_found;
    case 409:
    case 410:
        return ExitCode::conflict;
    case 504:
        return ExitCode::outcome_unknown;
    default:
        return status >= 500 || status == 429 ? ExitCode::unhealthy : ExitCode::refused;
    }
}

class Session::Impl {
public:
    explicit Impl(Settings wanted)
        : settings(std::move(wanted)), threads_(1, "cli"), client_(threads_, client_options()) {
        threads_.start();
    }
    ~Impl() {
        client_.stop();
        threads_.stop();
    }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    using Result = std::expected<ApiAnswer, TransportError>;
    Result exchange(const std::string& server, const ApiRequest& request);

    const Settings settings;

private:
    static transport::ClientOptions client_options() {
        transport::ClientOptions options;
        options.connect_timeout = std::chrono::seconds{3};
        options.response_body_limit_bytes = 64UL << 20;
        return options;
    }
    [[nodiscard]] std::expected<std::string, TransportError> token() const;

    transport::IoThreads threads_;
    transport::Client client_;
};

std::expected<std::string, TransportError> Session::Impl::token() const {
    if (settings.token_file.empty()) {
        return std::string();
    }
    std::ifstream file(settings.token_file);
    std::string text;
    if (!(file >> text)) {
        return std::unexpected(TransportError{TransportError::Kind::invalid_request,
                                              TransportError::Effect::none,
                                              "no token in " + settings.token_file});
    }
    return text;
}

Session::Impl::Result Session::Impl::exchange(const std::string& server,
                                              const ApiRequest& request) {
    const auto url = transport::parse_base_url(server);
    if (!url) {
        return std::unexpected(TransportError{TransportError::Kind::invalid_request,
                                              TransportError::Effect::none, url.error()});
    }
    const auto bearer = token();
    if (!bearer) {
        return std::unexpected(bearer.error());
    }
    transport::OutboundRequest out;
    out.method = request.method;
    out.target = url->base_path + request.target;
    out.body = request.body;
    out.idempotent = request.repeatable;
    out.timeout = std::chrono::ceil<std::chrono::milliseconds>(
        std::chrono::duration<double>(settings.timeout_seconds));
    for (const auto& [name, value] : request.headers) {
        out.headers.add(name, value);
    }
    if (!bearer->empty()) {
        out.headers.add("Authorization", "Bearer " + *bearer);
    }
    std::promise<transport::Client::Result> promise;
    auto future = promise.get_future();
    client_.send(url->origin, std::move(out), [&promise](transport::Client::Result result) {
        promise.set_value(std::move(result));
    });
    transport::Client::Result result = future.get();
    if (!result) {
        return std::unexpected(std::move(result.error()));
    }
    ApiAnswer answer;
    answer.status = result->status;
    answer.etag = result->headers.find("ETag").value_or("");
    answer.body = std::move(result->body);
    answer.server = server;
    return answer;
}

Session::Session(Settings settings) : impl_(std::make_unique<Impl>(std::move(settings))) {}

Session::~Session() = default;

const Settings& Session::settings() const noexcept {
    return impl_->settings;
}

std::expected<ApiAnswer, std::string> Session::ask(const std::string& server,
                                                   const ApiRequest& request) {
    auto answer = impl_->exchange(server, request);
    if (!answer) {
        return std::unexpected(answer.error().detail);
    }
    return std::move(*answer);
}

std::expected<ApiAnswer, ExitCode> Session::send(const ApiRequest& request) {
    if (settings().curl) {
        print_curl(settings(), request);
        return std::unexpected(ExitCode::ok);
    }
    ExitCode worst = ExitCode::unreachable;
    for (const std::string& server : settings().servers) {
        const auto answer = impl_->exchange(server, request);
        if (!answer) {
            fmt::print(stderr, "concordat: {}: {}\n", server, answer.error().detail);
            if (answer.error().effect == TransportError::Effect::unknown &&
                request.method != "GET") {
                worst = ExitCode::outcome_unknown;
                if (!request.repeatable) {
                    break;
                }
            }
            continue;
        }
        if (answer->status < 400) {
            return *answer;
        }
        fmt::print(stderr, "concordat: {}: {}\n", server, describe_problem(*answer));
        const ExitCode code = exit_code_for(answer->status);
        const bool next_may_help =
            answer->status == 503 || (answer->status == 504 && request.repeatable);
        if (!next_may_help) {
            return std::unexpected(code);
        }
        worst = worst == ExitCode::outcome_unknown ? worst : code;
    }
    return std::unexpected(worst);
}

} // namespace concordat::cli
