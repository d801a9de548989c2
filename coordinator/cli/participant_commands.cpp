#include "coordinator/cli/commands.hpp"
#include "coordinator/cli/documents.hpp"
#include "participant-sdk/src/transport/uri.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>

namespace concordat::cli {
namespace {

std::string path_of(const std::string& name) {
    return "/v1/participants/" + transport::percent_encode(name);
}

void add_set(CommandLine& line, CLI::App& group) {
    struct Arguments {
        std::string name;
        ParticipantArguments definition;
    };
    auto arguments = std::make_shared<Arguments>();
    CLI::App& command = *group.add_subcommand("set", "Register a participant, or change it");
    command.add_option("NAME", arguments->name)->required();
    command.add_option("--url", arguments->definition.base_url, "Base URL of its contract")
        ->required();
    command.add_option("--tls-name", arguments->definition.tls_name, "Expected certificate name");
    command.add_option("--call-timeout", arguments->definition.call_timeout, "E.g. 10s");
    command.add_option("--max-concurrent-calls", arguments->definition.max_concurrent_calls,
                       "Calls in flight at a time");
    command.callback([&line, arguments] {
        line.action = [arguments](Session& session) {
            const auto answer = session.send({.method = "PUT",
                                              .target = path_of(arguments->name),
                                              .body = participant_body(arguments->definition)});
            if (!answer) {
                return answer.error();
            }
            print_participants(answer->body, session.settings().json);
            return ExitCode::ok;
        };
    });
}

void add_remove(CommandLine& line, CLI::App& group) {
    struct Arguments {
        std::string name;
        Consent consent;
    };
    auto arguments = std::make_shared<Arguments>();
    CLI::App& command = *group.add_subcommand("remove", "Remove a participant's registration");
    command.add_option("NAME", arguments->name)->required();
    add_consent(command, arguments->consent);
    command.callback([&line, arguments] {
        line.action = [arguments](Session& session) {
            if (auto missing = missing_consent(arguments->consent, "removes " + arguments->name)) {
                return *missing;
            }
            const auto answer =
                session.send({.method = "DELETE",
                              .target = path_of(arguments->name) + "?reason=" +
                                        transport::percent_encode(arguments->consent.reason),
                              .repeatable = false});
            if (!answer) {
                return answer.error();
            }
            fmt::print(stderr, "concordat: {} is removed\n", arguments->name);
            return ExitCode::ok;
        };
    });
}

} // namespace

void add_participant_commands(CommandLine& line) {
    CLI::App& group = *line.parser.add_subcommand("participant", "Registered participants");
    group.require_subcommand(1);
    group.add_subcommand("list", "List them")->callback([&line] {
        line.action = [](Session& session) {
            const auto answer = session.send({.target = "/v1/participants"});
            if (!answer) {
                return answer.error();
            }
            print_participants(answer->body, session.settings().json);
            return ExitCode::ok;
        };
    });
    add_set(line, group);
    add_remove(line, group);
}

} // namespace concordat::cli
