#include "participant-sdk/relay/status_server.hpp"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <sstream>
#include <vector>

namespace concordat::relay {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

void add(std::vector<MetricFamily>& out, const char* name, const char* help, MetricType type,
         double value) {
    prometheus::ClientMetric metric;
    if (type == MetricType::Counter) {
        metric.counter.value = value;
    } else {
        metric.gauge.value = value;
    }
    out.push_back({name, help, type, {metric}});
}

template <typename Number>
void add_counter(std::vector<MetricFamily>& out, const char* name, const char* help,
                 const std::atomic<Number>& value) {
    add(out, name, help, MetricType::Counter, static_cast<double>(value.load()));
}

template <typename Number>
void add_gauge(std::vector<MetricFamily>& out, const char* name, const char* help,
               const std::atomic<Number>& value) {
    add(out, name, help, MetricType::Gauge, static_cast<double>(value.load()));
}

void add_counters(std::vector<MetricFamily>& out, const Telemetry& t) {
    add_counter(out, "concordat_outbox_read_total", "Rows read from the outbox.", t.rows_read);
    add_counter(out, "concordat_outbox_published_total", "Rows acknowledged by Kafka.",
                t.rows_published);
    add_counter(out, "concordat_outbox_deleted_total", "Rows deleted after acknowledgement.",
                t.rows_deleted);
    add_counter(out, "concordat_outbox_delete_refused_total",
                "Acknowledged rows not deleted: the lease had gone, or a crash of the database "
                "had undone them.",
                t.deletes_refused);
    add_counter(out, "concordat_outbox_late_total",
                "Rows that became visible behind the read position and were fetched.", t.rows_late);
    add_counter(out, "concordat_outbox_swept_total", "Rows found only by the periodic sweep.",
                t.rows_swept);
    add_counter(out, "concordat_outbox_dead_total", "Rows moved to the dead rows.", t.rows_dead);
    add_counter(out, "concordat_outbox_parked_total", "Keys parked.", t.keys_parked);
    add_counter(out, "concordat_outbox_producer_resets_total", "Kafka producers made anew.",
                t.producer_resets);
    add_counter(out, "concordat_outbox_polls_total", "Reads of a window.", t.polls);
    add(out, "concordat_outbox_poll_seconds_total", "Time spent in reads of a window.",
        MetricType::Counter, static_cast<double>(t.poll_microseconds.load()) / 1e6);
}

void add_gauges(std::vector<MetricFamily>& out, const Telemetry& t,
                const LeaseKeeper::Status& leases) {
    add(out, "concordat_outbox_last_poll_seconds", "Duration of the latest read of a window.",
        MetricType::Gauge, static_cast<double>(t.last_poll_microseconds.load()) / 1e6);
    add_gauge(out, "concordat_outbox_rows_in_memory", "Rows read and not yet deleted.",
              t.rows_in_memory);
    add_gauge(out, "concordat_outbox_rows_at_kafka", "Rows sent and not yet acknowledged.",
              t.rows_at_kafka);
    add_gauge(out, "concordat_outbox_open_transactions",
              "Transactions in progress that may still add rows behind the read position.",
              t.open_transactions);
    add_gauge(out, "concordat_outbox_pending_rows",
              "Rows in the outbox, counted up to 100000; -1: not known.", t.pending_rows);
    const auto oldest = t.oldest_pending_ms.load();
    add(out, "concordat_outbox_oldest_seconds", "Age of the oldest row; -1: not known.",
        MetricType::Gauge, oldest < 0 ? -1.0 : static_cast<double>(oldest) / 1000);
    add_gauge(out, "concordat_outbox_parked", "Keys that are parked; -1: not known.", t.parked_now);
    add_gauge(out, "concordat_outbox_dead", "Dead rows, counted up to 100000; -1: not known.",
              t.dead_now);
    add(out, "concordat_outbox_buckets_owned", "Buckets this instance publishes.",
        MetricType::Gauge, static_cast<double>(leases.owned));
    add(out, "concordat_outbox_instances", "Relay instances alive on this database.",
        MetricType::Gauge, static_cast<double>(leases.instances));
    add(out, "concordat_outbox_database_connected", "1 while all connections are up.",
        MetricType::Gauge, t.database_connected ? 1 : 0);
    add(out, "concordat_outbox_troubles", "Subjects with a trouble, see /v1/outbox.",
        MetricType::Gauge, static_cast<double>(t.troubles().size()));
}

void add_histogram(std::vector<MetricFamily>& out, const Telemetry& t) {
    prometheus::ClientMetric metric;
    const auto counts = t.age_at_acknowledgement.counts();
    std::uint64_t cumulative = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        cumulative += counts[i];
        const double bound = i < LatencyHistogram::bounds_seconds.size()
                                 ? LatencyHistogram::bounds_seconds[i]
                                 : std::numeric_limits<double>::infinity();
        metric.histogram.bucket.push_back({cumulative, bound});
    }
    metric.histogram.sample_count = cumulative;
    metric.histogram.sample_sum = t.age_at_acknowledgement.sum_seconds();
    out.push_back({"concordat_outbox_age_seconds",
                   "Age of a row (since its INSERT) when Kafka acknowledged it.",
                   MetricType::Histogram,
                   {metric}});
}

} // namespace

std::string render_metrics(const Telemetry& telemetry, const LeaseKeeper::Status& leases) {
    std::vector<MetricFamily> families;
    add_counters(families, telemetry);
    add_gauges(families, telemetry, leases);
    add_histogram(families, telemetry);
    return prometheus::TextSerializer().Serialize(families);
}

} // namespace concordat::relay
