#pragma once

// A participant: answers the coordinator's PREPARE, COMMIT and ABORT, and brings branches that were
// left in doubt to their end.
//
//   auto resource = …;                                   // <concordat/postgres.hpp>
//   concordat::Participant participant(resource, options);
//   concordat::ParticipantServer server(participant, server_options);
//   if (auto started = server.start(); !started) …       // started.error() is a sentence
//
// A service with an HTTP server of its own calls handle() from it instead and needs no
// ParticipantServer. Recovery runs in both cases, between start_recovery() and stop().
//
// Sources: Gray & Reuter, Transaction Processing, ch. 10; Skeen 1982; Keidar & Dolev 1998; Gray &
// Lamport 2006. The contract on the wire: openapi.yaml, webhooks.

#include <concordat/http_message.hpp>
#include <concordat/identifiers.hpp>
#include <concordat/resource.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace concordat {

/// Something that must not happen, or lasts too long. Effect: none, it only tells.
struct Alarm {
    enum class Kind : std::uint8_t {
        prepared_branch_lost, ///< commit was decided and the prepared branch is gone
        heuristic_outcome,    ///< the branch has the other outcome than the transaction
        in_doubt_too_long,    ///< older than RecoveryOptions::alarm_age
        store_problem,        ///< the store cannot be asked, or refuses to take work
    };
    Kind kind = Kind::store_problem;
    std::string detail;
};
[[nodiscard]] std::string_view name_of(Alarm::Kind kind) noexcept;

/// `grace` + `interval` is the termination time-out: after it every branch whose coordinators and
/// peers are silent has been taken up. It starts inquiries and ballots, and never decides anything.
struct RecoveryOptions {
    std::chrono::milliseconds interval{1000}; ///< longest pause between two looks; half at least
    /// A branch younger than this is left to its coordinator; age alone never decides anything.
    std::chrono::milliseconds grace{5000};
    /// Of one inquiry or one call to a peer.
    std::chrono::milliseconds call_timeout{1000};
    std::chrono::milliseconds alarm_age{60000};
    std::size_t batch = 256; ///< branches per look; looks follow at once while there are more
    /// Where to inquire when the PREPARE named no coordinators.
    std::vector<std::string> coordinators;
    /// Sent with inquiries as `Authorization: Bearer`; empty = none.
    std::string bearer_token;
};

struct ParticipantOptions {
    /// Threads for prepare. They may wait for locks that prepared branches hold, so commit and
    /// abort, which release those locks, have `workers` / 2 + 1 threads of their own.
    std::size_t workers = 8;
    std::size_t max_queued = 1024; ///< operations of either kind that wait; beyond: 503
    std::chrono::milliseconds retry_after{100}; ///< told with a 503
    /// A batch is answered when some of its operations have ended and none for this time, at the
    /// latest after 25 times as long. Operations that still run (a prepare may
    /// wait for a lock that another branch of the same batch holds) are answered with "later" and
    /// go on; their repetition finds the result. Those that no worker has begun are dropped.
    std::chrono::milliseconds batch_patience{20};
    RecoveryOptions recovery;
    /// Called from the SDK's threads; must not block long. What it throws is dropped.
    std::function<void(const Alarm&)> on_alarm;
};

/// Since start, except the gauges.
struct ParticipantFigures {
    std::uint64_t votes_yes = 0;
    std::uint64_t votes_no = 0;
    std::uint64_t votes_read_only = 0;
    std::uint64_t committed = 0;
    std::uint64_t aborted = 0;
    std::uint64_t refused = 0;
    std::uint64_t later = 0;
    std::uint64_t unknown = 0;
    std::uint64_t overloaded = 0;
    std::uint64_t alarms = 0;
    std::uint64_t inquiries = 0;
    std::uint64_t ballots_started = 0;
    std::uint64_t recovered_by_coordinator = 0;
    std::uint64_t recovered_by_peers = 0;
    std::uint64_t recovered_by_ballot = 0;
    std::size_t in_doubt = 0;                     ///< gauge, of the last look
    std::chrono::milliseconds oldest_in_doubt{0}; ///< gauge
    std::size_t queued = 0;                       ///< gauge
};

/// Threading: every member from any thread. Ownership: shares the resource; stop() (also called by
/// the destructor) joins all threads.
class Participant {
public:
    Participant(std::shared_ptr<Resource> resource, ParticipantOptions options);
    ~Participant();
    Participant(const Participant&) = delete;
    Participant& operator=(const Participant&) = delete;

    /// True for the targets that handle() serves: /v1/branches….
    [[nodiscard]] static bool serves(std::string_view target) noexcept;
    /// Answers one request; blocks while the workers run it. Never throws.
    [[nodiscard]] HttpResponse handle(const HttpRequest& request);
    /// The same without blocking; `answer` is called once, from a worker or at once when nothing
    /// has to be run.
    void handle_async(HttpRequest request, std::function<void(HttpResponse)> answer);

    /// Starts the thread that ends branches in doubt. Idempotent.
    void start_recovery();
    /// One look now, at the next `batch` of branches, on the calling thread; returns how many it
    /// ended.
    std::size_t recover_now();
    /// Ends recovery, runs what is queued to its end and joins the workers. Idempotent.
    void stop();

    [[nodiscard]] ParticipantFigures figures() const;
    /// Empty when ready for work.
    [[nodiscard]] std::string problem();

private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

struct ParticipantServerOptions {
    std::string address = "127.0.0.1";
    std::uint16_t port = 0; ///< 0: chosen by the system
    std::size_t io_threads = 1;
    std::size_t max_body_bytes = 16UL << 20; ///< a batch carries many payloads
    std::size_t max_connections = 4096;
    /// Threads for `service`, separate from the workers: a service that waits there for a
    /// transaction must not keep that same transaction's PREPARE waiting.
    std::size_t service_threads = 16;
    std::size_t max_queued_service_requests = 1024;
    /// The service's own routes: everything but /v1/branches…, /livez and /readyz.
    HttpHandler service;
};

/// Serves a Participant (and the service's own routes) over HTTP/1.1. Starts its recovery.
class ParticipantServer {
public:
    ParticipantServer(Participant& participant, ParticipantServerOptions options);
    ~ParticipantServer(); // stop()
    ParticipantServer(const ParticipantServer&) = delete;
    ParticipantServer& operator=(const ParticipantServer&) = delete;

    /// Error: a sentence; nothing listens.
    [[nodiscard]] std::expected<void, std::string> start();
    [[nodiscard]] std::uint16_t port() const noexcept;
    /// Takes no more requests, lets running ones end within the grace, joins. The participant
    /// itself is not stopped. Idempotent.
    void stop(std::chrono::milliseconds grace = std::chrono::milliseconds{2000});

private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace concordat
