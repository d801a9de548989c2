#include "coordinator/cli/commands.hpp"
#include "coordinator/cli/documents.hpp"
#include "participant-sdk/src/transport/uri.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <random>

namespace concordat::cli {
namespace {

/// What a decision, or its absence, means for a script.
ExitCode report(const std::string& body, bool asked_to_wait) {
    const auto facts = transaction_facts(body);
    if (!facts) {
        return ExitCode::ok;
    }
    if (facts->outcome == "committed") {
        return ExitCode::ok;
    }
    if (facts->outcome == "aborted") {
        fmt::print(stderr, "concordat: {} is aborted{}{}\n", facts->xid,
                   facts->detail.empty() ? "" : ": ", facts->detail);
        return ExitCode::refused;
    }
    if (!asked_to_wait) {
        return ExitCode::ok;
    }
    fmt::print(stderr, "concordat: {} is undecided; see concordat txn watch {}\n", facts->xid,
               facts->xid);
    return ExitCode::outcome_unknown;
}

std::string random_key() {
    std::random_device device;
    return fmt::format("cli-{:08x}{:08x}{:08x}{:08x}", device(), device(), device(), device());
}

struct Submit {
    std::string file;
    std::string xid;
    std::string key;
    std::vector<std::string> branches;
    std::vector<std::string> metadata;
    std::string protocol;
    std::string timeout;
    std::optional<unsigned> wait;
    bool async = false;
    bool completion = false;
};

/// "name=value" in two; false with a sentence on stderr otherwise.
bool split(const std::string& text, const char* option, std::string& name, std::string& value) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
        fmt::print(stderr, "concordat: {} {}: is not NAME=VALUE\n", option, text);
        return false;
    }
    name = text.substr(0, equals);
    value = text.substr(equals + 1);
    return true;
}

/// The whole file, or standard input for "-"; nothing with a sentence on stderr.
std::optional<std::string> read_all(const std::string& file) {
    if (file == "-") {
        return std::string(std::istreambuf_iterator<char>(std::cin), {});
    }
    std::ifstream stream(file, std::ios::binary);
    if (!stream) {
        fmt::print(stderr, "concordat: {} cannot be read\n", file);
        return std::nullopt;
    }
    return std::string(std::istreambuf_iterator<char>(stream), {});
}

std::optional<std::string> body_of(const Submit& arguments) {
    if (!arguments.file.empty()) {
        return read_all(arguments.file);
    }
    SubmissionArguments submission;
    submission.protocol = arguments.protocol;
    submission.timeout = arguments.timeout;
    submission.to_completion = arguments.completion;
    for (const std::string& text : arguments.branches) {
        BranchArgument& branch = submission.branches.emplace_back();
        if (!split(text, "--branch", branch.participant, branch.payload)) {
            return std::nullopt;
        }
    }
    for (const std::string& text : arguments.metadata) {
        std::string name;
        std::string value;
        if (!split(text, "--metadata", name, value)) {
            return std::nullopt;
        }
        submission.metadata.insert_or_assign(name, value);
    }
    return submission_body(submission);
}

ExitCode submit(Session& session, const Submit& arguments) {
    auto body = body_of(arguments);
    if (!body || (arguments.file.empty() && arguments.branches.empty())) {
        fmt::print(stderr, "concordat: a FILE or at least one --branch is needed\n");
        return ExitCode::usage;
    }
    ApiRequest request;
    request.method = arguments.xid.empty() ? "POST" : "PUT";
    request.target = arguments.xid.empty()
                         ? "/v1/transactions"
                         : "/v1/transactions/" + transport::percent_encode(arguments.xid);
    request.body = std::move(*body);
    if (arguments.xid.empty()) {
        // So that the next server can be asked when an answer is lost.
        request.headers.emplace_back("Idempotency-Key",
                                     arguments.key.empty() ? random_key() : arguments.key);
    }
    if (arguments.async) {
        request.headers.emplace_back("Prefer", "respond-async");
    } else if (arguments.wait) {
        request.headers.emplace_back("Prefer", fmt::format("wait={}", *arguments.wait));
    }
    const auto answer = session.send(request);
    if (!answer) {
        return answer.error();
    }
    print_transaction(answer->body, session.settings().json);
    return report(answer->body, !arguments.async && answer->status != 201);
}

