#include "coordinator/cli/commands.hpp"
#include "coordinator/cli/documents.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdint>
#include <memory>

namespace concordat::cli {
namespace {

ExitCode show_status(Session& session) {
    const auto answer = session.send({.target = "/v1/cluster"});
    if (!answer) {
        return answer.error();
    }
    print_cluster(answer->body, session.settings().json);
    const auto facts = cluster_facts(answer->body);
    if (!facts || !facts->has_leader) {
        fmt::print(stderr, "concordat: {} knows no leader\n", answer->server);
        return ExitCode::unhealthy;
    }
    return ExitCode::ok;
}

void add_transfer(CommandLine& line, CLI::App& group) {
    struct Arguments {
        std::optional<std::uint64_t> to;
        Consent consent;
    };
    auto arguments = std::make_shared<Arguments>();
    CLI::App& command = *group.add_subcommand("transfer", "Hand leadership to another node");
    command.add_option("--to", arguments->to, "Its id; the most advanced node if absent");
    add_consent(command, arguments->consent);
    command.callback([&line, arguments] {
        line.action = [arguments](Session& session) {
            if (auto missing = missing_consent(arguments->consent, "moves leadership")) {
                return *missing;
            }
            std::map<std::string, std::string> more;
            if (arguments->to) {
                more.emplace("to", std::to_string(*arguments->to));
            }
            const auto answer = session.send({.method = "POST",
                                              .target = "/v1/cluster/transfer",
                                              .body = reason_body(arguments->consent.reason, more),
                                              .repeatable = false});
            if (!answer) {
                return answer.error();
            }
            fmt::print(stderr, "concordat: leadership is being handed over\n");
            return ExitCode::ok;
        };
    });
}

void add_drain(CommandLine& line) {
    auto consent = std::make_shared<Consent>();
    CLI::App& group = *line.parser.add_subcommand("node", "One node");
    group.require_subcommand(1);
    CLI::App& command = *group.add_subcommand(
        "drain", "Make the node at --server not ready and hand its leadership over");
    add_consent(command, *consent);
    command.callback([&line, consent] {
        line.action = [consent](Session& session) {
            if (session.settings().servers.size() != 1) {
                fmt::print(stderr, "concordat: node drain needs exactly one --server\n");
                return ExitCode::usage;
            }
            if (auto missing = missing_consent(
                    *consent, "takes " + session.settings().servers.front() + " out of service")) {
                return *missing;
            }
            const auto answer = session.send({.method = "POST",
                                              .target = "/v1/node/drain",
                                              .body = reason_body(consent->reason)});
            if (!answer) {
                return answer.error();
            }
            fmt::print(stderr, "concordat: {} is draining\n", answer->server);
            return ExitCode::ok;
        };
    });
}

} // namespace

void add_consent(CLI::App& command, Consent& consent) {
    command.add_flag("--yes", consent.yes, "Do it");
    command.add_option("--reason", consent.reason, "Why, for the audit trail")->required();
}

std::optional<ExitCode> missing_consent(const Consent& consent, const std::string& deed) {
    if (consent.reason.empty()) {
        fmt::print(stderr, "concordat: --reason must not be empty\n");
        return ExitCode::usage;
    }
    if (!consent.yes) {
        fmt::print(stderr, "concordat: this {}; repeat with --yes\n", deed);
        return ExitCode::usage;
    }
    return std::nullopt;
}

void add_cluster_commands(CommandLine& line) {
    CLI::App& group = *line.parser.add_subcommand("cluster", "The coordinator cluster");
    group.require_subcommand(1);
    group.add_subcommand("status", "Show nodes, leader and log positions")->callback([&line] {
        line.action = show_status;
    });
    add_transfer(line, group);
    add_drain(line);
}

} // namespace concordat::cli
