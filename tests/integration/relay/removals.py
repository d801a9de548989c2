"""What techniques.py takes out of the relay, and which test must notice.

An edit is (file, text as it stands, text instead): when the source changes, the edit has to follow.
"""

from __future__ import annotations

from dataclasses import dataclass

RELAY = "concordat-relay"
CONNECTOR = "participant-sdk/relay/connector.cpp"
ENGINE = "participant-sdk/relay/engine.cpp"
READ = "participant-sdk/relay/engine_read.cpp"
SEND = "participant-sdk/relay/engine_send.cpp"
RECOVER = "participant-sdk/relay/engine_recover.cpp"
STALL = "participant-sdk/relay/engine_stall.cpp"
OPEN = "participant-sdk/relay/engine_open.cpp"
PRODUCER = "participant-sdk/relay/producer.cpp"
CURSOR = "participant-sdk/relay/read_cursor.cpp"
LEASES = "participant-sdk/relay/lease_keeper.cpp"
ENVELOPE = "participant-sdk/relay/envelope.cpp"
OUTBOX = "participant-sdk/src/outbox/outbox.cpp"
INBOX = "participant-sdk/src/inbox/inbox.cpp"
SOURCE = "participant-sdk/src/inbox/kafka_source.cpp"
TABLES = "migrations/participant/000002_outbox.up.sql"
PAGES = "migrations/participant/000006_outbox_keeps_its_pages.up.sql"
DEAD_ROWS = "migrations/participant/000005_dead_row_ids.up.sql"


@dataclass(frozen=True)
class Removal:
    name: str  # trap, and a letter where there are several techniques
    technique: str  # what is taken out
    edits: tuple[tuple[str, str, str], ...]
    test: str  # pytest node below this folder, or "unit:" and a filter
    program: str = RELAY  # that is linked anew


def setting(name: str, value: str, instead: str) -> tuple[str, str, str]:
    return (PRODUCER, f'{{"{name}", "{value}"}}', f'{{"{name}", "{instead}"}}')


