// Reading: windows of new rows, rows that became visible late, and everything that goes back.

#include "participant-sdk/relay/engine.hpp"
#include "participant-sdk/relay/event_log.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace concordat::relay {
namespace {

// The first row carries, under bucket -1, the snapshot (as topic), the last id drawn (as id) and
// the distance from the snapshot's xmax to the next transaction number (as payload_bytes): age()
// counts from there. The latter two are looked up after the snapshot was taken, which the cursor
// allows for.
//
// The last id is asked of the function, which waits for the sequence's page. The sequence's row may
// not be read: nextval() writes the number of its log record into it, up to 32 ids ahead, and then
// the right one, and a SELECT looks at the row after it has given the page free. Ids taken for
// drawn that were not are passed by, and their rows wait for the sweep.
constexpr const char* sql_window =
    "SELECT -1::smallint AS bucket, "
    "coalesce(pg_sequence_last_value('concordat_outbox_id_seq'::regclass), 0) AS id, "
    "NULL::uuid AS event_id, NULL::timestamptz AS created_at, pg_current_snapshot()::text AS topic,"
    " NULL::bytea AS key, NULL::text AS type, NULL::jsonb AS headers, NULL::bytea AS payload, "
    "age(pg_snapshot_xmax(pg_current_snapshot())::xid) AS payload_bytes "
    "UNION ALL "
    "SELECT bucket, id, event_id, created_at, topic, key, type, headers, "
    "CASE WHEN octet_length(payload) <= $4 THEN payload END, octet_length(payload) "
    "FROM concordat_outbox WHERE bucket = ANY($1) AND id > $2 AND id <= $3";

constexpr const char* sql_late =
    "SELECT bucket, id, event_id, created_at, topic, key, type, headers, "
    "CASE WHEN octet_length(payload) <= $4 THEN payload END, octet_length(payload) "
    "FROM concordat_outbox WHERE bucket = ANY($1) AND id > $2 AND id <= $3 AND xid = ANY($5) LIMIT "
    "$6";

constexpr const char* sql_seek =
    "SELECT min(o.id) FROM unnest($1::smallint[]) AS b (bucket) CROSS JOIN LATERAL "
    "(SELECT id FROM concordat_outbox WHERE bucket = b.bucket AND id > $2 ORDER BY id LIMIT 1) o";

constexpr const char* sql_payloads =
    "SELECT o.id, o.payload FROM unnest($1::smallint[], $2::bigint[]) AS w (bucket, id) "
    "CROSS JOIN LATERAL (SELECT id, payload FROM concordat_outbox c "
    " WHERE c.bucket = w.bucket AND c.id = w.id OFFSET 0) o";

constexpr const char* sql_sweep =
    "SELECT min(o.id) FROM unnest($1::smallint[]) AS b (bucket) CROSS JOIN LATERAL "
    "(SELECT id FROM concordat_outbox c WHERE c.bucket = b.bucket AND c.id > $4 AND c.id <= $2 "
    " AND c.topic <> ALL($3::text[]) AND NOT EXISTS (SELECT FROM concordat_outbox_parked p "
    "  WHERE p.topic = c.topic AND p.key = c.key) ORDER BY c.id LIMIT 1) o";

// Payloads that are fetched at once, unless a single one is larger.
constexpr std::int64_t payload_fetch_bytes = 4 << 20;

constexpr std::chrono::milliseconds sweep_confirmation_pause{250};
// Over a million dead rows a sweep takes long: it may not take more than this share of time.
constexpr int sweep_share = 20;

constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();

} // namespace

void Engine::send_read(ReadJob job, const char* sql, const Parameters& parameters) {
    deleted_during_read_.clear();
    discard_read_ = false;
    read_job_ = job;
    read_started_ = Clock::now();
    if (const auto sent = reader_->send(sql, parameters); !sent) {
        connection_failed(reader_, sent.error());
    }
}

