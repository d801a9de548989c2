// A participant whose work is written in the payload, so that a test can make every trap happen:
//   {"steps": ["SQL", …], "vote": "yes"|"no"|"read_only"}
// A step {"swallow": "SQL"} drops the error of its statement, {"throw": "text"} and
// {"throw_bytes": [numbers]} throw. A step {"publish": {"topic", "key", "payload", "type",
// "headers", "event_id"}} goes through the outbox; all but the topic may be missing, a text may be
// {"bytes": [numbers]} or {"size": N}, headers are pairs. It throws what publish() says. In the
// reservation style `confirm` and `release` hold the steps of the second phase.

#include <concordat/outbox.hpp>
#include <concordat/participant.hpp>
#include <concordat/postgres.hpp>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <csignal>
#include <cstdio>

namespace {

using Json = nlohmann::json;

std::string text_of(const Json& value) {
    if (value.is_string()) {
        return value.get<std::string>();
    }
    if (value.contains("size")) {
        return std::string(value["size"].get<std::size_t>(), 'x');
    }
    const auto bytes = value.at("bytes").get<std::vector<unsigned char>>();
    return {bytes.begin(), bytes.end()};
}

void publish(const Json& step, concordat::PostgresBranch& branch) {
    concordat::outbox::Message message;
    message.topic = text_of(step.at("topic"));
    if (step.contains("key")) {
        message.key = text_of(step["key"]);
    }
    if (step.contains("payload")) {
        message.payload = text_of(step["payload"]);
    }
    message.type = text_of(step.value("type", Json("")));
    for (const Json& header : step.value("headers", Json::array())) {
        message.headers.emplace_back(text_of(header.at(0)), text_of(header.at(1)));
    }
    message.event_id = step.value("event_id", "");
    const auto published = concordat::outbox::publish(branch.transaction(), message);
    if (!published) {
        const bool refused =
            published.error().kind == concordat::outbox::PublishError::Kind::invalid_message;
        throw std::runtime_error((refused ? "invalid: " : "database: ") + published.error().detail);
    }
    fmt::print("published {}\n", *published);
}

void run_steps(const Json& payload, const char* name, concordat::PostgresBranch& branch) {
    for (const Json& step : payload.value(name, Json::array())) {
        if (step.is_string()) {
            branch.transaction().exec(step.get<std::string>());
        } else if (step.contains("publish")) {
            publish(step["publish"], branch);
        } else if (step.contains("throw_bytes")) {
            const auto bytes = step["throw_bytes"].get<std::vector<unsigned char>>();
            throw std::runtime_error(std::string(bytes.begin(), bytes.end()));
        } else if (step.contains("throw")) {
            throw std::runtime_error(step["throw"].get<std::string>());
        } else {
            try {
                branch.transaction().exec(step.at("swallow").get<std::string>());
            } catch (const std::exception& error) {
                fmt::print("swallowed: {}\n", error.what());
            }
        }
    }
}

concordat::VoteCast work(concordat::PostgresBranch& branch) {
    const Json payload = Json::parse(branch.payload());
    run_steps(payload, "steps", branch);
    const auto vote = payload.value("vote", "yes");
    return vote == "no"          ? concordat::vote_no("told to")
           : vote == "read_only" ? concordat::vote_read_only()
                                 : concordat::vote_yes();
}

struct Arguments {
    std::string database;
    std::string style = "prepared";
    std::string isolation = "read_committed";
    std::string after_commit; ///< wake, throw, or nothing
    std::uint16_t port = 0;
    std::int64_t interval_ms = 100'000;
    std::int64_t grace_ms = 100'000;
    std::int64_t alarm_age_ms = 100'000;
    std::int64_t lock_timeout_ms = 5000;
    std::size_t connections = 18;
    std::vector<std::string> coordinators;
};

Arguments read_arguments(int argc, char** argv) {
    Arguments arguments;
    CLI::App app("A participant whose work is written in the payload.");
    app.add_option("--database", arguments.database)->required();
    app.add_option("--style", arguments.style);
    app.add_option("--isolation", arguments.isolation);
    app.add_option("--after-commit", arguments.after_commit);
    app.add_option("--port", arguments.port);
    app.add_option("--interval-ms", arguments.interval_ms);
    app.add_option("--grace-ms", arguments.grace_ms);
    app.add_option("--alarm-age-ms", arguments.alarm_age_ms);
    app.add_option("--lock-timeout-ms", arguments.lock_timeout_ms);
    app.add_option("--connections", arguments.connections);
    app.add_option("--coordinator", arguments.coordinators);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& end) {
        std::exit(app.exit(end));
    }
    return arguments;
}

std::expected<std::shared_ptr<concordat::Resource>, concordat::PostgresError>
open_resource(const Arguments& arguments) {
    concordat::PostgresOptions options{.url = arguments.database};
    options.max_connections = arguments.connections;
    options.lock_timeout = std::chrono::milliseconds(arguments.lock_timeout_ms);
    if (arguments.isolation == "serializable") {
        options.isolation = concordat::Isolation::serializable;
    }
    if (arguments.after_commit == "wake") {
        options.after_commit = concordat::outbox::wake;
    } else if (arguments.after_commit == "throw") {
        options.after_commit = [](pqxx::connection_base&) {
            fmt::print("after commit\n");
            throw std::runtime_error("told to");
        };
    }
    if (arguments.style == "reservation") {
        return concordat::ReservationResource::open(
            options, {.reserve = work,
                      .confirm =
                          [](concordat::PostgresBranch& branch) {
                              run_steps(Json::parse(branch.payload()), "confirm", branch);
                          },
                      .release =
                          [](concordat::PostgresBranch& branch) {
                              run_steps(Json::parse(branch.payload()), "release", branch);
                          }});
    }
    return concordat::PostgresResource::open(options, work);
}

} // namespace

int main(int argc, char** argv) {
    const Arguments arguments = read_arguments(argc, argv);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::setvbuf(stdout, nullptr, _IOLBF, 0);

    if (auto applied = concordat::apply_participant_schema(arguments.database); !applied) {
        fmt::print(stderr, "{}\n", applied.error().detail);
        return 1;
    }
    auto resource = open_resource(arguments);
    if (!resource) {
        fmt::print(stderr, "{}\n", resource.error().detail);
        return 1;
    }
    concordat::ParticipantOptions options;
    options.recovery.interval = std::chrono::milliseconds(arguments.interval_ms);
    options.recovery.grace = std::chrono::milliseconds(arguments.grace_ms);
    options.recovery.alarm_age = std::chrono::milliseconds(arguments.alarm_age_ms);
    options.recovery.call_timeout = std::chrono::milliseconds(500);
    options.recovery.coordinators = arguments.coordinators;
    options.on_alarm = [](const concordat::Alarm& alarm) {
        fmt::print("alarm {}: {}\n", name_of(alarm.kind), alarm.detail);
    };
    concordat::Participant participant(*resource, options);
    concordat::ParticipantServerOptions server_options;
    server_options.port = arguments.port;
    concordat::ParticipantServer server(participant, server_options);
    if (auto started = server.start(); !started) {
        fmt::print(stderr, "{}\n", started.error());
        return 1;
    }
    fmt::print("listening {}\n", server.port());
    int signal = 0;
    sigwait(&signals, &signal);
    server.stop();
    participant.stop();
    return 0;
}
