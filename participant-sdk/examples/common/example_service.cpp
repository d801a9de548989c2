#include "participant-sdk/examples/common/example_service.hpp"

#include <concordat/participant.hpp>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

namespace example {

namespace {

std::string read_token(const std::string& file) {
    std::string token;
    if (!file.empty()) {
        std::ifstream(file) >> token;
    }
    return token;
}

void say(const Options& options, const std::string& text) {
    fmt::print("{}: {}\n", options.name, text);
    std::fflush(stdout);
}

// Until the coordinator has taken it, nobody can name this service in a transaction.
void register_self(const Options& options, const std::string& url,
                   const std::atomic<bool>& ending) {
    const auto name = concordat::ParticipantName::parse(options.name);
    concordat::ClientOptions patient = client_options(options);
    patient.deadline = std::chrono::seconds(2);
    concordat::Client client(patient);
    while (name && !ending) {
        const auto registered = client.register_participant(*name, {.base_url = url});
        if (registered) {
            say(options, "registered as " + url);
            return;
        }
        if (!registered.error().retryable) {
            say(options, "cannot register: " + registered.error().detail);
            return;
        }
    }
}

bool split_listener(const std::string& listen, concordat::ParticipantServerOptions& options) {
    const std::size_t colon = listen.rfind(':');
    if (colon == std::string::npos) {
        return false;
    }
    options.address = listen.substr(0, colon);
    const char* const end = listen.data() + listen.size();
    const auto parsed = std::from_chars(listen.data() + colon + 1, end, options.port);
    return parsed.ec == std::errc{} && parsed.ptr == end;
}

sigset_t block_end_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    return signals;
}

} // namespace

void read_options(int argc, char** argv, const std::string& description, Options& options,
                  std::vector<std::pair<std::string, std::string*>> more) {
    CLI::App app(description);
    app.add_option("--listen", options.listen, "address:port")->envname("SERVICE_LISTEN");
    app.add_option("--database", options.database, "PostgreSQL URL")
        ->envname("SERVICE_DATABASE")
        ->required();
    app.add_option("--coordinator", options.coordinators, "base URL; several, or comma-separated")
        ->envname("SERVICE_COORDINATORS")
        ->delimiter(',')
        ->required();
    app.add_option("--name", options.name, "participant name")->envname("SERVICE_NAME");
    app.add_option("--advertise", options.advertise, "base URL seen by others")
        ->envname("SERVICE_ADVERTISE");
    app.add_flag("--register,!--no-register", options.register_self, "register at the coordinator");
    app.add_option("--token-file", options.token_file, "bearer token for the coordinator")
        ->envname("SERVICE_TOKEN_FILE");
    app.add_option("--workers", options.workers, "branches that are worked on at the same time")
        ->check(CLI::Range(1, 128));
    std::int64_t interval = options.recovery_interval.count();
    std::int64_t grace = options.recovery_grace.count();
    app.add_option("--recovery-interval-ms", interval, "between looks at branches in doubt")
        ->envname("SERVICE_RECOVERY_INTERVAL_MS");
    app.add_option("--recovery-grace-ms", grace, "age at which a branch in doubt is inquired about")
        ->envname("SERVICE_RECOVERY_GRACE_MS");
    for (const auto& [flag, value] : more) {
        app.add_option(flag, *value, "default " + *value);
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& end) {
        std::exit(app.exit(end));
    }
    options.recovery_interval = std::chrono::milliseconds(interval);
    options.recovery_grace = std::chrono::milliseconds(grace);
}

concordat::ClientOptions client_options(const Options& options) {
    concordat::ClientOptions client;
    client.coordinators = options.coordinators;
    client.bearer_token = read_token(options.token_file);
    return client;
}

int run(const Options& options, const Service& service) {
    const sigset_t signals = block_end_signals(); // before any thread exists: all inherit the mask
    const auto fail = [&options](const std::string& why) {
        fmt::print(stderr, "{}: {}\n", options.name, why);
        return 1;
    };
    if (auto applied = concordat::apply_participant_schema(options.database); !applied) {
        return fail(applied.error().detail);
    }
    try {
        in_database(options.database,
                    [&](pqxx::work& transaction) { return transaction.exec(service.schema); });
    } catch (const std::exception& error) {
        return fail(error.what());
    }
    auto resource = concordat::PostgresResource::open({.url = options.database,
                                                       .max_connections = 2 * options.workers + 2,
                                                       .after_commit = service.after_commit},
                                                      service.work);
    if (!resource) {
        return fail(resource.error().detail);
    }
    concordat::ParticipantOptions participant_options;
    participant_options.workers = options.workers;
    participant_options.recovery.interval = options.recovery_interval;
    participant_options.recovery.grace = options.recovery_grace;
    participant_options.recovery.coordinators = options.coordinators;
    participant_options.recovery.bearer_token = read_token(options.token_file);
    participant_options.on_alarm = [&options](const concordat::Alarm& alarm) {
        say(options, fmt::format("ALARM {}: {}", name_of(alarm.kind), alarm.detail));
    };
    concordat::Participant participant(*resource, participant_options);

    concordat::ParticipantServerOptions server_options;
    if (!split_listener(options.listen, server_options)) {
        return fail("--listen must be address:port");
    }
    server_options.service = service.route;
    concordat::ParticipantServer server(participant, server_options);
    if (auto started = server.start(); !started) {
        return fail(started.error());
    }
    const std::string own_url = fmt::format("http://{}:{}", server_options.address, server.port());
    say(options, "listening on " + own_url);

    std::atomic<bool> ending = false;
    std::jthread registration;
    if (options.register_self) {
        registration =
            std::jthread([&, url = options.advertise.empty() ? own_url : options.advertise] {
                register_self(options, url, ending);
            });
    }
    int signal = 0;
    sigwait(&signals, &signal);
    ending = true;
    server.stop();
    participant.stop();
    return 0;
}

concordat::HttpResponse answer(int status, const Json& body) {
    return {.status = status, .headers = {}, .body = body.dump()};
}

std::string after(std::string_view target, std::string_view prefix) {
    target = target.substr(0, target.find('?'));
    return target.starts_with(prefix) ? std::string(target.substr(prefix.size())) : std::string{};
}

} // namespace example
