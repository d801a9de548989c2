// `concordat outbox …`: what a relay publishes, what it holds back, and what to do about that. It
// speaks to concordat-relay's HTTP endpoint; every instance on a database answers for all of them.

#include "coordinator/cli/commands.hpp"
#include "coordinator/cli/outbox_documents.hpp"
#include "participant-sdk/src/wire/hex.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <array>
#include <memory>

namespace concordat::cli {
namespace {

/// The relays instead of the coordinators. The coordinators' token is none of their business.
Settings relay_settings(Settings settings) {
    settings.servers = std::move(settings.relays);
    settings.token_file.clear();
    return settings;
}

/// Makes `deed` the action of a command, with a session at the relays.
template <class Deed>
void on_relay(CommandLine& line, CLI::App& command, Deed deed) {
    command.callback([&line, deed] {
        line.action = [deed](Session& coordinators) {
            Session relays(relay_settings(coordinators.settings()));
            return deed(relays);
        };
    });
}

/// "user@host", for the relay's log.
std::string who_am_i() {
    std::array<char, 256> host{};
    ::gethostname(host.data(), host.size() - 1);
    const passwd* user = ::getpwuid(::geteuid());
    return fmt::format("{}@{}", user != nullptr ? user->pw_name : std::to_string(::geteuid()),
                       host.data());
}

struct Page {
    std::int64_t after = 0;
    int limit = 100;
};

void add_page(CLI::App& command, Page& page) {
    command.add_option("--after", page.after, "Where the previous page ended")
        ->check(CLI::NonNegativeNumber);
    command.add_option("--limit", page.limit, "Entries on the page, 1 to 1000")
        ->check(CLI::Range(1, 1000));
}

using Print = void (*)(const std::string&, int, bool);

ExitCode list(Session& session, const char* target, const Page& page, Print print) {
    const auto answer = session.send(
        {.target = fmt::format("{}?after={}&limit={}", target, page.after, page.limit)});
    if (!answer) {
        return answer.error();
    }
    print(answer->body, page.limit, session.settings().json);
    return ExitCode::ok;
}

ExitCode show_status(Session& session) {
    const auto status = session.send({.target = "/v1/outbox"});
    if (!status) {
        return status.error();
    }
    const auto leases = session.send({.target = "/v1/outbox/leases"});
    if (!leases && leases.error() != ExitCode::unhealthy) {
        return leases.error();
    }
    // Without its database a relay still says what troubles it.
    print_outbox(status->body, leases ? leases->body : std::string(), session.settings().json);
    return leases ? ExitCode::ok : leases.error();
}

ExitCode change(Session& session, const char* target, const OutboxEntry& entry,
                const std::string& reason, const char* done) {
    // A repetition of a change finds nothing left to do, which reads like a wrong key: ask once.
    const auto answer = session.send({.method = "POST",
                                      .target = target,
                                      .body = change_body(entry, who_am_i(), reason),
                                      .repeatable = false});
    if (!answer) {
        return answer.error();
    }
    fmt::print(stderr, "concordat: {}\n", done);
    return ExitCode::ok;
}

/// --topic with --key or --key-hex.
struct KeyArguments {
    std::string topic;
    std::string key;
    std::string key_hex;
};

CLI::Option* add_key(CLI::App& command, KeyArguments& arguments) {
    CLI::Option* topic = command.add_option("--topic", arguments.topic, "Topic of the parked key");
    CLI::Option* key = command.add_option("--key", arguments.key, "The parked key");
    CLI::Option* hex = command.add_option("--key-hex", arguments.key_hex,
                                          "The parked key in hexadecimal digits, after \\x");
    hex->excludes(key);
    key->needs(topic);
    hex->needs(topic);
    return topic;
}

/// The entry; nothing, with a sentence on stderr, when it is incomplete.
std::optional<OutboxEntry> entry_of(const CLI::App& command, const KeyArguments& arguments) {
    const bool hex = command.count("--key-hex") > 0;
    if (command.count("--topic") == 0 || (!hex && command.count("--key") == 0)) {
        fmt::print(stderr, "concordat: --topic with --key or --key-hex is needed\n");
        return std::nullopt;
    }
    const auto bytes = hex ? wire::from_hex(arguments.key_hex) : std::optional(arguments.key);
    if (!bytes) {
        fmt::print(stderr, "concordat: --key-hex {}: is not hexadecimal\n", arguments.key_hex);
        return std::nullopt;
    }
    return OutboxEntry{.topic = arguments.topic, .key = *bytes, .id = std::nullopt};
}

void add_replay(CommandLine& line, CLI::App& group) {
    struct Arguments {
        KeyArguments key;
        std::optional<std::int64_t> dead;
        std::string reason;
    };
    auto arguments = std::make_shared<Arguments>();
    CLI::App& command = *group.add_subcommand(
        "replay", "Let a parked key go on, refused row first; or publish a dead row after all");
    CLI::Option* topic = add_key(command, arguments->key);
    command.add_option("--dead", arguments->dead, "Id of the dead row")->excludes(topic);
    command.add_option("--reason", arguments->reason, "Why, for the relay's log")->required();
    on_relay(line, command, [arguments, &command](Session& session) {
        if (arguments->dead) {
            return change(session, "/v1/outbox/dead/replay",
                          {.topic = {}, .key = {}, .id = arguments->dead}, arguments->reason,
                          "the row is in the outbox again, at the end of its key");
        }
        const auto entry = entry_of(command, arguments->key);
        return entry ? change(session, "/v1/outbox/parked/replay", *entry, arguments->reason,
                              "the key goes on, with the refused row first")
                     : ExitCode::usage;
    });
}

void add_skip(CommandLine& line, CLI::App& group) {
    struct Arguments {
        KeyArguments key;
        Consent consent;
    };
    auto arguments = std::make_shared<Arguments>();
    CLI::App& command = *group.add_subcommand(
        "skip", "Let a parked key go on without the refused row, which becomes a dead row");
    add_key(command, arguments->key);
    add_consent(command, arguments->consent);
    on_relay(line, command, [arguments, &command](Session& session) {
        const auto entry = entry_of(command, arguments->key);
        if (!entry) {
            return ExitCode::usage;
        }
        if (auto missing = missing_consent(arguments->consent,
                                           "lets later rows of the key pass the refused one")) {
            return *missing;
        }
        return change(session, "/v1/outbox/parked/skip", *entry, arguments->consent.reason,
                      "the key goes on; the refused row is a dead row now");
    });
}

void add_dead(CommandLine& line, CLI::App& group) {
    auto page = std::make_shared<Page>();
    CLI::App& dead =
        *group.add_subcommand("dead", "Rows that were taken out of the way: list them");
    add_page(dead, *page);

    auto shown = std::make_shared<std::int64_t>();
    CLI::App& show = *dead.add_subcommand("show", "Show one with its payload");
    show.add_option("ID", *shown)->required();
    on_relay(line, show, [shown](Session& session) {
        const auto answer = session.send({.target = fmt::format("/v1/outbox/dead/{}", *shown)});
        if (!answer) {
            return answer.error();
        }
        print_dead_row(answer->body, session.settings().json);
        return ExitCode::ok;
    });

    struct Arguments {
        std::int64_t id = 0;
        Consent consent;
    };
    auto dropped = std::make_shared<Arguments>();
    CLI::App& drop = *dead.add_subcommand("drop", "Give one up: it will never be published");
    drop.add_option("ID", dropped->id)->required();
    add_consent(drop, dropped->consent);
    on_relay(line, drop, [dropped](Session& session) {
        if (auto missing = missing_consent(
                dropped->consent, fmt::format("deletes dead row {} for ever", dropped->id))) {
            return *missing;
        }
        return change(session, "/v1/outbox/dead/drop", {.topic = {}, .key = {}, .id = dropped->id},
                      dropped->consent.reason, "the row is gone");
    });

    // A group's callback runs after that of its chosen subcommand, which must prevail.
    dead.callback([&line, &dead, page] {
        if (dead.get_subcommands().empty()) {
            line.action = [page](Session& coordinators) {
                Session relays(relay_settings(coordinators.settings()));
                return list(relays, "/v1/outbox/dead", *page, print_dead);
            };
        }
    });
}

} // namespace

void add_outbox_commands(CommandLine& line) {
    CLI::App& group =
        *line.parser.add_subcommand("outbox", "The outbox of one database, asked at --relay");
    group.require_subcommand(1);
    on_relay(line, *group.add_subcommand("status", "Show backlog, lag, rate, leases and troubles"),
             show_status);
    auto page = std::make_shared<Page>();
    CLI::App& parked = *group.add_subcommand("parked", "List keys that wait for an operator");
    add_page(parked, *page);
    on_relay(line, parked, [page](Session& session) {
        return list(session, "/v1/outbox/parked", *page, print_parked);
    });
    add_replay(line, group);
    add_skip(line, group);
    add_dead(line, group);
}

} // namespace concordat::cli
