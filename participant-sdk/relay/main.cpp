// concordat-relay: forwards the outbox rows of one PostgreSQL database to Kafka.

#include "participant-sdk/relay/engine.hpp"
#include "participant-sdk/relay/event_log.hpp"
#include "participant-sdk/relay/lease_keeper.hpp"
#include "participant-sdk/relay/monitor.hpp"
#include "participant-sdk/relay/options.hpp"
#include "participant-sdk/relay/status_server.hpp"
#include "participant-sdk/relay/telemetry.hpp"
#include "participant-sdk/relay/topic_prober.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <thread>

namespace concordat::relay {
namespace {

constexpr int exit_gave_up = 1;
constexpr int exit_usage = 2;

struct CommandLine {
    std::string config_file;
    bool check = false;
    bool print = false;
    bool reference = false;
    std::vector<OptionSource> flags;
    int exit_code = -1; // 0 and above: stop here
};

CommandLine parse_command_line(int argc, char** argv) {
    CommandLine out;
    CLI::App app{"Forwards the outbox rows of one PostgreSQL database to Kafka."};
    app.add_option("--config", out.config_file, "YAML file");
    app.add_flag("--check-config", out.check, "check the configuration and exit");
    app.add_flag("--print-config", out.print, "print the configuration and exit");
    app.add_flag("--print-reference", out.reference,
                 "print the table of all options as Markdown and exit");
    app.set_version_flag("--version", "concordat-relay " CONCORDAT_VERSION);
    std::map<std::string, std::string> values;
    for (const OptionDescription& option : describe_options()) {
        if (option.name.find("TOPIC") != std::string::npos ||
            option.name.find("NAME") != std::string::npos) {
            continue;
        }
        app.add_option("--" + option.name, values[option.name],
                       fmt::format("{} [{}]", option.text, option.default_value));
    }
    app.allow_extras(); // --kafka.properties.x=y and --policy.topics.t=block; the rest is refused
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        out.exit_code = app.exit(error) == 0 ? 0 : exit_usage;
        return out;
    }
    for (const auto& [name, value] : values) {
        if (app.count("--" + name) > 0) {
            out.flags.push_back({name, value, "flag --" + name});
        }
    }
    for (const std::string& extra : app.remaining()) {
        const auto equals = extra.find('=');
        if (!extra.starts_with("--") || equals == std::string::npos) {
            fmt::print(stderr, "unknown argument '{}'; see --help\n", extra);
            out.exit_code = exit_usage;
            return out;
        }
        const std::string name = extra.substr(2, equals - 2);
        out.flags.push_back({name, extra.substr(equals + 1), "flag --" + name});
    }
    return out;
}

std::expected<LoadedOptions, std::vector<std::string>> gather_options(const CommandLine& line) {
    std::vector<OptionSource> sources;
    if (!line.config_file.empty()) {
        auto file = read_file_options(line.config_file);
        if (!file) {
            return std::unexpected(file.error());
        }
        sources = std::move(*file);
    }
    for (auto& source : read_environment_options(environ)) {
        sources.push_back(std::move(source));
    }
    sources.insert(sources.end(), line.flags.begin(), line.flags.end());
    return load_options(sources);
}

std::string default_instance() {
    std::array<char, 128> host{};
    if (::gethostname(host.data(), host.size() - 1) != 0) {
        return fmt::format("relay-{}", ::getpid());
    }
    return fmt::format("{}-{}", host.data(), ::getpid());
}

std::string quoted_conninfo_value(const std::string& value) {
    std::string out = "'";
    for (const char c : value) {
        if (c == '\'' || c == '\\') {
            out.push_back('\\');
        }
        out.push_back(c);
    }
    return out + "'";
}

std::expected<std::string, std::string> make_conninfo(const Options::Database& options) {
    if (options.password_file.empty()) {
        return options.conninfo;
    }
    std::ifstream file(options.password_file);
    std::string password;
    if (!std::getline(file, password)) {
        return std::unexpected(
            fmt::format("database.password_file {} cannot be read", options.password_file));
    }
    if (options.conninfo.starts_with("postgres")) {
        return std::unexpected("database.password_file needs a database.conninfo of the form "
                               "'host=... dbname=...', not a URI");
    }
    return options.conninfo + " password=" + quoted_conninfo_value(password);
}

std::vector<std::string> session_settings(const Options::Database& options) {
    std::vector<std::string> out{"TimeZone = 'UTC'", "client_encoding = 'UTF8'",
                                 fmt::format("statement_timeout = {}", options.timeout.count())};
    if (!options.schema.empty()) {
        std::string schema = "\"";
        for (const char c : options.schema) {
            schema += c == '"' ? "\"\"" : std::string(1, c);
        }
        out.push_back("search_path = " + schema + "\"");
    }
    return out;
}

// Waits for SIGTERM or SIGINT on a thread of its own; a second one ends the process at once.
class SignalWatch {
public:
    explicit SignalWatch(Engine& engine) : engine_(engine) {
        thread_ = std::thread([this] { watch(); });
    }
    ~SignalWatch() {
        done_ = true;
        ::pthread_kill(thread_.native_handle(), SIGUSR1);
        thread_.join();
    }
    SignalWatch(const SignalWatch&) = delete;
    SignalWatch& operator=(const SignalWatch&) = delete;

