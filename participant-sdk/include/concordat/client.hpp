#pragma once

// The client of a coordinator: starts transactions and learns their outcome.
//
//   concordat::Client client({.coordinators = {"http://127.0.0.1:7001", …}});
//   auto done = client.submit({.branches = {{"orders", R"({"sku":"a"})"}, …}});
//   if (!done) …                                  // done.error().effect says what is known
//   else if (done->outcome == Outcome::committed) …
//
// Every submission carries an xid chosen here before the first attempt and travels as PUT, so that
// each retry, at whatever node, is the same submission: a lost answer can never start it twice.
//
// Threading: every member from any thread; calls block the caller up to their deadline.
// Errors: ClientError, with its effect. Nothing throws.

#include <concordat/identifiers.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace concordat {

struct ClientOptions {
    std::vector<std::string> coordinators; ///< base URLs; the one that answered last is asked first
    std::string bearer_token;              ///< empty = none
    std::chrono::milliseconds connect_timeout{1000};
    /// Of one attempt, beyond the time that the coordinator was asked to wait.
    std::chrono::milliseconds attempt_timeout{5000};
    /// Of a call with all its attempts. It ends in an error whose effect is unknown if an attempt
    /// may have had one.
    std::chrono::milliseconds deadline{30000};
    std::chrono::milliseconds backoff_initial{50}; ///< full jitter, doubled per round of nodes
    std::chrono::milliseconds backoff_cap{2000};
    std::size_t max_connections = 64; ///< per coordinator
};

struct BranchOrder {
    std::string participant;                            ///< registered name
    std::string payload;                                ///< JSON text, passed through untouched
    std::optional<std::chrono::milliseconds> timeout{}; ///< per call to this participant
};

enum class WaitFor : std::uint8_t {
    begun,      ///< BEGIN is durable; the outcome is still open
    decision,   ///< committed or aborted is durable
    completion, ///< all participants have acknowledged
};

struct Submission {
    std::optional<Xid> xid{}; ///< chosen by the client when absent
    Protocol protocol = Protocol::two_phase;
    std::vector<BranchOrder> branches{};
    std::optional<std::chrono::milliseconds> timeout{}; ///< until it must be decided
    std::map<std::string, std::string> metadata{};
    WaitFor wait_for = WaitFor::decision;
    std::string traceparent{}; ///< W3C trace context; empty = none
};

struct BranchStatus {
    std::string participant;
    std::string state; ///< as the API names it
    std::string last_error;
};

struct TransactionStatus {
    std::string xid;
    std::string state;              ///< as the API names it
    std::optional<Outcome> outcome; ///< empty while undecided
    std::string reason;             ///< why it was decided so
    std::string detail;             ///< for people, e.g. who refused and why
    std::vector<BranchStatus> branches;
    std::uint64_t changed_index = 0; ///< grows with every change
};

struct ClientError {
    std::string code;   ///< of the API, or "unreachable", "bad-answer", "invalid-request"
    std::string detail; ///< for people
    Effect effect = Effect::unknown;
    bool retryable = false; ///< the same call may succeed later
    int http_status = 0;    ///< 0: no answer
    std::string xid;        ///< ask for it with get() when the effect is unknown
};

template <class T>
using ClientResult = std::expected<T, ClientError>;

struct ParticipantRegistration {
    std::string base_url;
    std::optional<std::chrono::milliseconds> call_timeout{};
    std::optional<std::uint32_t> max_concurrent_calls{};
};

class Client {
public:
    explicit Client(ClientOptions options);
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    /// Runs a transaction. A value has an outcome unless only `begun` was waited for.
    [[nodiscard]] ClientResult<TransactionStatus> submit(const Submission& submission);

    /// Interactive: open, enlist branch after branch, then decide.
    [[nodiscard]] ClientResult<TransactionStatus> begin(const Submission& submission = {});
    [[nodiscard]] ClientResult<TransactionStatus> enlist(const Xid& xid, const BranchOrder& branch);
    [[nodiscard]] ClientResult<TransactionStatus> commit(const Xid& xid,
                                                         WaitFor wait_for = WaitFor::decision);
    /// Also for a submitted transaction that is still undecided.
    [[nodiscard]] ClientResult<TransactionStatus> abort(const Xid& xid);

    /// Linearizable: what is returned was true during the call.
    [[nodiscard]] ClientResult<TransactionStatus> get(const Xid& xid);
    /// get() until there is an outcome. After `limit` the last status, without an outcome.
    [[nodiscard]] ClientResult<TransactionStatus> wait(const Xid& xid,
                                                       std::chrono::milliseconds limit);

    /// Tells the coordinator where a participant is. Idempotent.
    [[nodiscard]] ClientResult<void> register_participant(const ParticipantName& name,
                                                          const ParticipantRegistration& where);

private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace concordat