void add_submit(CommandLine& line, CLI::App& group) {
    auto arguments = std::make_shared<Submit>();
    CLI::App& command = *group.add_subcommand("submit", "Begin a transaction and wait for it");
    command.add_option("FILE", arguments->file, "Request body as JSON; - is standard input");
    auto* branch = command.add_option("--branch", arguments->branches,
                                      "PARTICIPANT=PAYLOAD, the payload as JSON; repeat");
    branch->take_all()->allow_extra_args(false)->excludes("FILE");
    command.add_option("--metadata", arguments->metadata, "NAME=VALUE; repeat")
        ->take_all()
        ->allow_extra_args(false)
        ->excludes("FILE");
    command.add_option("--protocol", arguments->protocol, "2pc or 3pc")
        ->check(CLI::IsMember({"2pc", "3pc"}))
        ->excludes("FILE");
    command
        .add_option("--txn-timeout", arguments->timeout, "Abort when undecided after it, e.g. 30s")
        ->excludes("FILE");
    command.add_option("--xid", arguments->xid,
                       "Transaction id; made by the coordinator if absent");
    command.add_option("--idempotency-key", arguments->key, "A random one if absent");
    command.add_option("--wait", arguments->wait, "Seconds to wait for the decision");
    command.add_flag("--async", arguments->async, "Return when the transaction is durable");
    command.add_flag("--completion", arguments->completion, "Wait for all acknowledgements")
        ->excludes("FILE");
    command.callback([&line, arguments] {
        line.action = [arguments](Session& session) { return submit(session, *arguments); };
    });
}

std::string path_of(const std::string& xid, std::string_view rest = "") {
    return "/v1/transactions/" + transport::percent_encode(xid) + std::string(rest);
}

void add_get(CommandLine& line, CLI::App& group) {
    struct Arguments {
        std::string xid;
        bool stale = false;
    };
    auto arguments = std::make_shared<Arguments>();
    CLI::App& command = *group.add_subcommand("get", "Show a transaction and its timeline");
    command.add_option("XID", arguments->xid)->required();
    command.add_flag("--stale", arguments->stale, "Take the answering node's own state");
    command.callback([&line, arguments] {
        line.action = [arguments](Session& session) {
            const auto answer = session.send(
                {.target = path_of(arguments->xid, arguments->stale ? "?consistency=stale" : "")});
            if (!answer) {
                return answer.error();
            }
            print_transaction(answer->body, session.settings().json);
            return ExitCode::ok;
        };
    });
}

void add_list(CommandLine& line, CLI::App& group) {
    struct Filter {
        const char* option;
        const char* parameter;
        const char* text;
    };
    static constexpr Filter filters[] = {
        {"--state", "state", "active, precommitted, committing, aborting, committed or aborted"},
        {"--participant", "participant", "With a branch at this participant"},
        {"--older-than", "older_than", "Begun longer ago, e.g. 5m"},
        {"--xid-prefix", "xid_prefix", "Xids that begin so"},
        {"--cursor", "cursor", "Where the previous page ended"},
        {"--limit", "limit", "Transactions on the page, 1 to 200"},
    };
    using Parameters = std::vector<std::pair<std::string, std::string>>;
    auto parameters = std::make_shared<Parameters>();
    CLI::App& command = *group.add_subcommand("list", "List transactions");
    for (const Filter& filter : filters) {
        command.add_option_function<std::string>(
            filter.option,
            [parameters, name = filter.parameter](const std::string& value) {
                parameters->emplace_back(name, value);
            },
            filter.text);
    }
    command.add_flag_callback(
        "--in-doubt", [parameters] { parameters->emplace_back("in_doubt", "true"); },
        "Only those in which a participant may be in doubt");
    command.callback([&line, parameters] {
        line.action = [parameters](Session& session) {
            std::string target = "/v1/transactions";
            for (const auto& [name, value] : *parameters) {
                target += target.find('?') == std::string::npos ? '?' : '&';
                target += name + "=" + transport::percent_encode(value);
            }
            const auto answer = session.send({.target = target});
            if (!answer) {
                return answer.error();
            }
            print_transactions(answer->body, session.settings().json);
            return ExitCode::ok;
        };
    });
}

