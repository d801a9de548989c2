#pragma once

// The JSON documents of the API as the command line needs them: bodies to send, tables to print,
// single facts to act on.
//
// Threading: pure functions, except the printing ones, which write to stdout.
// Errors: a document that is not what the API promises prints as it is and yields no facts.

#include "coordinator/cli/session.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::cli {

/// "no-leader: No leader is known (effect none, may be tried again)".
[[nodiscard]] std::string describe_problem(const ApiAnswer& answer);

struct BranchArgument {
    std::string participant;
    std::string payload; ///< JSON text
};
struct SubmissionArguments {
    std::vector<BranchArgument> branches;
    std::string protocol;
    std::string timeout;
    std::map<std::string, std::string> metadata;
    bool to_completion = false;
};
[[nodiscard]] std::string submission_body(const SubmissionArguments& arguments);

struct ParticipantArguments {
    std::string base_url;
    std::string tls_name;
    std::string call_timeout;
    std::optional<std::uint32_t> max_concurrent_calls;
};
[[nodiscard]] std::string participant_body(const ParticipantArguments& arguments);
/// {"reason": …} with further members given as JSON text.
[[nodiscard]] std::string reason_body(const std::string& reason,
                                      const std::map<std::string, std::string>& more = {});

/// What commands decide on.
struct TransactionFacts {
    std::string xid;
    std::string state;
    std::string outcome; ///< empty while undecided
    std::string detail;
    [[nodiscard]] bool finished() const { return state == "committed" || state == "aborted"; }
};
[[nodiscard]] std::optional<TransactionFacts> transaction_facts(const std::string& body);

struct ClusterFacts {
    std::string role;
    bool has_leader = false;
    bool replayed = false;
    bool draining = false;
};
[[nodiscard]] std::optional<ClusterFacts> cluster_facts(const std::string& body);

void print_transaction(const std::string& body, bool json);
void print_transactions(const std::string& body, bool json);
void print_participants(const std::string& body, bool json);
void print_cluster(const std::string& body, bool json);

using Row = std::vector<std::string>;
/// Columns as wide as their widest cell; the first row is the heading.
[[nodiscard]] std::string format_table(const std::vector<Row>& rows);

} // namespace concordat::cli