void Engine::start_read() {
    // Until proven otherwise, what stands in the way ends with an event.
    read_blocked_ = true;
    if (!reader_ || read_job_ != ReadJob::none || stop_requested_ || phase_ != Phase::running) {
        return;
    }
    const std::vector<std::int16_t> buckets = readable_buckets();
    if (buckets.empty()) {
        return;
    }
    if (restart_pending_) {
        // Ids that are known may belong to other rows by now: they are deleted, or dropped, first.
        if (!known_.empty()) {
            if (known_.size() == on_trial_) {
                begin_reset("rows read by a lost connection still try a stalled topic");
            }
            return;
        }
        cursor_.restart();
        restart_pending_ = false;
    }
    if (!ready_.empty()) {
        Batch& head = *ready_.front();
        if (head.next < head.rows.size() && !head.has_payload(head.rows[head.next]) &&
            !exceeds_limit(head, head.rows[head.next])) {
            request_payloads(head);
            return;
        }
    }
    if (known_.size() >= options_.pipeline.window_rows ||
        bytes_in_memory_ >= options_.pipeline.window_bytes) {
        return;
    }
    read_blocked_ = false;
    if (Clock::now() < next_read_) {
        return;
    }
    if (cursor_.wants_seek()) {
        send_read(ReadJob::seek, sql_seek,
                  Parameters().int16_array(buckets).int64(cursor_.position()));
        return;
    }
    const ReadCursor::Window window = cursor_.window();
    window_buckets_ = buckets;
    send_read(ReadJob::window, sql_window,
              Parameters()
                  .int16_array(window_buckets_)
                  .int64(window.after)
                  .int64(window.upto)
                  .int32(static_cast<std::int32_t>(options_.pipeline.inline_payload_bytes)));
}

void Engine::finish_read(Result result) {
    const ReadJob job = std::exchange(read_job_, ReadJob::none);
    if (std::exchange(discard_read_, false)) {
        payload_batch_ = nullptr;
        return;
    }
    switch (job) {
    case ReadJob::none:
        break;
    case ReadJob::window:
        take_window(std::move(result));
        break;
    case ReadJob::late:
        take_late(std::move(result));
        break;
    case ReadJob::seek:
        cursor_.skip_to(result.rows() == 1 && !result.is_null(0, 0) ? result.int64(0, 0) : never);
        break;
    case ReadJob::payloads:
        take_payloads(std::move(result));
        break;
    }
}

void Engine::take_window(Result result) {
    ReadCursor::Observation seen;
    for (int row = 0; row < result.rows(); ++row) {
        if (result.int16(row, row_column::bucket) >= 0) {
            continue;
        }
        const auto snapshot = Snapshot::parse(result.bytes(row, row_column::topic));
        if (!snapshot) {
            log_event(Severity::error, "unreadable_snapshot");
            return;
        }
        seen.snapshot = *snapshot;
        const auto running = std::max(0, result.int32(row, row_column::payload_bytes));
        seen.snapshot.next = snapshot->xmax + static_cast<std::uint64_t>(running);
        seen.last_drawn = result.int64(row, row_column::id);
    }
    const auto elapsed =
        std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - read_started_);
    telemetry_.polls.fetch_add(1, std::memory_order_relaxed);
    telemetry_.poll_microseconds.fetch_add(static_cast<std::uint64_t>(elapsed.count()),
                                           std::memory_order_relaxed);
    telemetry_.last_poll_microseconds = static_cast<std::uint64_t>(elapsed.count());

    std::unique_ptr<Batch> batch = make_batch(std::move(result));
    seen.rows = batch->rows.size();
    seen.bytes = batch->bytes;
    seen.highest_id = batch->rows.empty() ? 0 : batch->rows.back().id;
    const bool more = seen.last_drawn > cursor_.window().upto;
    late_ = cursor_.advance(seen);
    pace_reading(seen.rows, more);
    if (seen.rows == 0 && !more && !late_ && known_.size() == on_trial_ && lowest_dropped_ == 0 &&
        phase_ == Phase::running) {
        forget_what_is_gone();
    }
    if (!late_) {
        enqueue(std::move(batch));
        return;
    }
    behind_late_ = std::move(batch);
    // Of the window's buckets, whatever became of the leases since: the cursor asks only once, and
    // rows that may not be published are dropped in their turn, to be read again.
    send_read(ReadJob::late, sql_late,
              Parameters()
                  .int16_array(window_buckets_)
                  .int64(late_->after)
                  .int64(late_->upto)
                  .int32(static_cast<std::int32_t>(options_.pipeline.inline_payload_bytes))
                  .xid8_array(late_->transactions)
                  .int64(static_cast<std::int64_t>(options_.pipeline.batch_rows)));
}

void Engine::pace_reading(std::size_t rows, bool more) {
    const auto now = Clock::now();
    if (more) {
        read_pause_ = options_.pipeline.poll_min;
        next_read_ = now;
        return;
    }
    read_pause_ = rows > 0 ? options_.pipeline.poll_min
                           : std::min(read_pause_ * 2, options_.pipeline.poll_max);
    next_read_ = now + read_pause_;
}

