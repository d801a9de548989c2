// Sending rows to Kafka, taking the reports, deleting what was acknowledged.

#include "participant-sdk/relay/engine.hpp"
#include "participant-sdk/relay/event_log.hpp"

#include <algorithm>

namespace concordat::relay {
namespace {

// By explicit ids, never by range; only the event that was published, for a crash of the database
// may have given its id to another; and only under the epoch with which it was published. The
// lateral subquery leaves the planner one way: look each id up in the primary key. Left free, it
// scans the whole table when its statistics are those of an empty one.
constexpr const char* sql_delete =
    "DELETE FROM concordat_outbox WHERE ctid = ANY (ARRAY("
    "SELECT found.at FROM unnest($1::smallint[], $2::bigint[], $6::uuid[]) AS d (bucket, id, "
    "event) "
    "CROSS JOIN LATERAL (SELECT ctid AS at FROM concordat_outbox o "
    " WHERE o.bucket = d.bucket AND o.id = d.id AND o.event_id = d.event OFFSET 0) found "
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
    if (!feed_set_aside()) {
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
    Topic& topic = topic_of(batch, row);
    if (holds_.holds(batch.topic(row), batch.key(row), row.id)) {
        drop_row(row);
        return true;
    }
    if (!topic.ready) {
        const TopicState state = topics_->look_up(topic.kafka_topic);
        if (state.kind == TopicState::Kind::unknown) {
            return false;
        }
        if (state.kind == TopicState::Kind::refused) {
            hold_refused_topic(batch, row, topic, state.detail);
            return true;
        }
        topic.ready = true;
        topic.partitions.set_count(state.partitions);
    }
    if (topic.stalled && topic.at_kafka > 0) {
        holds_.hold_topic(std::string(batch.topic(row)), row.id);
        drop_row(row);
        return true;
    }
    if (awaited() >= options_.pipeline.window_rows) {
        return false;
    }
    if (isolation_.active()) {
        if (!isolation_.is_beyond(row.id)) {
            if (!isolation_.has_room(awaited())) {
                return false;
            }
        } else if (awaited() > 0) {
            return false;
        } else if (!isolation_.finish()) {
            // Each was accepted in small company: the broker's limit is on batches.
            batch_bytes_ = std::max<std::size_t>(16'384, batch_bytes_ / 2);
            begin_reset("batches are too large for the broker");
            return false;
        }
    }
    const bool too_large = exceeds_limit(batch, row);
    if (!too_large && !batch.has_payload(row)) {
        return false;
    }
    if (const auto key = batch.key(row); key && row.state == Row::State::waiting) {
        row.partition = topic.partitions.of(*key);
        if (topic.partitions.must_wait(row.partition)) {
            set_aside(row, topic);
            return true;
        }
    }
    // In its turn, as if it had been sent: the search for refused rows counts on that.
    if (too_large) {
        refuse(batch, row, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
        return false;
    }
    if (topic.stalled && batch.result.rows() > 1) {
        put_alone(batch, row);
        return true;
    }
    return send_row(batch, row, topic);
}

void Engine::hold_refused_topic(const Batch& batch, Row& row, Topic& topic,
                                const std::string& detail) {
    const std::string name(batch.topic(row));
    log_event(Severity::warning, "topic_refused",
              {{"topic", topic.kafka_topic}, {"message", detail}});
    telemetry_.set_trouble("topic " + name, detail);
    set_stalled(topic, false); // it is the cluster's answer that ends this
    holds_.hold_topic(name, row.id);
    drop_row(row);
}

bool Engine::send_row(Batch& batch, Row& row, Topic& topic) {
    const RowView view = batch.view(row);
    const auto now_ms = static_cast<std::int64_t>(wall_clock_seconds_ * 1000);
    const std::int64_t timestamp_ms = envelope_.describe(view, now_ms, headers_);
    const rd_kafka_resp_err_t code = producer_->produce({.topic = &topic.kafka_topic,
                                                         .key = view.key,
                                                         .payload = batch.payload(row),
                                                         .timestamp_ms = timestamp_ms,
                                                         .headers = &headers_,
                                                         .tag = &row});
    if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        return false;
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (classify(code) == Fault::topic) {
            topics_->distrust(topic.kafka_topic, rd_kafka_err2str(code));
        }
        refuse(batch, row, code);
        return false;
    }
    take_from_queue(row);
    row.state = Row::State::sent;
    row.topic = &topic;
    if (row.partition >= 0) {
        topic.partitions.sent(row.partition, Clock::now());
    }
    if (topic.stalled) {
        ++on_trial_;
    }
    if (++topic.at_kafka == 1) {
        // The watchdogs count from the first record on the way.
        topic.last_progress = Clock::now();
        if (awaited() == 1) {
            last_progress_ = topic.last_progress;
        }
    }
    return true;
}

// The record was not taken at all; what went before it is waited for.
void Engine::refuse(const Batch& batch, const Row& row, rd_kafka_resp_err_t code) {
    if (classify(code) == Fault::record) {
        suspects_.push_back(refusal_of(batch, row, code));
    }
    begin_reset(rd_kafka_err2str(code), classify(code) == Fault::producer);
}

// It is not read, for it may be too large for the memory as well.
bool Engine::exceeds_limit(const Batch& batch, const Row& row) const {
    const auto bytes = static_cast<std::size_t>(batch.payload_bytes(row));
    return bytes > options_.kafka.max_message_bytes;
}

Topic& Engine::topic_of(const Batch& batch, const Row& row) {
    const std::string_view name = batch.topic(row);
    const auto found = known_topics_.find(name);
    if (found != known_topics_.end()) {
        return found->second;
    }
    if (known_topics_.size() >= TopicProber::topic_limit) {
        std::erase_if(known_topics_, [](const auto& entry) {
            return entry.second.at_kafka == 0 && entry.second.set_aside == 0 &&
                   !entry.second.stalled;
        });
    }
    Topic& added = known_topics_[std::string(name)];
    added.kafka_topic = envelope_.topic(name);
    return added;
}

void Engine::on_report(void* tag, rd_kafka_resp_err_t code, std::int32_t partition) {
    Row& row = *static_cast<Row*>(tag);
    const Batch& batch = *row.batch;
    Topic& topic = *row.topic;
    last_progress_ = Clock::now();
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        topic.last_progress = last_progress_;
        note_partition(topic, row, partition);
        fruitless_resets_ = 0;
        clear_kafka_trouble();
        clear_silence();
        telemetry_.rows_published.fetch_add(1, std::memory_order_relaxed);
        telemetry_.age_at_acknowledgement.record(wall_clock_seconds_ -
                                                 static_cast<double>(row.created_at_us) / 1e6);
        acknowledged_.push_back(batch.identity(row));
        const std::string name(topic.stalled ? batch.topic(row) : "");
        finish_row(row);
        if (topic.stalled) {
            end_stall(name, topic);
        }
        if (isolation_.active() && phase_ == Phase::running && awaited() == 0) {
            isolation_.round_succeeded();
        }
        return;
    }
    const Fault fault = classify(code);
    if (fault == Fault::record) {
        suspects_.push_back(refusal_of(batch, row, code));
    } else if (fault == Fault::topic) {
        topics_->distrust(topic.kafka_topic, rd_kafka_err2str(code));
        topic.ready = false;
    }
    if (!failure_ && phase_ == Phase::running && !trials_ended_) {
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
    if (row.state == Row::State::sent) {
        --row.topic->at_kafka;
        if (row.partition >= 0) {
            row.topic->partitions.reported(row.partition);
        }
        if (row.topic->stalled) {
            --on_trial_;
        }
    }
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

// Its turn has come. Who feeds the rows that were set aside takes it from their list.
void Engine::take_from_queue(Row& row) {
    if (row.state == Row::State::set_aside) {
        --row.topic->set_aside;
        row.topic->partitions.waits_no_more(row.partition);
    } else {
        ++row.batch->next;
    }
}

// A row that was not sent: forgotten, to be read again some time.
void Engine::drop_row(Row& row) {
    take_from_queue(row);
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
    std::ranges::sort(deleting_, {}, &RowIdentity::id);
    std::vector<std::int16_t> buckets;
    std::vector<std::int64_t> ids;
    std::vector<Uuid> events;
    buckets.reserve(count);
    ids.reserve(count);
    events.reserve(count);
    for (const RowIdentity& row : deleting_) {
        buckets.push_back(row.bucket);
        ids.push_back(row.id);
        events.push_back(row.event_id);
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
                                                     .text(instance_)
                                                     .uuid_array(events));
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
    for (const RowIdentity& row : deleting_) {
        known_.erase(row.id);
        --bucket_rows_[static_cast<std::size_t>(row.bucket)];
        if (reading) {
            deleted_during_read_.insert(row.id);
        }
        if (sweeping) {
            deleted_during_sweep_.insert(row.id);
        }
    }
    deleting_.clear();
}

} // namespace concordat::relay
