// Sending rows to Kafka, taking the reports, deleting what was acknowledged.

#include "participant-sdk/relay/engine.hpp"
#include "participant-sdk/relay/event_log.hpp"

#include <algorithm>

namespace concordat::relay {
namespace {

// By explicit ids, never by range; and only under the epoch with which they were published. The
// lateral subquery leaves the planner one way: look each id up in the primary key. Left free, it
// scans the whole table when its statistics are those of an empty one.
constexpr const char* sql_delete =
    "DELETE FROM concordat_outbox WHERE ctid = ANY (ARRAY("
    "SELECT found.at FROM unnest($1::smallint[], $2::bigint[]) AS d (bucket, id) "
    "CROSS JOIN LATERAL (SELECT ctid AS at FROM concordat_outbox o "
    " WHERE o.bucket = d.bucket AND o.id = d.id OFFSET 0) found "
    "WHERE d.bucket = ANY (ARRAY(SELECT l.bucket FROM concordat_outbox_lease l "
    " JOIN unnest($3::smallint[], $4::bigint[]) AS h (bucket, epoch) "
    " ON l.bucket = h.bucket AND l.epoch = h.epoch WHERE l.owner = $5))))";

constexpr std::size_t delete_rows = 5000;
constexpr std::chrono::milliseconds delete_pause{5};

} // namespace

void Engine::feed_producer() {
    if (producer_ == nullptr || stop_requested_) {
        return;
    }
    while (!ready_.empty()) {
        Batch& batch = *ready_.front();
        while (batch.next < batch.rows.size()) {
            if (!feed_row(batch, batch.rows[batch.next])) {
                return;
            }
            if (ready_.empty() || ready_.front() != &batch) {
                break; // its last row was dropped, and the batch with it
            }
        }
        if (!ready_.empty() && ready_.front() == &batch) {
            ready_.pop_front();
        }
    }
}

// False: nothing more can be sent now.
bool Engine::feed_row(Batch& batch, Row& row) {
    if (!may_publish(row.bucket)) {
        if (!grant_.leaving.test(row.bucket)) {
            lowest_dropped_ = lowest_dropped_ == 0 ? row.id : std::min(lowest_dropped_, row.id);
        }
        drop_row(row);
        return true;
    }
    TopicEntry* topic = topic_entry(batch.topic(row));
    if (topic == nullptr) {
        return false;
    }
    if (holds_.holds(batch.topic(row), batch.key(row), row.id)) {
        drop_row(row);
        return true;
    }
    if (!topic->ready) {
        const TopicState state = topics_->look_up(topic->kafka_topic);
        if (state.kind == TopicState::Kind::unknown) {
            return false;
        }
        if (state.kind == TopicState::Kind::refused) {
            const std::string name(batch.topic(row));
            log_event(Severity::warning, "topic_refused",
                      {{"topic", topic->kafka_topic}, {"message", state.detail}});
            telemetry_.set_trouble("topic " + name, state.detail);
            holds_.hold_topic(name, row.id);
            drop_row(row);
            return true;
        }
        topic->ready = true;
    }
    std::size_t limit = options_.pipeline.window_rows;
    if (isolation_.active()) {
        if (!isolation_.is_beyond(row.id)) {
            limit = isolation_.limit();
        } else if (producer_->outstanding() > 0) {
            return false;
        } else if (!isolation_.finish()) {
            // Each was accepted in small company: the broker's limit is on batches.
            batch_bytes_ = std::max<std::size_t>(16'384, batch_bytes_ / 2);
            begin_reset("batches are too large for the broker");
            return false;
        }
    }
    if (producer_->outstanding() >= limit || !batch.has_payload(row)) {
        return false;
    }
    return send_row(batch, row, *topic);
}

bool Engine::send_row(Batch& batch, Row& row, const TopicEntry& topic) {
    const RowView view = batch.view(row);
    envelope_.headers(view, headers_);
    const rd_kafka_resp_err_t code = producer_->produce({.topic = &topic.kafka_topic,
                                                         .key = view.key,
                                                         .payload = batch.payload(row),
                                                         .timestamp_ms = row.created_at_us / 1000,
                                                         .headers = &headers_,
                                                         .tag = &row});
    if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        return false;
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (classify(code) == Fault::record) {
            suspects_.push_back(refusal_of(batch, row, code));
        } else if (classify(code) == Fault::topic) {
            topics_->distrust(topic.kafka_topic, rd_kafka_err2str(code));
        }
        begin_reset(rd_kafka_err2str(code), classify(code) == Fault::producer);
        return false;
    }
    if (producer_->outstanding() == 1) {
        last_progress_ = Clock::now(); // the watchdog counts from the first record on the way
    }
    row.state = Row::State::sent;
    ++batch.next;
    return true;
}

Engine::TopicEntry* Engine::topic_entry(std::string_view topic) {
    const auto found = topic_entries_.find(topic);
    if (found != topic_entries_.end()) {
        return &found->second;
    }
    if (topic_entries_.size() >= TopicProber::topic_limit) {
        topic_entries_.clear(); // they are only a cache
    }
    const auto added = topic_entries_.emplace(
        std::string(topic), TopicEntry{.kafka_topic = envelope_.topic(topic), .ready = false});
    return &added.first->second;
}

void Engine::on_report(void* tag, rd_kafka_resp_err_t code) {
    Row& row = *static_cast<Row*>(tag);
    const Batch& batch = *row.batch;
    last_progress_ = Clock::now();
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        fruitless_resets_ = 0;
        clear_kafka_trouble();
        clear_silence();
        telemetry_.rows_published.fetch_add(1, std::memory_order_relaxed);
        telemetry_.age_at_acknowledgement.record(wall_clock_seconds_ -
                                                 static_cast<double>(row.created_at_us) / 1e6);
        acknowledged_.emplace_back(static_cast<std::int16_t>(row.bucket), row.id);
        finish_row(row);
        if (isolation_.active() && phase_ == Phase::running && producer_->outstanding() == 0) {
            isolation_.round_succeeded();
        }
        return;
    }
    const Fault fault = classify(code);
    if (fault == Fault::record) {
        suspects_.push_back(refusal_of(batch, row, code));
    } else if (fault == Fault::topic) {
        const std::string topic = envelope_.topic(batch.topic(row));
        topics_->distrust(topic, rd_kafka_err2str(code));
        if (TopicEntry* entry = topic_entry(batch.topic(row)); entry != nullptr) {
            entry->ready = false;
        }
    }
    if (!failure_ && phase_ == Phase::running) {
        failure_ = rd_kafka_err2str(code);
    }
    lowest_dropped_ = lowest_dropped_ == 0 ? row.id : std::min(lowest_dropped_, row.id);
    known_.erase(row.id);
    --bucket_rows_[row.bucket];
    finish_row(row);
}