void Engine::take_late(Result result) {
    if (static_cast<std::size_t>(result.rows()) >= options_.pipeline.batch_rows) {
        // A large transaction: its rows are read window by window, with everything behind them.
        const std::int64_t first = late_->after + 1;
        late_.reset();
        rewind(first);
        return;
    }
    std::unique_ptr<Batch> batch = make_batch(std::move(result));
    telemetry_.rows_late.fetch_add(batch->rows.size(), std::memory_order_relaxed);
    if (!batch->rows.empty()) {
        read_pause_ = options_.pipeline.poll_min;
        next_read_ = Clock::now() + read_pause_;
    }
    enqueue(std::move(batch));
    late_.reset();
    enqueue(std::move(behind_late_));
}

std::unique_ptr<Batch> Engine::make_batch(Result result) {
    auto batch = std::make_unique<Batch>(std::move(result));
    const int rows = batch->result.rows();
    batch->rows.reserve(static_cast<std::size_t>(rows));
    for (int index = 0; index < rows; ++index) {
        const std::int16_t bucket = batch->result.int16(index, row_column::bucket);
        const std::int64_t id = batch->result.int64(index, row_column::id);
        if (bucket < 0 || known_.contains(id) || deleted_during_read_.contains(id)) {
            continue;
        }
        Row row{.batch = batch.get(),
                .id = id,
                .created_at_us =
                    from_server_time(batch->result.int64(index, row_column::created_at)),
                .index = index,
                .bucket = static_cast<std::uint16_t>(bucket),
                .state = Row::State::waiting,
                .payload_elsewhere = batch->result.is_null(index, row_column::payload) &&
                                     !batch->result.is_null(index, row_column::payload_bytes)};
        batch->bytes += batch->bytes_here(row);
        batch->rows.push_back(row);
    }
    std::ranges::sort(batch->rows, {}, &Row::id);
    return batch;
}

void Engine::enqueue(std::unique_ptr<Batch> batch) {
    if (batch == nullptr || batch->rows.empty()) {
        return;
    }
    batch->unfinished = batch->rows.size();
    for (const Row& row : batch->rows) {
        known_.insert(row.id);
        ++bucket_rows_[row.bucket];
    }
    bytes_in_memory_ += batch->bytes;
    telemetry_.rows_read.fetch_add(batch->rows.size(), std::memory_order_relaxed);
    ready_.push_back(batch.get());
    batches_.push_back(std::move(batch));
}

void Engine::request_payloads(Batch& batch) {
    std::vector<std::int16_t> buckets;
    std::vector<std::int64_t> ids;
    std::int64_t bytes = 0;
    for (std::size_t index = batch.next; index < batch.rows.size(); ++index) {
        const Row& row = batch.rows[index];
        if (batch.has_payload(row) || exceeds_limit(batch, row)) {
            continue;
        }
        bytes += batch.payload_bytes(row);
        if (!ids.empty() && bytes > payload_fetch_bytes) {
            break;
        }
        buckets.push_back(static_cast<std::int16_t>(row.bucket));
        ids.push_back(row.id);
    }
    payload_batch_ = &batch;
    send_read(ReadJob::payloads, sql_payloads, Parameters().int16_array(buckets).int64_array(ids));
}

void Engine::take_payloads(Result result) {
    Batch& batch = *std::exchange(payload_batch_, nullptr);
    const auto shared = std::make_shared<Result>(std::move(result));
    for (int row = 0; row < shared->rows(); ++row) {
        batch.payloads.emplace(shared->int64(row, 0), std::pair(shared, row));
        const std::size_t bytes = shared->bytes(row, 1).size();
        batch.bytes += bytes;
        bytes_in_memory_ += bytes;
    }
    if (batch.next == batch.rows.size()) {
        return;
    }
    Row& head = batch.rows[batch.next];
    if (!batch.has_payload(head)) {
        // It was taken away by hand meanwhile: nothing is left to send.
        drop_row(head);
    }
}

