#pragma once

// Requests to the coordinators named by --server, over the public HTTP API only.
//
// What: sends one request to the first server that can take it, tells failures on stderr, and
// translates them into exit codes.
// Why the next server: any node takes any request, so a node that is gone or has no leader is no
// reason to fail. A request that may have had an effect goes to the next server only when sending
// it twice is the same as once.
//
// Threading: one thread; send() blocks. Errors: the exit code; the sentence is on stderr already.

#include "coordinator/cli/exit_code.hpp"

#include <chrono>
#include <expected>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace concordat::cli {

struct Settings {
    std::vector<std::string> servers;
    std::vector<std::string> relays; ///< of the outbox commands
    std::string token_file;          ///< bearer token; empty = none
    double timeout_seconds = 70.0;
    bool json = false; ///< -o json: answers as they are
    bool curl = false; ///< print the request instead of sending it
};

struct ApiRequest {
    std::string method = "GET";
    std::string target;
    std::string body{};
    std::vector<std::pair<std::string, std::string>> headers{};
    bool repeatable = true; ///< sending it twice is the same as once
};

struct ApiAnswer {
    int status = 0;
    std::string body;
    std::string etag;
    std::string server;
};

class Session {
public:
    explicit Session(Settings settings);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    /// An answer with a status below 400, or the exit code to end with. With --curl: prints and
    /// yields ExitCode::ok.
    [[nodiscard]] std::expected<ApiAnswer, ExitCode> send(const ApiRequest& request);
    /// One server's answer whatever its status, without talk; the error is a sentence.
    [[nodiscard]] std::expected<ApiAnswer, std::string> ask(const std::string& server,
                                                            const ApiRequest& request);
    [[nodiscard]] const Settings& settings() const noexcept;

private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace concordat::cli
