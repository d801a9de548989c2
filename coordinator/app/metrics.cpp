#include "coordinator/app/metrics.hpp"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <iterator>
#include <utility>

namespace concordat::app {

namespace {

using Labels = std::vector<prometheus::ClientMetric::Label>;

/// Collects families in the order in which they are added.
class Exposition {
public:
    void family(const char* name, const char* help, prometheus::MetricType type) {
        families_.push_back({name, help, type, {}});
    }
    void value(double value, Labels labels = {}) {
        prometheus::ClientMetric metric;
        metric.label = std::move(labels);
        if (families_.back().type == prometheus::MetricType::Counter) {
            metric.counter.value = value;
        } else {
            metric.gauge.value = value;
        }
        families_.back().metric.push_back(std::move(metric));
    }
    void counter(const char* name, const char* help, std::uint64_t count) {
        family(name, help, prometheus::MetricType::Counter);
        value(static_cast<double>(count));
    }
    void gauge(const char* name, const char* help, std::uint64_t level) {
        family(name, help, prometheus::MetricType::Gauge);
        value(static_cast<double>(level));
    }
    [[nodiscard]] std::string text() const {
        return prometheus::TextSerializer().Serialize(families_);
    }

private:
    std::vector<prometheus::MetricFamily> families_;
};

constexpr std::array protocol_names{"2pc", "3pc"};
constexpr std::array outcome_names{"committed", "aborted"};
constexpr std::array reason_names{
    "all_voted_yes",    "participant_refused",     "deadline_passed",        "client_aborted",
    "operator_aborted", "inquiry_before_decision", "participants_terminated"};
constexpr std::array operation_names{"prepare", "pre_commit",       "commit",
                                     "abort",   "commit_one_phase", "learn"};
static_assert(reason_names.size() ==
              std::extent_v<decltype(core::CoordinatorFigures::decided_by_reason)>);
static_assert(operation_names.size() == std::extent_v<decltype(core::CoordinatorFigures::calls)>);

void add_transactions(Exposition& out, const core::CoordinatorFigures& figures) {
    out.family("concordat_transactions_started_total", "Transactions begun on this leader.",
               prometheus::MetricType::Counter);
    for (std::size_t p = 0; p < protocol_names.size(); ++p) {
        out.value(static_cast<double>(figures.started[p]), {{"protocol", protocol_names[p]}});
    }
    out.family("concordat_transactions_decided_total", "Decisions, by protocol and outcome.",
               prometheus::MetricType::Counter);
    for (std::size_t p = 0; p < protocol_names.size(); ++p) {
        for (std::size_t o = 0; o < outcome_names.size(); ++o) {
            out.value(static_cast<double>(figures.decided[p][o]),
                      {{"protocol", protocol_names[p]}, {"outcome", outcome_names[o]}});
        }
    }
    out.family("concordat_decisions_by_reason_total", "Decisions, by their reason.",
               prometheus::MetricType::Counter);
    for (std::size_t r = 0; r < reason_names.size(); ++r) {
        out.value(static_cast<double>(figures.decided_by_reason[r]), {{"reason", reason_names[r]}});
    }
    out.gauge("concordat_transactions_in_flight", "Transactions that are not finished.",
              figures.in_flight);
    out.gauge("concordat_transactions_undecided", "Transactions without a decision.",
              figures.undecided);
    out.gauge("concordat_transactions_undelivered",
              "Decided transactions with acknowledgements missing.", figures.undelivered);
    out.gauge("concordat_transactions_needing_attention",
              "Unfinished transactions older than transactions.attention_after.",
              figures.needing_attention);
    out.counter("concordat_heuristic_alarms_total",
                "Commits a participant refused or lost; each needs a person.",
                figures.heuristic_alarms);
}

void add_calls(Exposition& out, const NodeFigures& figures) {
    const auto& core = figures.transactions;
    out.family("concordat_branch_calls_total", "Calls to participants, by operation.",
               prometheus::MetricType::Counter);
    for (std::size_t o = 0; o < operation_names.size(); ++o) {
        out.value(static_cast<double>(core.calls[o]), {{"operation", operation_names[o]}});
    }
    out.family("concordat_branch_retries_total", "Repeated calls, by operation.",
               prometheus::MetricType::Counter);
    for (std::size_t o = 0; o < operation_names.size(); ++o) {
        out.value(static_cast<double>(core.retries[o]), {{"operation", operation_names[o]}});
    }
    out.counter("concordat_late_answers_total", "Answers to attempts no longer current, dropped.",
                core.late_answers_dropped);
    out.gauge("concordat_branch_calls_queued", "Calls waiting for a participant's free slot.",
              core.queued_calls);
    out.counter("concordat_participant_requests_total", "HTTP requests sent to participants.",
                figures.calls.requests);
    out.counter("concordat_batched_operations_total", "Operations that travelled in a batch.",
                figures.calls.batched_operations);
    out.counter("concordat_unknown_results_total", "Calls whose effect stayed unknown.",
                figures.calls.unknown_results);
    out.counter("concordat_breaker_rejections_total", "Calls held back by an open breaker.",
                figures.calls.breaker_rejections);
}

void add_log(Exposition& out, const log::Status& status, bool serving) {
    out.counter("concordat_log_fsyncs_total", "fdatasync and fsync calls of the decision log.",
                status.fsyncs);
    out.counter("concordat_log_written_bytes_total", "Bytes written by the decision log.",
                status.bytes_written);
    out.counter("concordat_raft_leader_changes_total", "Leader changes seen by this node.",
                status.leader_changes);
    out.gauge("concordat_raft_term", "Current Raft term.", status.term);
    out.gauge("concordat_raft_is_leader", "1 on the leader.", status.role == log::Role::leader);
    out.gauge("concordat_serving", "1 on a leader whose epoch entry is applied.", serving);
    out.gauge("concordat_raft_last_index", "Last log index on this node.",
              status.last_index.value());
    out.gauge("concordat_raft_commit_index", "Highest committed log index known here.",
              status.commit_index.value());
    out.gauge("concordat_raft_applied_index", "Highest applied log index.",
              status.applied_index.value());
    out.gauge("concordat_snapshot_index", "Log index of the newest snapshot.",
              status.snapshot_index.value());
    out.family("concordat_raft_peer_match_index", "Highest index known on a peer; leader only.",
               prometheus::MetricType::Gauge);
    for (const auto& [peer, index] : status.peers) {
        out.value(static_cast<double>(index.value()), {{"peer", std::to_string(peer.value())}});
    }
}

void add_server(Exposition& out, const NodeFigures& figures) {
    out.counter("concordat_http_requests_total", "Requests received by the API.",
                figures.server.requests);
    out.counter("concordat_http_protocol_errors_total", "Requests refused before routing.",
                figures.server.protocol_errors);
    out.counter("concordat_http_timeouts_total", "Connections closed by a time-out.",
                figures.server.timeouts);
    out.gauge("concordat_http_connections", "Open connections.", figures.server.connections_open);
    out.counter("concordat_http_connections_refused_total", "Connections refused by a limit.",
                figures.server.connections_refused);
    out.gauge("concordat_queue_depth", "Requests waiting for the core.", figures.queued_requests);
    out.gauge("concordat_queue_limit", "Most requests that may wait for the core.",
              figures.queue_limit);
    out.counter("concordat_queue_rejections_total", "Requests answered 503 overloaded.",
                figures.rejected_requests);
    out.gauge("concordat_requests_waiting", "Requests waiting for a decision or a read.",
              figures.transactions.waiting_requests);
    out.family("concordat_build_info", "1, with the version as a label.",
               prometheus::MetricType::Gauge);
    out.value(1, {{"version", figures.version}});
}

} // namespace

std::string render_metrics(const NodeFigures& figures) {
    Exposition out;
    add_transactions(out, figures.transactions);
    add_calls(out, figures);
    add_log(out, figures.log, figures.serving);
    add_server(out, figures);
    return out.text();
}

} // namespace concordat::app