void Engine::rewind(std::int64_t id) {
    // What was read meanwhile and waits to be sent lies behind the rows that come again: it has to
    // come again as well, or it would be sent before them.
    drop_all_waiting();
    std::int64_t lowest = id;
    if (const std::int64_t dropped = std::exchange(lowest_dropped_, 0); dropped != 0) {
        lowest = std::min(lowest, dropped);
    }
    if (read_job_ == ReadJob::late && late_) {
        // The cursor believes that these were read.
        lowest = std::min(lowest, late_->after + 1);
    }
    if (behind_late_ != nullptr && !behind_late_->rows.empty()) {
        lowest = std::min(lowest, behind_late_->rows.front().id);
    }
    behind_late_.reset();
    late_.reset();
    if (read_job_ == ReadJob::window || read_job_ == ReadJob::late || read_job_ == ReadJob::seek) {
        discard_read_ = true;
    }
    cursor_.rewind_to(lowest);
    next_read_ = Clock::now();
}

void Engine::start_sweep() {
    const auto now = Clock::now();
    if (!sweeper_ || sweeper_->busy() || now < next_sweep_ || stop_requested_ ||
        phase_ != Phase::running || behind_late_ != nullptr) {
        return;
    }
    const std::vector<std::int16_t> buckets = readable_buckets();
    if (buckets.empty()) {
        return;
    }
    // Everything visible below the oldest row in memory should be gone, but for topics that wait.
    std::unordered_set<std::int64_t> on_trial;
    for (const Row* row : rows_on_trial()) {
        on_trial.insert(row->id);
    }
    std::int64_t limit = cursor_.position();
    for (const std::int64_t id : known_) {
        if (!on_trial.contains(id)) {
            limit = std::min(limit, id - 1);
        }
    }
    sweep_slice_ = sweep_.next(limit);
    if (sweep_slice_.empty()) {
        next_sweep_ = now + options_.pipeline.sweep_interval;
        return;
    }
    sweep_started_ = now;
    deleted_during_sweep_.clear();
    const auto sent = sweeper_->send(sql_sweep, Parameters()
                                                    .int16_array(buckets)
                                                    .int64(sweep_slice_.upto)
                                                    .text_array(waiting_topics())
                                                    .int64(sweep_slice_.after));
    if (!sent) {
        connection_failed(sweeper_, sent.error());
    }
}

void Engine::finish_sweep(const Result& result) {
    const auto took = Clock::now() - sweep_started_;
    next_sweep_ = sweep_started_ + sweep_share * took;
    if (result.rows() != 1 || result.is_null(0, 0)) {
        sweep_candidate_ = 0;
        sweep_.pass(sweep_slice_, took);
        return;
    }
    const std::int64_t id = result.int64(0, 0);
    // It may have been taken up, or held, since the statement was sent.
    if (known_.contains(id) || deleted_during_sweep_.contains(id) || id > cursor_.position() ||
        phase_ != Phase::running) {
        return;
    }
    // A transaction that has just ended leaves such rows for the moment until the next window. Only
    // what a second look finds again was really missed.
    if (std::exchange(sweep_candidate_, id) != id) {
        next_sweep_ = Clock::now() + sweep_confirmation_pause;
        return;
    }
    telemetry_.rows_swept.fetch_add(1, std::memory_order_relaxed);
    log_event(Severity::debug, "row_found_by_sweep", {{"id", id}});
    rewind(id);
}

void Engine::take_parked() {
    std::optional<std::pair<std::vector<ParkedKey>, std::uint64_t>> mail;
    {
        const std::lock_guard lock(mailbox_mutex_);
        mail.swap(parked_mail_);
    }
    // A list that was read before this relay parked a key itself does not know that key.
    if (!mail || mail->second != parked_generation_) {
        return;
    }
    if (const auto lowest = holds_.replace_parked(mail->first)) {
        log_event(Severity::info, "parked_key_released", {{"id", *lowest}});
        rewind(*lowest);
    }
}

void Engine::release_topics() {
    if (!topics_changed_.exchange(false)) {
        return;
    }
    count_partitions();
    for (const std::string& topic : holds_.held_topics()) {
        const auto known = known_topics_.find(topic);
        if (known != known_topics_.end() && known->second.stalled) {
            continue; // its acknowledgements end this, not its metadata
        }
        const TopicState state = topics_->look_up(envelope_.topic(topic));
        if (state.kind != TopicState::Kind::ready) {
            telemetry_.set_trouble("topic " + topic, state.detail);
            continue;
        }
        telemetry_.set_trouble("topic " + topic, "");
        log_event(Severity::info, "topic_available", {{"topic", topic}});
        if (const auto lowest = holds_.release_topic(topic)) {
            rewind(*lowest);
        }
    }
}

} // namespace concordat::relay