    static sigset_t signals() {
        sigset_t set;
        ::sigemptyset(&set);
        for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) {
            ::sigaddset(&set, signal);
        }
        return set;
    }

private:
    void watch() {
        const sigset_t set = signals();
        int received = 0;
        bool stopping = false;
        while (!done_ && ::sigwait(&set, &received) == 0) {
            if (received == SIGUSR1) {
                continue;
            }
            if (stopping) {
                log_event(Severity::error, "stopped_by_second_signal");
                ::_exit(exit_gave_up);
            }
            stopping = true;
            engine_.request_stop();
        }
    }

    Engine& engine_;
    std::atomic<bool> done_{false};
    std::thread thread_;
};

int serve(const Options& options) {
    const auto conninfo = make_conninfo(options.database);
    if (!conninfo) {
        log_event(Severity::error, "configuration", {{"message", conninfo.error()}});
        return exit_usage;
    }
    if (const auto kafka = make_kafka_configuration(options.kafka); !kafka) {
        log_event(Severity::error, "configuration", {{"message", kafka.error()}});
        return exit_usage;
    }
    const std::string instance =
        options.lease.instance.empty() ? default_instance() : options.lease.instance;
    const std::vector<std::string> settings = session_settings(options.database);

    Telemetry telemetry;
    Engine engine(options, instance, *conninfo, settings, telemetry);
    TopicProber topics(options.kafka, [&engine] { engine.wake(); });
    LeaseKeeper leases(options, instance, *conninfo, settings, [&engine] { engine.wake(); });
    engine.attach(leases, topics);
    Monitor monitor(options, *conninfo, settings, engine, telemetry);
    StatusServer http(options, telemetry, leases, monitor);
    if (const auto started = http.start(); !started) {
        log_event(Severity::error, "http", {{"message", started.error()}});
        return exit_usage;
    }
    log_event(Severity::info, "started",
              {{"version", CONCORDAT_VERSION}, {"instance", instance}, {"http_port", http.port()}});
    bool complete = false;
    {
        const SignalWatch watch(engine);
        complete = engine.run();
        leases.stop();
    }
    http.stop();
    log_event(Severity::info, "stopped",
              {{"complete", complete}, {"published", telemetry.rows_published.load()}});
    return complete ? 0 : exit_gave_up;
}

} // namespace
} // namespace concordat::relay

int main(int argc, char** argv) {
    using namespace concordat::relay;
    const CommandLine line = parse_command_line(argc, argv);
    if (line.exit_code >= 0) {
        return line.exit_code;
    }
    if (line.reference) {
        for (const OptionDescription& option : describe_options()) {
            const bool empty = option.default_value.empty();
            fmt::print("| `{}` | {} | {} |\n", option.name,
                       empty ? "" : "`" + option.default_value + "`", option.text);
        }
        return 0;
    }
    const auto loaded = gather_options(line);
    if (!loaded) {
        for (const std::string& complaint : loaded.error()) {
            fmt::print(stderr, "{}\n", complaint);
        }
        return exit_usage;
    }
    if (line.print) {
        fmt::print("{}", print_options(*loaded));
        return 0;
    }
    if (line.check) {
        fmt::print(stderr, "the configuration is valid\n");
        return 0;
    }
    set_up_log(loaded->options.log);
    // Before any thread: they all inherit the mask, and SignalWatch alone receives.
    const sigset_t set = SignalWatch::signals();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    return serve(loaded->options);
}