REMOVALS = (
    Removal("O1a", "rows of transactions that ended late are read",
            ((CURSOR, "if (late.transactions.empty()) {", "if (true) {"),),
            "test_pipeline.py::test_prepared_row_with_a_lower_id_is_published_before_its_key_goes_on"),
    Removal("O1b", "late rows go before newer ones",
            ((READ, "    enqueue(std::move(batch));\n    late_.reset();\n    enqueue(std::move(behind_late_));",
              "    enqueue(std::move(behind_late_));\n    late_.reset();\n    enqueue(std::move(batch));"),),
            "test_pipeline.py::test_late_row_goes_before_newer_ones_that_were_read_with_it"),
    Removal("O1c", "full sweep", ((READ, "if (!sweeper_ || sweeper_->busy()", "if (true || sweeper_->busy()"),),
            "test_pipeline.py::test_sweep_finds_rows_that_no_transaction_in_sight_has_written"),
    Removal("O1d", "transaction number before id",
            ((TABLES, "    xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),\n"
                      "    id         bigint GENERATED ALWAYS AS IDENTITY,\n",
              "    id         bigint GENERATED ALWAYS AS IDENTITY,\n"
              "    xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),\n"),),
            "test_pipeline.py::test_transaction_has_its_number_before_it_draws_an_id"),
    Removal("O1e", "last id drawn is read with the sequence's page locked",
            ((READ, "coalesce(pg_sequence_last_value('concordat_outbox_id_seq'::regclass), 0) AS id",
              "(SELECT last_value FROM concordat_outbox_id_seq) AS id"),),
            "test_exactness.py::test_ids_that_are_not_drawn_yet_are_not_taken_for_read"),
    Removal("O1f", "a new connection begins anew",
            ((READ, "        cursor_.restart();\n", ""), (ENGINE, "        rewind(1);\n        restart_pending_", "        restart_pending_")),
            "test_database_crash.py::test_ids_that_a_crash_gives_out_again_are_read"),
    Removal("O1g", "the sweep looks at a slice at a time",
            ((READ, "sweep_slice_ = sweep_.next(limit);", "sweep_slice_ = {.after = 0, .upto = limit};"),),
            "test_pipeline.py::test_sweep_passes_over_any_number_of_rows_that_wait"),
    Removal("O1h", "late rows are asked of all buckets of their window",
            ((READ, "                  .int16_array(window_buckets_)\n                  .int64(late_->after)",
              "                  .int16_array(readable_buckets())\n                  .int64(late_->after)"),),
            "test_exactness.py::test_late_rows_are_read_although_the_leases_ran_out_while_the_statement_was_on_its_way"),
    Removal("O2a", "DELETE by explicit id",
            ((SEND, "AND o.id = d.id AND o.event_id = d.event OFFSET 0", "AND o.id <= d.id OFFSET 0"),),
            "test_pipeline.py::test_delete_takes_only_what_was_published"),
    Removal("O2b", "DELETE of the event that was sent, not of who has its id now",
            ((SEND, "AND o.event_id = d.event OFFSET 0", "OFFSET 0"),),
            "test_database_crash.py::test_acknowledgement_of_a_lost_row_does_not_delete_the_row_that_has_its_id_now"),
    Removal("O3a", "epoch in every DELETE",
            ((SEND, "AND l.epoch = h.epoch WHERE l.owner = $5", "AND h.epoch >= 0 WHERE $5::text IS NOT NULL"),),
            "test_leases.py::test_delete_counts_only_under_the_epoch_it_was_given"),
    Removal("O3b", "silence before an unrenewed lease ends",
            ((ENGINE, "    if (Clock::now() >= grant_.valid_until) {\n        return out;", "    if (false) {\n        return out;"),
             (ENGINE, "return grant_.covers(bucket, Clock::now()) &&", "return grant_.owned.test(bucket) &&"),
             (ENGINE, "if (now >= grant_.valid_until && at_kafka &&", "if (false && at_kafka &&")),
            "test_exactness.py::test_relay_that_cannot_renew_its_leases_falls_silent_before_they_end"),
    Removal("O3c", "one owner per bucket",
            ((LEASES, '" WHERE owner IS NULL OR expires_at < clock_timestamp())";', '" WHERE true)";'),
             (LEASES, '" WHERE owner IS NULL OR expires_at < clock_timestamp() "', '" WHERE true "')),
            "test_leases.py::test_two_relays_share_the_buckets_and_keep_the_order_of_every_key"),
    Removal("O3d", "leases given back on SIGTERM",
            ((LEASES, "    lock.unlock();\n    give_everything_back(session);", "    lock.unlock();"),
             (LEASES, "void LeaseKeeper::give_everything_back", "[[maybe_unused]] void LeaseKeeper::give_everything_back")),
            "test_leases.py::test_graceful_hand_over_does_not_wait_for_the_lease"),
    Removal("O3e", "rows forgotten when a lease lapses are read again",
            ((SEND, "        if (!grant_.leaving.test(row.bucket)) {", "        if (false) {"),),
            "test_exactness.py::test_rows_that_waited_in_memory_when_a_lease_was_renewed_late_are_read_again"),
    Removal("O3f", "leases are durable whatever the database's default",
            ((LEASES, "{postgres::sql_durable_commits, sql_forget_dead}", "{sql_forget_dead}"),),
            "test_database_crash.py::test_epochs_survive_a_crash_where_commits_do_not_wait_for_the_disk"),
    Removal("O3g", "the end of a lease does not wait for a connection",
            ((ENGINE, "        connector_.open(missing);\n",
              "        connector_.open(missing);\n"
              "        std::optional<Connector::Opened> made;\n"
              "        while (!(made = connector_.take())) {\n            std::this_thread::yield();\n        }\n"
              "        take_connections(std::move(*made));\n"),),
            "test_exactness.py::test_relay_whose_new_connections_hang_falls_silent_before_its_leases_end"),
    Removal("O4a", "enable.gapless.guarantee", (setting("enable.gapless.guarantee", "true", "false"),),
            "test_exactness.py::test_rows_behind_a_refused_one_wait_although_the_relay_is_busy"),
    Removal("O4b", "search for the one refused row",
            ((RECOVER, "    case Isolation::Verdict::narrow:\n",
              "    case Isolation::Verdict::narrow:\n        for (Refusal& each : suspects_) {\n"
              "            condemned_.push_back(std::move(each));\n        }\n"),),
            "test_failures.py::test_refused_row_becomes_a_dead_row_and_only_that_one"),
    Removal("O4c", "smaller batches when only company is refused",
            ((SEND, "batch_bytes_ = std::max<std::size_t>(16'384, batch_bytes_ / 2);", ""),),
            "test_failures.py::test_batches_larger_than_the_topic_allows_are_made_smaller"),
    Removal("O4d", "an atomic move to the dead rows",
            ((RECOVER, "payload, $3, $4 FROM taken\"", "payload, $3, $4 FROM taken WHERE false\""),),
            "test_failures.py::test_refused_row_becomes_a_dead_row_and_only_that_one"),
    Removal("O4e", "a row beyond any message is refused by its size",
            ((SEND, "return bytes > options_.kafka.max_message_bytes;", "return bytes / 1000 > options_.kafka.max_message_bytes;"),),
            "test_failures.py::test_payload_that_no_message_can_hold_is_not_even_read"),
    Removal("O4f", "the first row of a producer in a partition travels alone",
            ((SEND, "if (topic.partitions.must_wait(row.partition)) {", "if (false) {"),),
            "test_failures.py::test_rows_behind_the_first_one_of_a_partition_do_not_pass_it"),
    Removal("O4g", "the partitions of a topic that has grown are counted again",
            ((OPEN, "            topic.partitions.set_count(state.partitions);\n", ""),),
            "test_failures.py::test_rows_behind_the_first_one_of_a_new_partition_do_not_pass_it"),
    Removal("O4h", "rows that waited long bear the time at which they are sent",
            ((ENVELOPE, "    return now_ms;\n", "    return created_ms;\n"),),
            "test_failures.py::test_rows_of_days_ago_do_not_pass_the_one_before_them"),
    Removal("O5a", "message.timeout.ms=0", (setting("message.timeout.ms", "0", "1000"),),
            "test_exactness.py::test_silence_shorter_than_the_stall_time_costs_nothing"),
    Removal("O5b", "the relay's own watchdog", ((RECOVER, "if (!watch_topics() && silent < options_.kafka.stall_timeout) {", "if (true) {"),),
            "test_failures.py::test_silent_broker_makes_a_new_producer_and_no_hole"),
    Removal("O6a", "a new producer after a fatal error",
            ((RECOVER, "void Engine::begin_reset(const std::string& reason, bool purge) {\n    if (phase_ == Phase::resetting) {",
              "void Engine::begin_reset(const std::string& reason, bool purge) {\n    if (producer_ != nullptr) {"),),
            "test_failures.py::test_fatal_producer_errors_heal"),
    Removal("O6b", "rows that wait are forgotten when the relay goes back",
            ((READ, "sent before them.\n    drop_all_waiting();\n", "sent before them.\n"),),
            "test_exactness.py::test_rows_read_while_a_producer_is_replaced_do_not_pass_those_that_come_again"),
    Removal("O7a", "DELETE after the acknowledgement, not before",
            ((SEND, "    row.state = Row::State::sent;\n",
              "    row.state = Row::State::sent;\n"
              "    acknowledged_.push_back(batch.identity(row));\n"),
             (SEND, "        acknowledged_.push_back(batch.identity(row));\n        const std::string name",
              "        const std::string name")),
            "test_exactness.py::test_rows_are_deleted_only_after_their_acknowledgement"),
    Removal("O7b", "a repeat carries the same id",
            ((ENVELOPE, "headers.emplace_back(outbox::debezium_id_header, format_uuid(row.event_id));",
              "static const auto born = std::chrono::steady_clock::now().time_since_epoch().count();\n"
              '        headers.emplace_back("id", fmt::format("{}-{}", format_uuid(row.event_id), born));'),),
            "test_failures.py::test_crash_between_acknowledgement_and_delete_repeats_with_the_same_id"),
    Removal("O7c", "the inbox skips ids that it knows",
            ((INBOX, "if (fresh.erase({day_of(*batch[i]), records[i].message_id}) == 0) {", "if (false) {"),),
            "test_failures.py::test_crash_between_acknowledgement_and_delete_repeats_with_the_same_id", "inbox_worker"),
    Removal("O7d", "offsets stored after the database commit only",
            ((SOURCE, 'values["enable.auto.offset.store"] = "false";', 'values["enable.auto.offset.store"] = "true";'),
             (SOURCE, "    rd_kafka_offsets_store(handle_, list.get());", "")),
            "test_inbox.py::test_consumer_killed_while_the_database_is_away_loses_nothing", "inbox_worker"),
    Removal("O7e", "effects on disk before their offset is stored",
            ((INBOX, "exec(postgres::sql_durable_commits)", 'exec("SELECT 1")'),),
            "test_database_crash.py::test_effects_survive_a_crash_where_commits_do_not_wait_for_the_disk", "inbox_worker"),
    Removal("O7f", "a pause ends with the assignment",
            ((SOURCE, "        if (paused_.contains(partition)) {", "        if (false && paused_.contains(partition)) {"),),
            "test_inbox.py::test_partitions_that_wait_during_a_rebalance_go_on", program="inbox_worker"),
    Removal("O7g", "ids are kept by the row's day",
            ((SOURCE, "row_time_ms(message); time != 0) {", "row_time_ms(message); false && time != 0) {"),),
            "test_inbox.py::test_id_is_kept_under_the_day_of_the_row_also_after_a_long_wait_in_the_outbox", "inbox_worker"),
    Removal("O7h", "a row does not bring its own identity",
            ((ENVELOPE, "if (outbox::identifies_message(name)) {", "if (false) {"),),
            "test_inbox.py::test_two_messages_are_two_whatever_their_rows_say"),
    Removal("O8", "no transaction open while records are on their way",
            ((CONNECTOR, "    if (opened.reader) {\n",
              '    if (opened.reader) {\n        (void)opened.reader->execute("BEGIN", Parameters());\n'),),
            "test_pipeline.py::test_no_database_transaction_is_open_while_records_are_on_their_way"),
    Removal("O9a", "polling that slows down",
            ((READ, "std::min(read_pause_ * 2, options_.pipeline.poll_max)", "options_.pipeline.poll_min"),),
            "test_pipeline.py::test_polling_slows_down_when_idle_and_wakes_on_notify"),
    Removal("O9b", "no NOTIFY in the writer's transaction",
            ((OUTBOX, "        return result.at(0).at(0).as<std::string>();",
              '        transaction.exec("NOTIFY concordat_outbox");\n        return result.at(0).at(0).as<std::string>();'),),
            "test_exactness.py::test_publishing_wakes_nobody_inside_the_transaction", "outbox_writer"),
    Removal("O9c", "wake-up after commit", ((CONNECTOR, '"LISTEN concordat_outbox"', '"SELECT 1"'),),
            "test_exactness.py::test_wake_up_after_commit_reaches_a_sleeping_relay"),
    Removal("O10a", "floor of the poll",
            ((READ, "                  .int64(window.after)\n", "                  .int64(0)\n"),),
            "test_exactness.py::test_a_poll_touches_the_same_few_pages_however_many_dead_rows_there_are"),
    Removal("O10b", "narrow primary key (bucket, id)",
            ((TABLES, "PRIMARY KEY (bucket, id)", "PRIMARY KEY (event_id, id)"),),
            "test_exactness.py::test_a_poll_touches_the_same_few_pages_however_many_dead_rows_there_are"),
    Removal("O10c", "VACUUM does not cut pages off",
            ((PAGES, "vacuum_truncate = off, toast.vacuum_truncate = off", "vacuum_truncate = on, toast.vacuum_truncate = on"),),
            "test_exactness.py::test_vacuum_locks_nobody_out_to_give_pages_back"),
    Removal("O11a", "enable.idempotence",
            (setting("enable.idempotence", "true", "false"), setting("enable.gapless.guarantee", "true", "false")),
            "test_exactness.py::test_requests_that_are_sent_again_are_written_once"),
    Removal("O11b", "no Kafka transactions",
            ((PRODUCER, '{"enable.idempotence", "true"},', '{"enable.idempotence", "true"}, {"transactional.id", "relay"},'),),
            "unit:ProducerSettings.*", "relay_unit_test"),
    Removal("O12", "murmur2_random", (setting("partitioner", "murmur2_random", "consistent_random"),),
            "test_pipeline.py::test_keys_land_where_the_java_client_puts_them"),
    Removal("O13a", "waiting for acknowledgements on SIGTERM",
            ((ENGINE, "const bool reported = producer_ == nullptr || producer_->outstanding() == 0;", "const bool reported = true;"),),
            "test_pipeline.py::test_sigterm_in_the_middle_of_a_backlog_loses_and_repeats_nothing"),
    Removal("O13b", "deleting what was acknowledged on SIGTERM",
            ((ENGINE, "if (reported && acknowledged_.empty() && deleting_.empty()) {", "if (reported) {"),),
            "test_pipeline.py::test_sigterm_in_the_middle_of_a_backlog_loses_and_repeats_nothing"),
    Removal("O13c", "window of rows in memory",
            ((READ, "if (known_.size() >= options_.pipeline.window_rows ||", "if (known_.size() >= 1'000'000 ||"),),
            "test_exactness.py::test_window_bounds_what_is_in_memory_and_at_kafka"),
    Removal("O13d", "window of records at Kafka",
            ((SEND, "if (awaited() >= options_.pipeline.window_rows) {", "if (awaited() >= 1'000'000) {"),),
            "test_exactness.py::test_window_bounds_what_is_in_memory_and_at_kafka"),
    Removal("O13e", "a stalled topic is tried with one row, its others wait",
            ((SEND, "if (topic.stalled && topic.at_kafka > 0) {", "if (false) {"),),
            "test_stalled_topics.py::test_topic_that_acknowledges_nothing_does_not_keep_the_others_waiting"),
    Removal("O13f", "a row that tries a topic does not keep its batch in memory",
            ((SEND, "if (topic.stalled && batch.result.rows() > 1) {", "if (false) {"),),
            "test_stalled_topics.py::test_rows_that_try_stalled_topics_take_no_room"),
    Removal("O13g", "it does not keep its bucket from another relay",
            ((ENGINE, "return grant_.leaving.test(row->bucket);", "return row == nullptr && grant_.leaving.any();"),),
            "test_stalled_topics.py::test_stalled_topic_delays_neither_a_hand_over_nor_the_end"),
    Removal("O13h", "it does not keep the relay from ending",
            ((ENGINE, "on_trial_ > 0 && awaited() == 0 && !trials_ended_) {", "false) {"),),
            "test_stalled_topics.py::test_stalled_topic_delays_neither_a_hand_over_nor_the_end"),
    Removal("O13i", "it does not keep the relay from beginning anew",
            ((READ, "            if (known_.size() == on_trial_) {", "            if (false) {"),),
            "test_stalled_topics.py::test_stalled_topic_does_not_keep_the_relay_from_a_new_database_connection"),
    Removal("O13j", "nobody waits for its acknowledgement",
            ((STALL, "return producer_->outstanding() - on_trial_;", "return producer_->outstanding();"),),
            "test_stalled_topics.py::test_refused_row_is_found_beside_a_stalled_topic"),
    Removal("O13k", "a stall ends when nothing waits for the topic",
            ((READ, "        forget_what_is_gone();\n", ""),),
            "test_stalled_topics.py::test_stall_is_over_when_nothing_waits_for_the_topic"),
    Removal("O13l", "no topic is to blame while no broker answers",
            ((RECOVER, "now - cluster_asked_ >= worrying / 2", "false"),),
            "test_stalled_topics.py::test_no_topic_is_to_blame_while_no_broker_answers"),
    Removal("O13m", "the loop does not wait for a statement to be prepared",
            (("participant-sdk/relay/database.cpp", "    waits_.emplace(sql, parameters);\n    mark_sent();\n",
              "    waits_.emplace(sql, parameters);\n    mark_sent();\n    while (waits_) {\n        (void)advance();\n    }\n"),),
            "test_exactness.py::test_relay_ends_in_time_although_its_first_delete_waits_for_a_lock"),
    Removal("O14a", "rows behind a parked one wait",
            ((SEND, "if (holds_.holds(batch.topic(row), batch.key(row), row.id)) {", "if (false) {"),),
            "test_failures.py::test_poisoned_key_is_parked_and_the_others_go_on"),
    Removal("O14b", "the key is parked, not more",
            ((SEND, "if (holds_.holds(batch.topic(row), batch.key(row), row.id)) {",
              'if (holds_.holds(batch.topic(row), std::string_view("bad"), row.id)) {  // whatever its key'),),
            "test_failures.py::test_poisoned_key_is_parked_and_the_others_go_on"),
    Removal("O14d", "a row that a crash undid parks no key",
            ((RECOVER, '"AND EXISTS (SELECT FROM', '"AND true OR EXISTS (SELECT FROM'),),
            "test_database_crash.py::test_lost_row_that_kafka_refuses_parks_no_key"),
    Removal("O14c", "a skipped row is kept as a dead row",
            ((DEAD_ROWS, "entry.reason, entry.detail FROM taken;", "entry.reason, entry.detail FROM taken WHERE false;"),),
            "test_failures.py::test_parked_key_can_go_on_without_the_refused_row_which_can_be_replayed"),
    Removal("O14e", "dead rows have ids of their own",
            ((DEAD_ROWS, "ADD PRIMARY KEY (id);", "ADD PRIMARY KEY (id), ADD UNIQUE (row_id);"),),
            "test_failures.py::test_dead_rows_are_kept_although_their_ids_were_given_out_again"),
)
