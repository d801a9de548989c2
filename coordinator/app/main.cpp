// concordatd: one coordinator node.

#include "coordinator/app/configuration.hpp"
#include "coordinator/app/logging.hpp"
#include "coordinator/app/node.hpp"
#include "coordinator/app/service_manager.hpp"
#include "coordinator/app/version.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

extern char** environ;

namespace {

using concordat::app::ConfigurationErrors;
using concordat::app::ConfigurationSources;

struct Flags {
    ConfigurationSources sources;
    bool dev = false;
    bool print_config = false;
    bool check_config = false;
    bool sample_config = false;
    std::vector<std::string> members;
    std::vector<std::string> sets;
};

void define_flags(CLI::App& parser, Flags& flags) {
    parser.add_option("--config", flags.sources.file, "YAML configuration file");
    parser.add_flag("--dev", flags.dev,
                    "A usable single node without a configuration file; its data lives in a "
                    "temporary directory unless --data is given");
    const auto direct = [&](const std::string& name, const std::string& key,
                            const std::string& text) {
        parser.add_option_function<std::string>(
            name,
            [&flags, key](const std::string& value) {
                flags.sources.flags.emplace_back(key, value);
            },
            text);
    };
    direct("--node-id", "node.id", "This node's number");
    direct("--cluster", "node.cluster_name", "Name of the cluster");
    direct("--data", "node.data_directory", "Data directory");
    direct("--listen", "api.listen", "host:port of the REST API; port 0 = chosen by the system");
    direct("--peer-listen", "log.peer_listen", "host:port for the other nodes");
    parser
        .add_option("--member", flags.members,
                    "ID,PEER_HOST:PORT,API_URL of a voting member; repeat for each")
        ->take_all();
    parser.add_option("--set", flags.sets, "section.key=value; repeat")->take_all();
    parser.add_flag_callback(
        "--insecure", [&flags] { flags.sources.flags.emplace_back("api.insecure", "true"); },
        "Allow listeners off loopback without TLS");
    parser.add_flag("--print-config", flags.print_config,
                    "Print the resulting configuration with the source of each value");
    parser.add_flag("--check-config", flags.check_config, "Check the configuration and exit");
    parser.add_flag("--sample-config", flags.sample_config, "Print a commented sample file");
    parser.set_version_flag("--version", std::string(concordat::app::version));
}

bool has_flag(const Flags& flags, std::string_view key) {
    for (const auto& [name, value] : flags.sources.flags) {
        if (name == key) {
            return true;
        }
    }
    return false;
}

int usage_error(const std::vector<std::string>& messages) {
    for (const auto& message : messages) {
        fmt::print(stderr, "concordatd: {}\n", message);
    }
    return 2;
}

/// Turns the flags with a form of their own into settings.
std::vector<std::string> complete(Flags& flags) {
    std::vector<std::string> errors;
    std::string members;
    for (const auto& member : flags.members) {
        members += (members.empty() ? "" : ";") + member;
    }
    if (!members.empty()) {
        flags.sources.flags.emplace_back("node.members", members);
    }
    for (const auto& set : flags.sets) {
        const auto equals = set.find('=');
        if (equals == std::string::npos) {
            errors.push_back(fmt::format("--set {}: is not section.key=value", set));
        } else {
            flags.sources.flags.emplace_back(set.substr(0, equals), set.substr(equals + 1));
        }
    }
    for (char** variable = environ; *variable != nullptr; ++variable) {
        flags.sources.environment.emplace_back(*variable);
    }
    return errors;
}

/// A temporary data directory for --dev; removed at exit by the caller.
std::string make_dev_directory() {
    std::string path = (std::filesystem::temp_directory_path() / "concordat-dev-XXXXXX").string();
    return mkdtemp(path.data()) == nullptr ? std::string{} : path;
}

/// Waits for SIGTERM or SIGINT; the signals are blocked in every thread.
void wait_for_stop_signal(const sigset_t& signals) {
    int signal = 0;
    sigwait(&signals, &signal);
    concordat::app::log_event(concordat::app::LogLevel::info, "stopping",
                              {{"signal", std::to_string(signal)}});
}

int run(const concordat::app::Configuration& configuration, bool dev) {
    namespace app = concordat::app;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);

    app::Node node(configuration);
    if (const auto started = node.start(); !started) {
        app::log_event(app::LogLevel::error, "start_failed", {{"reason", started.error()}});
        return 1;
    }
    app::log_event(
        app::LogLevel::info, "listening",
        {{"api", fmt::format("http://{}:{}", configuration.api_listen.host, node.api_port())},
         {"node", std::to_string(configuration.node.value())},
         {"data", configuration.data_directory},
         {"version", std::string(app::version)}});
    if (dev) {
        fmt::print("concordatd is ready for development on http://{}:{}\n",
                   configuration.api_listen.host, node.api_port());
        std::fflush(stdout);
    }
    app::notify_service_manager("READY=1");
    wait_for_stop_signal(signals);
    app::notify_service_manager("STOPPING=1");
    // A second signal ends the process at once: what is durable stays durable.
    std::atomic<bool> stopped{false};
    std::thread impatience([signals, &stopped] {
        int signal = 0;
        sigwait(&signals, &signal);
        if (!stopped.load()) {
            _exit(1);
        }
    });
    const bool clean = node.stop();
    stopped.store(true);
    pthread_kill(impatience.native_handle(), SIGTERM);
    impatience.join();
    app::log_event(app::LogLevel::info, "stopped", {{"clean", clean ? "true" : "false"}});
    return clean ? 0 : 1;
}

int start(Flags& flags) {
    namespace app = concordat::app;
    std::string dev_directory;
    if (flags.dev && !has_flag(flags, "node.data_directory")) {
        dev_directory = make_dev_directory();
        flags.sources.flags.emplace_back("node.data_directory", dev_directory);
    }
    auto values = app::collect(flags.sources);
    if (!values) {
        return usage_error(values.error().messages);
    }
    if (flags.print_config) {
        fmt::print("{}", app::print(*values));
        return 0;
    }
    const auto configuration = app::resolve(*values);
    if (!configuration) {
        return usage_error(configuration.error().messages);
    }
    if (flags.check_config) {
        fmt::print("configuration is valid\n");
        return 0;
    }
    app::configure_logging(configuration->log_level, configuration->log_format);
    const int status = run(*configuration, flags.dev);
    if (!dev_directory.empty()) {
        std::error_code ignored;
        std::filesystem::remove_all(dev_directory, ignored);
    }
    return status;
}

} // namespace

int main(int argc, char** argv) {
    CLI::App parser("concordatd: one node of the Concordat transaction coordinator");
    Flags flags;
    define_flags(parser, flags);
    try {
        parser.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return parser.exit(error) == 0 ? 0 : 2;
    }
    if (flags.sample_config) {
        fmt::print("{}", concordat::app::sample());
        return 0;
    }
    const auto errors = complete(flags);
    return errors.empty() ? start(flags) : usage_error(errors);
}
