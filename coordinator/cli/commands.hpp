#pragma once

// The commands of `concordat`. Each group adds its subcommands to the parser; the chosen one leaves
// an action behind, which main runs when parsing succeeded.
//
// Threading: one thread. Errors: exit codes; data on stdout, talk on stderr.

#include "coordinator/cli/exit_code.hpp"
#include "coordinator/cli/session.hpp"

#include <CLI/App.hpp>

#include <functional>
#include <optional>
#include <string>

namespace concordat::cli {

struct CommandLine {
    CLI::App& parser;
    Settings settings;
    std::function<ExitCode(Session&)> action; ///< of the chosen command
};

void add_transaction_commands(CommandLine& line);
void add_participant_commands(CommandLine& line);
void add_cluster_commands(CommandLine& line);
void add_outbox_commands(CommandLine& line);
void add_inbox_commands(CommandLine& line);
void add_selftest_command(CommandLine& line);
void add_completion_command(CommandLine& line);

/// --yes and --reason of dangerous commands.
struct Consent {
    bool yes = false;
    std::string reason;
};
void add_consent(CLI::App& command, Consent& consent);
/// Talks and yields ExitCode::usage when --yes is missing.
[[nodiscard]] std::optional<ExitCode> missing_consent(const Consent& consent,
                                                      const std::string& deed);

} // namespace concordat::cli
