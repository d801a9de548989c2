// What happens when something goes wrong: a new producer, rows that Kafka refuses for good.

#include "participant-sdk/relay/engine.hpp"
#include "participant-sdk/relay/event_log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace concordat::relay {
namespace {

constexpr std::chrono::milliseconds report_patience{10'000};
constexpr std::chrono::milliseconds first_pause{50};
constexpr std::chrono::milliseconds longest_pause{5'000};
// Longer than an election of a partition's leader takes.
constexpr std::chrono::milliseconds worrying_silence{5'000};

constexpr const char* sql_park =
    "INSERT INTO concordat_outbox_parked (topic, key, row_id, event_id, reason, detail) "
    "SELECT $3, $4, $2, $5::text::uuid, $6, $7 FROM concordat_outbox_lease l "
    "WHERE l.bucket = $1 AND l.owner = $8 AND l.epoch = $9 "
    "AND EXISTS (SELECT FROM concordat_outbox o WHERE o.bucket = $1 AND o.id = $2 "
    " AND o.event_id = $5::text::uuid) "
    "ON CONFLICT (topic, key) DO UPDATE SET row_id = excluded.row_id, event_id = excluded.event_id,"
    " reason = excluded.reason, detail = excluded.detail, parked_at = now()";

constexpr const char* sql_kill =
    "WITH taken AS (DELETE FROM concordat_outbox o USING concordat_outbox_lease l "
    " WHERE o.bucket = $1 AND o.id = $2 AND o.event_id = $7::text::uuid AND l.bucket = $1 "
    " AND l.owner = $5 AND l.epoch = $6 "
    " RETURNING o.*) "
    "INSERT INTO concordat_outbox_dead "
    "(row_id, event_id, created_at, topic, key, type, headers, payload, reason, detail) "
    "SELECT id, event_id, created_at, topic, key, type, headers, payload, $3, $4 FROM taken";

} // namespace

void Engine::make_producer() {
    Options::Kafka kafka = options_.kafka;
    kafka.batch_bytes = std::min(kafka.batch_bytes, batch_bytes_);
    auto made = Producer::create(kafka, options_.pipeline.window_rows, wake_descriptor_, *this);
    if (!made) {
        kafka_trouble_ = true;
        telemetry_.set_trouble("kafka", made.error());
        topics_->check_cluster();
        log_event(Severity::error, "producer_not_made", {{"message", made.error()}});
        resume_at_ = Clock::now() + longest_pause;
        return;
    }
    producer_ = std::move(*made);
    for (auto& [name, topic] : known_topics_) {
        topic.partitions.forget_producer();
    }
    last_progress_ = Clock::now();
}

void Engine::watch_producer() {
    if (phase_ != Phase::running) {
        return;
    }
    if (failure_) {
        begin_reset(*std::exchange(failure_, std::nullopt));
        return;
    }
    if (producer_->fatal()) {
        begin_reset(*producer_->fatal());
        return;
    }
    if (awaited() == 0) {
        return;
    }
    const auto silent = Clock::now() - last_progress_;
    watch_acknowledgements(silent);
    if (Clock::now() >= next_topic_look_ || silent >= options_.kafka.stall_timeout) {
        next_topic_look_ = Clock::now() + options_.kafka.stall_timeout / 10;
        if (!watch_topics() && silent < options_.kafka.stall_timeout) {
            return;
        }
        begin_reset("no acknowledgement within kafka.stall_timeout");
    }
}

// A broker may answer everything but this: a partition without a leader or with too few replicas,
// a disk that failed. librdkafka tries for ever and says nothing, so the relay does.
void Engine::watch_acknowledgements(Clock::duration silent) {
    const auto worrying = std::min(worrying_silence, options_.kafka.stall_timeout);
    // By the time that somebody is blamed there is an answer of this silence, and a fresh one.
    const auto now = Clock::now();
    if (silent >= worrying / 2 && cluster_asked_ < last_progress_) {
        cluster_asked_ = now;
        topics_->check_cluster();
    } else if (silent >= worrying / 2 && now - cluster_asked_ >= worrying / 2) {
        cluster_asked_ = now;
        topics_->check_cluster_again();
    }
    if (silence_reported_ || silent < worrying) {
        return;
    }
    silence_reported_ = true;
    const std::string text =
        fmt::format("Kafka has acknowledged nothing for {} ms although {} rows were sent: look for "
                    "partitions without a leader, too few in-sync replicas, a full disk",
                    std::chrono::duration_cast<std::chrono::milliseconds>(silent).count(),
                    producer_->outstanding());
    telemetry_.set_trouble("acknowledgements", text);
    log_event(Severity::warning, "acknowledgements_missing", {{"message", text}});
}

void Engine::clear_silence() {
    if (std::exchange(silence_reported_, false)) {
        telemetry_.set_trouble("acknowledgements", "");
        log_event(Severity::info, "acknowledgements_back");
    }
}

void Engine::clear_kafka_trouble() {
    if (std::exchange(kafka_trouble_, false)) {
        telemetry_.set_trouble("kafka", "");
        log_event(Severity::info, "kafka_answers");
    }
}

void Engine::begin_reset(const std::string& reason, bool purge) {
    if (phase_ == Phase::resetting) {
        return;
    }
    log_event(Severity::warning, "producer_reset",
              {{"reason", reason},
               {"rows_at_kafka", producer_ == nullptr ? 0 : producer_->outstanding()},
               {"rows_in_memory", known_.size()}});
    telemetry_.producer_resets.fetch_add(1, std::memory_order_relaxed);
    phase_ = Phase::resetting;
    reset_started_ = Clock::now();
    failure_.reset();
    drop_all_waiting();
    if (producer_ != nullptr && purge) {
        producer_->purge();
    } else if (producer_ != nullptr && on_trial_ > 0) {
        producer_->purge_queued();
    }
}

void Engine::drop_all_waiting() {
    drop_set_aside();
    while (!ready_.empty()) {
        Batch& batch = *ready_.front();
        lowest_dropped_ = batch.next == batch.rows.size() ? lowest_dropped_
                          : lowest_dropped_ == 0
                              ? batch.rows[batch.next].id
                              : std::min(lowest_dropped_, batch.rows[batch.next].id);
        ready_.pop_front();
        for (std::size_t left = batch.rows.size() - batch.next; left > 0; --left) {
            drop_row(batch.rows[batch.next]); // the last one may take the batch with it
        }
    }
}

void Engine::drop_all_sent() {
    std::vector<Row*> sent;
    for (const auto& batch : batches_) {
        for (Row& row : batch->rows) {
            if (row.state == Row::State::sent) {
                sent.push_back(&row);
            }
        }
    }
    for (Row* row : sent) {
        lowest_dropped_ = lowest_dropped_ == 0 ? row->id : std::min(lowest_dropped_, row->id);
        known_.erase(row->id);
        --bucket_rows_[row->bucket];
        finish_row(*row);
    }
}

void Engine::continue_reset() {
    const auto now = Clock::now();
    if (producer_ != nullptr) {
        if (producer_->outstanding() > 0 && now - reset_started_ < report_patience) {
            return;
        }
        producer_.reset(); // ends its threads: nothing refers to the rows any more
        drop_all_sent();
        judge_refusals();
        const auto pause =
            std::min(longest_pause, first_pause * (1U << std::min(fruitless_resets_, 7U)));
        resume_at_ = fruitless_resets_ == 0 ? now : now + pause;
        ++fruitless_resets_;
    }
    if (stop_requested_ || now < resume_at_ || !condemn_all()) {
        return;
    }
    make_producer();
    if (producer_ == nullptr) {
        return;
    }
    phase_ = Phase::running;
    failure_.reset();
    retry_stalled_topics();
    if (lowest_dropped_ != 0) {
        rewind(std::exchange(lowest_dropped_, 0));
    }
    log_event(Severity::info, "producer_ready");
}

Engine::Refusal Engine::refusal_of(const Batch& batch, const Row& row,
                                   rd_kafka_resp_err_t code) const {
    const RowView view = batch.view(row);
    return {.id = row.id,
            .bucket = row.bucket,
            .topic = std::string(view.topic),
            .key = view.key ? std::optional<std::string>(*view.key) : std::nullopt,
            .event_id = format_uuid(view.event_id),
            .reason = rd_kafka_err2name(code),
            .detail = fmt::format("{} ({} bytes of payload)", rd_kafka_err2str(code),
                                  batch.payload_bytes(row))};
}

void Engine::judge_refusals() {
    std::vector<std::int64_t> ids;
    for (const Refusal& suspect : suspects_) {
        ids.push_back(suspect.id);
    }
    switch (isolation_.judge(ids)) {
    case Isolation::Verdict::nobody:
        break;
    case Isolation::Verdict::culprit:
        condemned_.push_back(std::move(suspects_.front()));
        fruitless_resets_ = 0;
        break;
    case Isolation::Verdict::narrow:
        log_event(Severity::info, "searching_refused_row",
                  {{"suspects", ids.size()}, {"at_once", isolation_.limit()}});
        fruitless_resets_ = 0;
        break;
    }
    suspects_.clear();
}

// False: try again later.
bool Engine::condemn_all() {
    while (!condemned_.empty()) {
        if (!deleter_ || deleter_->busy()) {
            return false;
        }
        if (const auto done = condemn(condemned_.back()); !done) {
            connection_failed(deleter_, done.error());
            return false;
        }
        condemned_.pop_back();
    }
    return true;
}

std::expected<void, DatabaseError> Engine::condemn(const Refusal& refusal) {
    const auto special = options_.policy.topics.find(refusal.topic);
    const RefusalPolicy policy =
        special == options_.policy.topics.end() ? options_.policy.on_refused : special->second;
    const std::int64_t epoch = grant_.epochs[refusal.bucket];
    const auto bucket = static_cast<std::int16_t>(refusal.bucket);
    // Without a key there is no order to keep, and nothing to park.
    const bool park = policy == RefusalPolicy::block && refusal.key.has_value();
    const auto done = park ? deleter_->execute(sql_park, Parameters()
                                                             .int16(bucket)
                                                             .int64(refusal.id)
                                                             .text(refusal.topic)
                                                             .bytes(refusal.key)
                                                             .text(refusal.event_id)
                                                             .text(refusal.reason)
                                                             .text(refusal.detail)
                                                             .text(instance_)
                                                             .int64(epoch))
                           : deleter_->execute(sql_kill, Parameters()
                                                             .int16(bucket)
                                                             .int64(refusal.id)
                                                             .text(refusal.reason)
                                                             .text(refusal.detail)
                                                             .text(instance_)
                                                             .int64(epoch)
                                                             .text(refusal.event_id));
    if (!done) {
        return std::unexpected(done.error());
    }
    if (done->affected_rows() == 0) {
        return {}; // the bucket has another owner now, who will meet the same row
    }
    log_event(Severity::error, park ? "key_parked" : "row_dead",
              {{"id", refusal.id},
               {"topic", refusal.topic},
               {"event_id", refusal.event_id},
               {"reason", refusal.reason},
               {"detail", refusal.detail}});
    if (park) {
        ++parked_generation_;
        telemetry_.keys_parked.fetch_add(1, std::memory_order_relaxed);
        holds_.park({.topic = refusal.topic, .key = *refusal.key, .row_id = refusal.id});
    } else {
        telemetry_.rows_dead.fetch_add(1, std::memory_order_relaxed);
    }
    return {};
}

} // namespace concordat::relay
