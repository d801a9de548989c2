// `concordat completion bash|zsh`: a script made from the parser itself, so that it cannot lag
// behind the commands.

#include "coordinator/cli/commands.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>

namespace concordat::cli {
namespace {

/// Names of subcommands and long options of one command, separated by spaces.
std::string words_of(const CLI::App& command) {
    std::string words;
    for (const CLI::App* child : command.get_subcommands({})) {
        words += child->get_name() + " ";
    }
    for (const CLI::Option* option : command.get_options()) {
        for (const std::string& name : option->get_lnames()) {
            words += "--" + name + " ";
        }
    }
    return words;
}

/// One `case` branch for each command: the words that may follow it.
void append_cases(std::string& script, const CLI::App& command, const std::string& path) {
    script += fmt::format("    '{}') words='{}' ;;\n", path, words_of(command));
    for (const CLI::App* child : command.get_subcommands({})) {
        append_cases(script, *child,
                     path.empty() ? child->get_name() : path + " " + child->get_name());
    }
}

std::string script_for(const CLI::App& root, const std::string& shell) {
    std::string script;
    if (shell == "zsh") {
        script += "autoload -U +X bashcompinit && bashcompinit\n";
    }
    script += "_concordat() {\n"
              "  local chain='' word words=''\n"
              "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
              "    case \"$word\" in -*) ;; *) chain=\"${chain:+$chain }$word\" ;; esac\n"
              "  done\n"
              "  while :; do\n"
              "    case \"$chain\" in\n";
    append_cases(script, root, "");
    script += "    esac\n"
              "    [ -n \"$words\" ] || [ -z \"$chain\" ] && break\n"
              "    case \"$chain\" in *' '*) chain=\"${chain% *}\" ;; *) chain='' ;; esac\n"
              "  done\n"
              "  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
              "}\n"
              "complete -F _concordat concordat\n";
    return script;
}

} // namespace

void add_completion_command(CommandLine& line) {
    auto shell = std::make_shared<std::string>();
    CLI::App& command = *line.parser.add_subcommand("completion", "Print a completion script");
    command.add_option("SHELL", *shell, "bash or zsh")
        ->required()
        ->check(CLI::IsMember({"bash", "zsh"}));
    command.callback([&line, shell] {
        line.action = [&line, shell](Session&) {
            fmt::print("{}", script_for(line.parser, *shell));
            return ExitCode::ok;
        };
    });
}

} // namespace concordat::cli
