// The relay's HTTP endpoint: health, metrics, and the outbox as an operator sees it.
//
//   GET  /livez                    200 while the process runs
//   GET  /readyz                   200 when database, leases and producer are fit; else 503, why
//   GET  /metrics                  Prometheus text format
//   GET  /v1/outbox                state and figures
//   GET  /v1/outbox/leases         who publishes which share of the buckets
//   GET  /v1/outbox/parked         parked keys; ?after=ID&limit=N
//   GET  /v1/outbox/dead           dead rows, without payloads; ?after=ID&limit=N
//   GET  /v1/outbox/dead/ID        one dead row, with its payload
//   POST /v1/outbox/parked/replay  {"topic","key_hex"}: the key goes on, with the refused row
//   POST /v1/outbox/parked/skip    {"topic","key_hex"}: without it
//   POST /v1/outbox/dead/replay    {"id"}
//   POST /v1/outbox/dead/drop      {"id"}: for ever
//
// The POST routes and the payloads exist only with http.admin. A change may carry "by" and
// "reason"; both go into the log with what was changed. Errors are problem documents (RFC 9457).
//
// Threading: handlers run on the server's io thread. Ownership: refers to what it is given; stop
// and destroy it first.
#pragma once

#include "participant-sdk/relay/lease_keeper.hpp"
#include "participant-sdk/relay/monitor.hpp"
#include "participant-sdk/relay/options.hpp"
#include "participant-sdk/relay/telemetry.hpp"
#include "participant-sdk/src/transport/server.hpp"

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>

namespace concordat::relay {

// All metrics as Prometheus text.
[[nodiscard]] std::string render_metrics(const Telemetry& telemetry,
                                         const LeaseKeeper::Status& leases);

class StatusServer {
public:
    StatusServer(const Options& options, const Telemetry& telemetry, const LeaseKeeper& leases,
                 Monitor& monitor);
    ~StatusServer();
    StatusServer(const StatusServer&) = delete;
    StatusServer& operator=(const StatusServer&) = delete;

    [[nodiscard]] std::expected<void, std::string> start();
    [[nodiscard]] std::uint16_t port() const noexcept;
    void stop();

private:
    void handle(transport::Request&& request, transport::Responder respond);
    void handle_get(const transport::Request& request, transport::Responder respond);
    void handle_post(const transport::Request& request, transport::Responder respond);
    void show_dead_row(std::string_view id, transport::Responder respond);
    void pass_on(AdminRequest request, transport::Responder respond);
    [[nodiscard]] transport::Response readiness() const;
    [[nodiscard]] transport::Response outbox_status() const;

    const Options& options_;
    const Telemetry& telemetry_;
    const LeaseKeeper& leases_;
    Monitor& monitor_;
    transport::IoThreads threads_;
    std::unique_ptr<transport::Server> server_;
};

} // namespace concordat::relay