void Engine::on_trouble(rd_kafka_resp_err_t code, const std::string& text) {
    // One name for all brokers: the operator needs the state of the cluster, not of a socket. That
    // all are down only sums up the errors before it, which say why.
    if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || !kafka_trouble_) {
        telemetry_.set_trouble("kafka", text);
    }
    kafka_trouble_ = true;
    topics_->check_cluster();
    if (code == RD_KAFKA_RESP_ERR__AUTHENTICATION && !failure_ && phase_ == Phase::running) {
        failure_ = text; // a new producer reads the password file again
    }
    log_event(Severity::warning, "kafka_trouble",
              {{"code", rd_kafka_err2name(code)}, {"message", text}});
}

// Takes the row out of its batch, and the batch out of memory with its last row.
void Engine::finish_row(Row& row) {
    Batch* batch = row.batch;
    row.state = Row::State::finished;
    if (--batch->unfinished > 0) {
        return;
    }
    bytes_in_memory_ -= batch->bytes;
    if (payload_batch_ == batch) {
        payload_batch_ = nullptr;
        discard_read_ = true;
    }
    std::erase(ready_, batch);
    std::erase_if(batches_, [batch](const auto& owned) { return owned.get() == batch; });
}

// A row that was not sent: forgotten, to be read again some time.
void Engine::drop_row(Row& row) {
    ++row.batch->next;
    known_.erase(row.id);
    --bucket_rows_[row.bucket];
    finish_row(row);
}

void Engine::start_delete() {
    if (!deleter_ || deleter_->busy() || acknowledged_.empty()) {
        return;
    }
    const auto now = Clock::now();
    const bool urgent = stop_requested_ || grant_.leaving.any() || phase_ != Phase::running;
    if (now < next_delete_ && acknowledged_.size() < delete_rows / 2 && !urgent) {
        return;
    }
    next_delete_ = now + delete_pause;
    const std::size_t count = std::min(acknowledged_.size(), delete_rows);
    deleting_.assign(acknowledged_.begin(),
                     acknowledged_.begin() + static_cast<std::ptrdiff_t>(count));
    acknowledged_.erase(acknowledged_.begin(),
                        acknowledged_.begin() + static_cast<std::ptrdiff_t>(count));
    // In the order of the index and of the table.
    std::ranges::sort(deleting_, {}, &std::pair<std::int16_t, std::int64_t>::second);
    std::vector<std::int16_t> buckets;
    std::vector<std::int64_t> ids;
    buckets.reserve(count);
    ids.reserve(count);
    for (const auto& [bucket, id] : deleting_) {
        buckets.push_back(bucket);
        ids.push_back(id);
    }
    std::vector<std::int16_t> held;
    std::vector<std::int64_t> epochs;
    for (std::size_t bucket = 0; bucket < bucket_count; ++bucket) {
        if (grant_.owned.test(bucket)) {
            held.push_back(static_cast<std::int16_t>(bucket));
            epochs.push_back(grant_.epochs[bucket]);
        }
    }
    const auto sent = deleter_->send(sql_delete, Parameters()
                                                     .int16_array(buckets)
                                                     .int64_array(ids)
                                                     .int16_array(held)
                                                     .int64_array(epochs)
                                                     .text(instance_));
    if (!sent) {
        connection_failed(deleter_, sent.error());
    }
}

void Engine::finish_delete(const Result& result) {
    const auto deleted = static_cast<std::uint64_t>(result.affected_rows());
    telemetry_.rows_deleted.fetch_add(deleted, std::memory_order_relaxed);
    if (deleted < deleting_.size()) {
        telemetry_.deletes_refused.fetch_add(deleting_.size() - deleted, std::memory_order_relaxed);
    }
    const bool reading = reader_ && reader_->busy();
    const bool sweeping = sweeper_ && sweeper_->busy();
    for (const auto& [bucket, id] : deleting_) {
        known_.erase(id);
        --bucket_rows_[static_cast<std::size_t>(bucket)];
        if (reading) {
            deleted_during_read_.insert(id);
        }
        if (sweeping) {
            deleted_during_sweep_.insert(id);
        }
    }
    deleting_.clear();
}

} // namespace concordat::relay
