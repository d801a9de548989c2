// concordat: the operator's command line. It speaks only the public HTTP APIs of coordinators and
// relays; the inbox, which has no server, it reads in its database.

#include "coordinator/cli/commands.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <csignal>
#include <exception>

namespace {

using concordat::cli::CommandLine;
using concordat::cli::ExitCode;

void add_global_options(CommandLine& line) {
    CLI::App& parser = line.parser;
    parser
        .add_option("-s,--server", line.settings.servers,
                    "Base URL of a coordinator node; repeat to name others to fall back to")
        ->envname("CONCORDAT_SERVER")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->default_val(std::vector<std::string>{"http://127.0.0.1:8700"});
    parser
        .add_option("--relay", line.settings.relays,
                    "Base URL of a concordat-relay; repeat to name others to fall back to")
        ->envname("CONCORDAT_RELAY")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->default_val(std::vector<std::string>{"http://127.0.0.1:9464"});
    parser
        .add_option_function<std::string>(
            "-o,--output",
            [&line](const std::string& form) { line.settings.json = form == "json"; },
            "table or json")
        ->check(CLI::IsMember({"table", "json"}));
    parser.add_option("--token-file", line.settings.token_file, "File with a bearer token")
        ->envname("CONCORDAT_TOKEN_FILE");
    parser.add_option("--timeout", line.settings.timeout_seconds, "Seconds for one request")
        ->check(CLI::Range(0.1, 3600.0));
    parser.add_flag("--curl", line.settings.curl, "Print the request as a curl command instead");
}

int run(int argc, char** argv) {
    CLI::App parser("Operates a Concordat cluster.", "concordat");
    parser.set_version_flag("--version", CONCORDAT_VERSION);
    parser.require_subcommand(1);
    parser.fallthrough();
    CommandLine line{parser, {}, {}};
    add_global_options(line);
    concordat::cli::add_transaction_commands(line);
    concordat::cli::add_participant_commands(line);
    concordat::cli::add_cluster_commands(line);
    concordat::cli::add_outbox_commands(line);
    concordat::cli::add_inbox_commands(line);
    concordat::cli::add_selftest_command(line);
    concordat::cli::add_completion_command(line);
    try {
        parser.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        const int code = parser.exit(error);
        return code == 0 ? 0 : static_cast<int>(ExitCode::usage);
    }
    concordat::cli::Session session(line.settings);
    return static_cast<int>(line.action(session));
}

} // namespace

int main(int argc, char** argv) {
    std::signal(SIGPIPE, SIG_IGN);
    try {
        return run(argc, argv);
    } catch (const std::exception& error) {
        fmt::print(stderr, "concordat: {}\n", error.what());
        return static_cast<int>(ExitCode::unhealthy);
    }
}