/// Long polls until the transaction is finished; every change is printed.
ExitCode watch(Session& session, const std::string& xid) {
    std::string index;
    while (true) {
        const auto answer = session.send(
            {.target = path_of(xid, index.empty() ? "" : "?wait=30s&wait_index=" + index)});
        if (!answer) {
            return answer.error();
        }
        const auto facts = transaction_facts(answer->body);
        if (!facts) {
            fmt::print(stderr, "concordat: {}: not a transaction\n", answer->server);
            return ExitCode::unhealthy;
        }
        std::string seen = answer->etag;
        std::erase(seen, '"');
        if (seen != index) {
            if (session.settings().json) {
                fmt::print("{}\n", answer->body);
            } else {
                fmt::print("{}  {}  {}\n", facts->xid, facts->state, facts->outcome);
            }
            std::fflush(stdout);
        }
        if (facts->finished()) {
            return report(answer->body, true);
        }
        index = seen;
    }
}

void add_watch(CommandLine& line, CLI::App& group) {
    auto xid = std::make_shared<std::string>();
    CLI::App& command = *group.add_subcommand("watch", "Follow a transaction until it is finished");
    command.add_option("XID", *xid)->required();
    command.callback(
        [&line, xid] { line.action = [xid](Session& session) { return watch(session, *xid); }; });
}

void add_retry(CommandLine& line, CLI::App& group) {
    struct Arguments {
        std::string xid;
        std::string reason;
    };
    auto arguments = std::make_shared<Arguments>();
    CLI::App& command = *group.add_subcommand("retry", "Make every waiting retry due now");
    command.add_option("XID", arguments->xid)->required();
    command.add_option("--reason", arguments->reason, "For the audit trail");
    command.callback([&line, arguments] {
        line.action = [arguments](Session& session) {
            const auto answer = session.send({.method = "POST",
                                              .target = path_of(arguments->xid, "/retry"),
                                              .body = reason_body(arguments->reason)});
            if (!answer) {
                return answer.error();
            }
            fmt::print(stderr, "concordat: {} is being retried\n", arguments->xid);
            return ExitCode::ok;
        };
    });
}

void add_abort(CommandLine& line, CLI::App& group) {
    struct Arguments {
        std::string xid;
        Consent consent;
    };
    auto arguments = std::make_shared<Arguments>();
    CLI::App& command = *group.add_subcommand("abort", "Abort an undecided transaction");
    command.add_option("XID", arguments->xid)->required();
    add_consent(command, arguments->consent);
    command.callback([&line, arguments] {
        line.action = [arguments](Session& session) {
            if (auto missing = missing_consent(arguments->consent, "aborts " + arguments->xid)) {
                return *missing;
            }
            const auto answer = session.send(
                {.method = "POST",
                 .target = path_of(arguments->xid, "/abort"),
                 .body = reason_body(arguments->consent.reason, {{"by_operator", "true"}})});
            if (!answer) {
                return answer.error();
            }
            print_transaction(answer->body, session.settings().json);
            return ExitCode::ok;
        };
    });
}

} // namespace

void add_transaction_commands(CommandLine& line) {
    CLI::App& group = *line.parser.add_subcommand("txn", "Transactions");
    group.require_subcommand(1);
    add_submit(line, group);
    add_get(line, group);
    add_list(line, group);
    add_watch(line, group);
    add_retry(line, group);
    add_abort(line, group);
}

} // namespace concordat::cli
