#pragma once

// Wire format of the participant contract: what the coordinator sends to participants, and peers
// to each other. Used by coordinator/http (client side) and by the SDK (server side), so that both
// speak the same bytes. No JSON type in this header. The normative text is openapi.yaml, webhooks.
//
//   POST {base}/v1/branches/{xid}/{branch}/{prepare|pre-commit|commit|abort|commit-one-phase|learn}
//   GET  {base}/v1/branches/{xid}/{branch}
//   POST {base}/v1/branches/{xid}/{branch}/ballots/{promise|accept}
//   POST {coordinator}/v1/transactions/{xid}/ballots/{promise|accept}
//        the coordinator group as an acceptor: same bodies, same answers
//   POST {base}/v1/branches:batch
//        {"operations": [BranchRequest plus xid and branch, …]} → {"answers": [BranchAnswer, …]},
//        one answer per operation, in the order of the operations; the HTTP status is 200
//   A participant that serves batches says so with the header `Concordat-Batch: 1` on every answer.
//   Calls that peers make to each other carry the capability: in the body, or for GET in the header
//   `Concordat-Capability`.
//
// HTTP status: 200 done (also when it was done before), 409 refused for good, 425/429/503 (+
// Retry-After) later, anything else: effect unknown.

#include <chrono>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::wire {

enum class Operation : std::uint8_t { prepare, pre_commit, commit, abort, commit_one_phase, learn };
enum class Vote : std::uint8_t { yes, no, read_only };
enum class Outcome : std::uint8_t { committed, aborted };

/// Path segment and batch name: "prepare", "pre-commit", "commit", "abort", "commit-one-phase",
/// "learn".
[[nodiscard]] std::string_view name_of(Operation operation) noexcept;
[[nodiscard]] std::optional<Operation> operation_from(std::string_view name) noexcept;

struct Peer {
    std::uint16_t branch = 0;
    std::string participant;
    std::string base_url;
    bool operator==(const Peer&) const = default;
};

/// Body of an operation. JSON members, all snake_case:
///   operation, epoch, attempt, protocol ("2pc"|"3pc"), participant (name the coordinator knows),
///   payload (prepare and commit-one-phase; raw JSON, passed through), and for prepare:
///   participants [{branch, participant, base_url}], quorum, coordinator_is_acceptor, capability,
///   coordinators [url] (where to inquire).
struct BranchRequest {
    std::string xid;
    std::uint16_t branch = 0;
    Operation operation = Operation::prepare;
    std::uint64_t epoch = 0;
    std::uint32_t attempt = 0;
    bool three_phase = false;
    std::string participant;
    std::string payload; ///< raw JSON text, "" = absent
    std::vector<Peer> participants;
    std::uint16_t quorum = 0;
    bool coordinator_is_acceptor = false;
    std::string capability;
    std::vector<std::string> coordinators;
};

/// Body of an answer: {status, vote?, outcome?, reason?, retry_after_ms?}. `status` repeats the
/// HTTP status so that the answers of a batch carry it too.
struct BranchAnswer {
    std::uint16_t status = 200;
    std::optional<Vote> vote;       ///< prepare: "yes" | "no" | "read_only"
    std::optional<Outcome> outcome; ///< commit-one-phase, learn, and whenever one is known
    std::string reason;             ///< for people, ≤ 1024 bytes; "ballot" after a lost ballot 0
    std::optional<std::chrono::milliseconds> retry_after;
};

/// (round, proposer): proposer is the branch number + 1; 0 is the coordinator group.
struct Ballot {
    std::uint32_t round = 0;
    std::uint16_t proposer = 0;
    auto operator<=>(const Ballot&) const = default;
};
struct BallotRequest { ///< promise: value absent; accept: value present
    std::string xid;
    std::uint16_t branch = 0; ///< of the acceptor asked; without meaning for the group
    Ballot ballot;            ///< a participant's: round and proposer are at least 1
    std::optional<Outcome> value;
    std::string capability;
};
struct BallotAnswer {
    std::uint16_t status = 200;
    bool granted = false;
    Ballot promised;                       ///< highest promised, for the loser's next round
    std::optional<Ballot> accepted_ballot; ///< highest accepted before this request
    std::optional<Outcome> accepted_value;
    std::optional<Outcome> outcome; ///< an outcome already known settles it (Q8)
    std::string reason;
};

/// Answer of GET: {state: "unknown"|"prepared"|"committed"|"aborted"}. `unknown` promises nothing:
/// a prepare may still arrive.
enum class BranchState : std::uint8_t { unknown, prepared, committed, aborted };
struct BranchStatus {
    BranchState state = BranchState::unknown;
};

/// Bytes outside what the type allows, and where. Effect: none, nothing was executed.
struct WireError {
    std::string pointer; ///< JSON pointer
    std::string detail;
};

/// Request target of an operation below a participant's base path.
[[nodiscard]] std::string target_of(const BranchRequest& request);

[[nodiscard]] std::string encode(const BranchRequest& request);
[[nodiscard]] std::string encode_batch(const std::vector<BranchRequest>& requests);
[[nodiscard]] std::string encode(const BranchAnswer& answer);
[[nodiscard]] std::string encode_batch(const std::vector<BranchAnswer>& answers);
[[nodiscard]] std::string encode(const BallotRequest& request);
[[nodiscard]] std::string encode(const BallotAnswer& answer);
[[nodiscard]] std::string encode(const BranchStatus& status);

/// Decoders are strict: unknown members, wrong types and sizes over the limits are errors. The
/// payload's raw text is cut out of `body` unparsed (but is known to be valid JSON).
[[nodiscard]] std::expected<BranchRequest, WireError>
decode_request(std::string_view xid, std::uint16_t branch, std::string_view body);
[[nodiscard]] std::expected<std::vector<BranchRequest>, WireError>
decode_request_batch(std::string_view body);
/// `status` is the HTTP status; a body that is not a BranchAnswer is an error (unknown effect).
[[nodiscard]] std::expected<BranchAnswer, WireError> decode_answer(std::uint16_t status,
                                                                   std::string_view body);
[[nodiscard]] std::expected<std::vector<BranchAnswer>, WireError>
decode_answer_batch(std::string_view body);
[[nodiscard]] std::expected<BallotRequest, WireError>
decode_ballot_request(std::string_view xid, std::uint16_t branch, std::string_view body);
[[nodiscard]] std::expected<BallotAnswer, WireError> decode_ballot_answer(std::string_view body);
[[nodiscard]] std::expected<BranchStatus, WireError> decode_status(std::string_view body);

/// `[A-Za-z0-9._-]{1,64}`.
[[nodiscard]] bool is_xid(std::string_view text) noexcept;
/// `[a-z0-9-]{1,63}`.
[[nodiscard]] bool is_participant_name(std::string_view text) noexcept;
[[nodiscard]] std::string_view name_of(Vote vote) noexcept;
[[nodiscard]] std::string_view name_of(Outcome outcome) noexcept;

inline constexpr std::size_t max_batch = 256;
inline constexpr std::size_t max_payload_bytes = 256UL << 10;
inline constexpr std::size_t max_reason_bytes = 1024;
inline constexpr std::size_t max_peers = 256;
inline constexpr std::size_t max_coordinators = 64;
inline constexpr std::size_t max_url_bytes = 2048;
inline constexpr std::size_t max_capability_bytes = 256;

inline constexpr std::string_view capability_header = "Concordat-Capability";
inline constexpr std::string_view batch_header = "Concordat-Batch";

} // namespace concordat::wire
