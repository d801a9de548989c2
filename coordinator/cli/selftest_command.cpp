// `concordat selftest`: is this installation able to decide transactions?
//
// Asks every server for its health, then runs a transaction without branches through the whole
// write path (open, abort) and reads it back. It touches no participant and leaves one aborted
// transaction behind.

#include "coordinator/cli/commands.hpp"
#include "coordinator/cli/documents.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace concordat::cli {
namespace {

class Report {
public:
    /// Runs one check, which yields what is wrong or nothing.
    template <class Check>
    bool check(const std::string& server, const std::string& name, Check&& run) {
        const auto begin = std::chrono::steady_clock::now();
        const std::string wrong = run();
        const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
            std::chrono::steady_clock::now() - begin);
        rows_.push_back({server, name, wrong.empty() ? "ok" : "FAILED",
                         fmt::format("{} ms", took.count()), wrong});
        failed_ += static_cast<std::size_t>(!wrong.empty());
        return wrong.empty();
    }
    [[nodiscard]] std::string table() const { return format_table(rows_); }
    [[nodiscard]] std::size_t failed() const { return failed_; }

private:
    std::vector<Row> rows_{{"SERVER", "CHECK", "RESULT", "TIME", "DETAIL"}};
    std::size_t failed_ = 0;
};

/// Empty when the server answers with that status.
std::string expect(Session& session, const std::string& server, const ApiRequest& request,
                   int status, std::string* body = nullptr) {
    const auto answer = session.ask(server, request);
    if (!answer) {
        return answer.error();
    }
    if (body != nullptr) {
        *body = answer->body;
    }
    return answer->status == status ? std::string() : describe_problem(*answer);
}

std::string knows_leader(Session& session, const std::string& server) {
    std::string body;
    if (auto wrong = expect(session, server, {.target = "/v1/cluster"}, 200, &body);
        !wrong.empty()) {
        return wrong;
    }
    const auto facts = cluster_facts(body);
    return facts && facts->has_leader ? "" : "no leader is known";
}

std::string writes_and_reads(Session& session, const std::string& server) {
    std::string body;
    const ApiRequest open{
        .method = "POST",
        .target = "/v1/transactions",
        .body = R"({"mode":"interactive","timeout":"30s","metadata":{"purpose":"selftest"}})",
        .repeatable = false};
    if (auto wrong = expect(session, server, open, 201, &body); !wrong.empty()) {
        return wrong;
    }
    const auto facts = transaction_facts(body);
    if (!facts) {
        return "the answer is not a transaction";
    }
    const std::string path = "/v1/transactions/" + facts->xid;
    if (auto wrong = expect(session, server,
                            {.method = "POST", .target = path + "/abort", .body = "{}"}, 200);
        !wrong.empty()) {
        return wrong;
    }
    if (auto wrong = expect(session, server, {.target = path}, 200, &body); !wrong.empty()) {
        return wrong;
    }
    const auto after = transaction_facts(body);
    return after && after->outcome == "aborted" ? "" : "the transaction is not aborted";
}

ExitCode selftest(Session& session) {
    Report report;
    std::size_t reachable = 0;
    for (const std::string& server : session.settings().servers) {
        const bool alive = report.check(
            server, "alive", [&] { return expect(session, server, {.target = "/livez"}, 200); });
        if (!alive) {
            continue;
        }
        ++reachable;
        report.check(server, "ready",
                     [&] { return expect(session, server, {.target = "/readyz"}, 200); });
        const bool led =
            report.check(server, "leader", [&] { return knows_leader(session, server); });
        if (led) {
            report.check(server, "write", [&] { return writes_and_reads(session, server); });
        }
    }
    fmt::print("{}", report.table());
    if (reachable == 0) {
        return ExitCode::unreachable;
    }
    return report.failed() == 0 ? ExitCode::ok : ExitCode::unhealthy;
}

} // namespace

void add_selftest_command(CommandLine& line) {
    line.parser
        .add_subcommand("selftest", "Check every server, with a transaction without branches")
        ->callback([&line] { line.action = selftest; });
}

} // namespace concordat::cli
