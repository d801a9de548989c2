"""Promises that break only when two things go wrong at once (O4–O7, O9, O11, O13)."""

import os
import signal
import subprocess
import threading

import psycopg
import pytest

from conftest import Outbox, assert_in_order, first_deliveries, values_by_key
from postgres import PostgresCluster
from relay_process import PROGRAMS, MockCluster, header, pause, records, wait_until

LONG_LEASES = {"lease__duration": "30s", "lease__margin": "1s"}


def backends(outbox):
    """Process ids of the relay's connections to the database of this test."""
    return [pid for (pid,) in outbox.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'concordat-relay' AND datname = current_database()")]


def write_events(outbox, topic, *arguments):
    """Events through the SDK, as outbox_writer writes them."""
    outbox.execute("CREATE TABLE IF NOT EXISTS relay_key (key text PRIMARY KEY, seq bigint NOT NULL DEFAULT 0)")
    outbox.execute("CREATE TABLE IF NOT EXISTS relay_ledger (event_id uuid PRIMARY KEY, key text, seq bigint)")
    outbox.execute("INSERT INTO relay_key (key) SELECT 'key-' || n FROM generate_series(0, 9) n ON CONFLICT DO NOTHING")
    subprocess.run([PROGRAMS / "outbox_writer", "--url", outbox.url, "--topic", topic, "--keys", "10", *arguments],
                   check=True, stdout=subprocess.DEVNULL, timeout=60)


def test_rows_behind_a_refused_one_wait_although_the_relay_is_busy(outbox):
    """O4: the relay's loop does something else while the broker refuses a row in the middle of a key.

    Nobody reads the refusal then: only a producer that skips nothing keeps the rows behind it back.
    """
    topic = outbox.topic(partitions=1, max_message_bytes=20_000)
    with outbox.relay(kafka__batch_bytes="16384", **LONG_LEASES) as relay:
        outbox.publish(topic, "key", "0")
        outbox.wait_empty()
        outbox.kafka.pause()
        try:
            for number in range(1, 11):
                outbox.publish(topic, "key", str(number).ljust(30_000 if number == 3 else 10_000, "."))
            wait_until(lambda: relay.metric("rows_at_kafka") == 10, relay.log)
            with relay.loop_held():
                outbox.kafka.resume()
                pause(2)
        finally:
            outbox.kafka.resume()
        wait_until(lambda: outbox.execute("SELECT reason FROM concordat_outbox_parked") == [("MSG_SIZE_TOO_LARGE",)],
                   relay.log)
        assert outbox.outstanding() == 8
    assert [record["value"].rstrip(".") for record in outbox.records(topic)] == ["0", "1", "2"]


def test_silence_shorter_than_the_stall_time_costs_nothing(outbox):
    """O5: a pause of the broker is waited out with the records in place: no time-out drops them, nothing is repeated."""
    topic = outbox.topic()
    with outbox.relay() as relay:
        outbox.publish_many(topic, 100)
        outbox.wait_empty()
        outbox.kafka.pause()
        try:
            outbox.publish_many(topic, 400, start=100)
            wait_until(lambda: relay.metric("rows_at_kafka") == 400, relay.log)
            pause(3)
        finally:
            outbox.kafka.resume()
        outbox.wait_empty()
        assert relay.metric("producer_resets_total") == 0
    assert_in_order(outbox.records(topic), 500)


def test_requests_that_are_sent_again_are_written_once(outbox):
    """O11: requests time out while the broker hangs and are sent again; the broker knows them by their numbers."""
    topic = outbox.topic(partitions=1)
    with outbox.relay(**{"kafka__properties.socket.timeout.ms": "1000"}) as relay:
        outbox.publish_many(topic, 10)
        outbox.wait_empty()
        outbox.kafka.pause()
        try:
            outbox.publish_many(topic, 400, start=10)
            wait_until(lambda: relay.metric("rows_at_kafka") == 400, relay.log)
            wait_until(lambda: "timed out" in relay.log(), relay.log)
            pause(1)
        finally:
            outbox.kafka.resume()
        outbox.wait_empty()
        assert relay.metric("producer_resets_total") == 0
    assert_in_order(outbox.records(topic), 410)


def test_rows_are_deleted_only_after_their_acknowledgement(outbox):
    """O7: what Kafka has not acknowledged is in the table, so that relay and broker may both die at once."""
    topic = outbox.topic()
    with outbox.relay() as relay:
        outbox.publish_many(topic, 10)
        outbox.wait_empty()
        outbox.kafka.pause()
        outbox.publish_many(topic, 200, start=10)
        wait_until(lambda: relay.metric("rows_at_kafka") == 200, relay.log)
        pause(0.2)  # many times the pause before a DELETE
        assert outbox.outstanding() == 200
        relay.kill()
    outbox.kafka.kill()
    outbox.kafka.start()
    with outbox.relay(lease__duration="1s", lease__margin="200ms", lease__heartbeat="50ms"):
        outbox.wait_empty()
    found = outbox.records(topic)
    assert_in_order(first_deliveries(found).values(), 210)


def test_publishing_wakes_nobody_inside_the_transaction(outbox):
    """O9: NOTIFY in the writer's transaction makes commits queue for one lock; neither SDK nor table issues one."""
    topic = outbox.topic()
    with outbox.connect() as listener:
        listener.execute("LISTEN concordat_outbox")
        write_events(outbox, topic, "--events", "30")
        outbox.publish_many(topic, 10)
        assert list(listener.notifies(timeout=0.5)) == []
        write_events(outbox, topic, "--events", "1", "--wake", "--abort", "0")
        assert list(listener.notifies(timeout=5, stop_after=1))


def test_wake_up_after_commit_reaches_a_sleeping_relay(outbox):
    """O9: concordat::outbox::wake() saves the rest of the pause between two polls."""
    topic = outbox.topic()
    with outbox.relay(pipeline__poll_max="60s", pipeline__poll_min="60s") as relay:
        relay.wait_ready()
        wait_until(lambda: relay.metric("polls_total") >= 1, relay.log)
        write_events(outbox, topic, "--events", "1", "--wake", "--abort", "0", "--writers", "1")
        outbox.wait_empty()  # which gives up after 30 s


def test_window_bounds_what_is_in_memory_and_at_kafka(outbox):
    """O13: a broker that takes nothing stops the reading, long before librdkafka's own queue is full."""
    topic = outbox.topic()
    outbox.publish_many(topic, 5000)
    with outbox.relay(pipeline__batch_rows=300, pipeline__window_rows=500) as relay:
        outbox.wait_empty()  # every partition is open, so that no row waits for another
        outbox.kafka.pause()
        try:
            outbox.publish_many(topic, 5000, start=5000)
            wait_until(lambda: relay.metric("rows_at_kafka") == 500, relay.log)
            pause(0.5)
            seen = relay.metrics()
        finally:
            outbox.kafka.resume()
        assert seen["concordat_outbox_rows_at_kafka"] == 500
        assert 500 <= seen["concordat_outbox_rows_in_memory"] < 500 + 300
        outbox.wait_empty()
    assert_in_order(outbox.records(topic), 10_000)


def test_relay_that_cannot_renew_its_leases_falls_silent_before_they_end(outbox):
    """O3: nobody may take the buckets yet, but the relay cannot know: it must not publish on hope."""
    topic = outbox.topic()
    with outbox.relay(lease__duration="2s", lease__margin="500ms", lease__heartbeat="100ms") as relay:
        outbox.publish_many(topic, 100)
        outbox.wait_empty()
        with outbox.connect(autocommit=False) as lock:
            lock.execute("SELECT FROM concordat_outbox_lease FOR UPDATE")
            wait_until(lambda: relay.metric("buckets_owned") == 0, relay.log)
            assert outbox.execute("SELECT count(*) FROM concordat_outbox_lease WHERE expires_at > clock_timestamp()"
                                  )[0][0] > 0, "it stopped too late"
            outbox.publish_many(topic, 100, start=100)
            pause(1)
            assert relay.metric("published_total") == 100
            lock.rollback()
        outbox.wait_empty()
    assert_in_order(outbox.records(topic), 200)


def test_relay_whose_new_connections_hang_falls_silent_before_its_leases_end(outbox):
    """O3: its connections are gone and new ones get no answer; what Kafka has not taken yet must be withdrawn in time.

    A server whose first process stands still serves the connections it has and answers no new ones.
    """
    topic = outbox.topic()
    with (outbox.relay(lease__duration="2s", lease__margin="500ms", lease__heartbeat="100ms") as relay,
          outbox.connect() as held):
        outbox.publish_many(topic, 100)
        outbox.wait_empty()
        outbox.kafka.pause()
        os.kill(outbox.postgres.pid(), signal.SIGSTOP)
        try:
            outbox.publish(topic, "key-0", "100", held)
            wait_until(lambda: relay.metric("rows_at_kafka") == 1, relay.log)
            held.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                         "WHERE datname = current_database() AND application_name = 'concordat-relay'")
            [withdrawn] = wait_until(lambda: relay.events("producer_reset"), relay.log, 4)
            [(left,)] = held.execute("SELECT extract(epoch FROM max(expires_at) - %s::timestamptz) "
                                     "FROM concordat_outbox_lease", (withdrawn["time"],)).fetchall()
            assert left > 0, "it stopped too late"
            assert "renewed" in withdrawn["reason"]
        finally:
            os.kill(outbox.postgres.pid(), signal.SIGCONT)
            outbox.kafka.resume()
        outbox.wait_empty()
    assert len(first_deliveries(outbox.records(topic))) == 101


def test_rows_that_waited_in_memory_when_a_lease_was_renewed_late_are_read_again(outbox):
    """O3: what may not be sent any more is forgotten; when the lease turns out to be kept, it comes again, in order.

    A broker that hangs keeps the first rows of a topic waiting, so that nothing is on its way when the lease lapses.
    """
    known, fresh = outbox.topic("known"), outbox.topic("fresh")
    with outbox.relay(lease__duration="2s", lease__margin="500ms", lease__heartbeat="100ms",
                      pipeline__sweep_interval="3600s") as relay:
        outbox.publish(known, "key", "0")
        outbox.wait_empty()
        outbox.kafka.pause()
        try:
            outbox.publish_many(fresh, 100)
            wait_until(lambda: relay.metric("rows_in_memory") == 100, relay.log)
            with outbox.connect(autocommit=False) as lock:
                lock.execute("SELECT FROM concordat_outbox_lease FOR UPDATE")
                wait_until(lambda: relay.metric("rows_in_memory") == 0, relay.log)
                outbox.publish_many(fresh, 100, start=100)
                lock.rollback()
            wait_until(lambda: relay.metric("rows_in_memory") == 200, relay.log)
            assert relay.metric("rows_at_kafka") == 0
        finally:
            outbox.kafka.resume()
        outbox.wait_empty()
        assert relay.event("leases_lost") is None and relay.metric("producer_resets_total") == 0
    assert_in_order(outbox.records(fresh), 200)


def reader_of(outbox):
    """The backend that the relay polls through."""
    return wait_until(lambda: [pid for pid in backends(outbox) if outbox.execute(
        "SELECT query LIKE '%%-1::smallint AS bucket%%' FROM pg_stat_activity WHERE pid = %s", (pid,))[0][0]], "polls")[0]


def test_late_rows_are_read_although_the_leases_ran_out_while_the_statement_was_on_its_way(outbox):
    """O1: a poll that was sent under a lease and answered after it tells of a transaction that has ended.

    Its rows have to be read then: the cursor asks for them once.
    """
    topic = outbox.topic()
    limits = {"database__timeout": "60s", "lease__duration": "2s", "lease__margin": "500ms", "lease__heartbeat": "100ms"}
    with outbox.connect(autocommit=False) as slow, outbox.connect(autocommit=False) as lock, \
            outbox.relay(pipeline__sweep_interval="1h", **limits) as relay:
        outbox.publish(topic, "key", "1", slow)
        outbox.publish(topic, "other", "1")
        outbox.wait_empty()  # and the position is behind the row that is not there yet
        reader = reader_of(outbox)
        os.kill(reader, signal.SIGSTOP)
        try:
            polls = relay.metric("polls_total")
            lock.execute("LOCK TABLE concordat_outbox_relay")  # nobody renews a lease now
            wait_until(lambda: relay.metric("buckets_owned") == 0, relay.log)
            slow.commit()
            outbox.publish(topic, "key", "2")
        finally:
            os.kill(reader, signal.SIGCONT)
        wait_until(lambda: relay.metric("polls_total") > polls, relay.log)
        assert relay.metric("buckets_owned") == 0
        lock.rollback()
        wait_until(lambda: len(outbox.records(topic)) >= 3, lambda: f"{outbox.records(topic)}\n{relay.log()}")
    assert values_by_key(outbox.records(topic))["key"] == ["1", "2"]


def test_relay_ends_in_time_although_its_first_delete_waits_for_a_lock(outbox):
    """O13: to prepare a statement waits for locks as well; the loop that serves everything else does not wait with it."""
    topic = outbox.topic(max_message_bytes=3000)
    with outbox.connect(autocommit=False) as lock, \
            outbox.relay(process__shutdown_timeout="1s", database__timeout="60s") as relay:
        outbox.publish(topic, "key", "x" * 5000)  # nothing to delete, and the topic is known
        wait_until(lambda: relay.metric("parked_total") == 1, relay.log)
        outbox.kafka.pause()
        try:
            outbox.publish_many(topic, 1)
            wait_until(lambda: relay.metric("rows_at_kafka") == 1, relay.log)
            lock.execute("LOCK TABLE concordat_outbox")
        finally:
            outbox.kafka.resume()
        wait_until(lambda: outbox.execute("SELECT pid FROM pg_stat_activity WHERE query LIKE 'DELETE FROM concordat_outbox%' "
                                          "AND wait_event_type = 'Lock'"), relay.log)
        assert relay.terminate() == 1
        assert relay.event("stopped_before_all_was_acknowledged")["rows_not_deleted"] == 1


@pytest.mark.parametrize("dead", [20_000, 200_000])
def test_a_poll_touches_the_same_few_pages_however_many_dead_rows_there_are(outbox, dead):
    """O10: counted in pages, not in time: a pinned snapshot keeps the dead rows, the floor keeps the poll off them."""
    topic = outbox.topic()
    with outbox.connect(autocommit=False) as pin:
        pin.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        pin.execute("SELECT pg_current_xact_id()")
        with outbox.relay(pipeline__sweep_interval="1h") as relay:
            outbox.publish_many(topic, dead)
            wait_until(lambda: relay.metric("deleted_total") == dead, relay.log)
            index = "concordat_outbox_pkey"
            pages = []
            # The monitor counts rows every few seconds, on a connection of its own: the least of some spans is the poll's.
            for _ in range(4):
                before, polls = read_pages(outbox, index), relay.metric("polls_total")
                wait_until(lambda least=polls + 40: relay.metric("polls_total") >= least, relay.log)
                pages.append((read_pages(outbox, index) - before) / (relay.metric("polls_total") - polls))
    assert min(pages) < 400, f"pages per poll: {pages}"


def test_vacuum_locks_nobody_out_to_give_pages_back(outbox):
    """O10: VACUUM would take the outbox for itself while it cuts empty pages off; an operator can still have that done."""
    size = "SELECT pg_relation_size(oid), pg_relation_size(reltoastrelid) FROM pg_class WHERE relname = 'concordat_outbox'"
    outbox.execute("INSERT INTO concordat_outbox (topic, key, payload) SELECT 'any', 'key', "
                   "(SELECT decode(string_agg(md5(i::text || j), ''), 'hex') FROM generate_series(1, 300) j) "
                   "FROM generate_series(1, 1000) i")
    (rows, payloads), = outbox.execute(size)
    assert rows > 0 and payloads > 1_000_000
    outbox.execute("DELETE FROM concordat_outbox")
    outbox.execute("VACUUM concordat_outbox")
    assert outbox.execute(size) == [(rows, payloads)]
    outbox.execute("VACUUM (TRUNCATE true) concordat_outbox")
    assert outbox.execute(size) == [(0, 0)]


def repeat_until(stop, url, statement):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        while not stop.is_set():
            connection.execute(statement)


def ids_drawn(url, statement, times, out):
    """The last id drawn, as the relay's statement tells it again and again."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"PREPARE poll AS {statement}")
        for _ in range(times):
            out.append(connection.execute("EXECUTE poll ('{0,1}', 0, 0, 1000)").fetchone()[1])


def test_ids_that_are_not_drawn_yet_are_not_taken_for_read(kafka, tmp_path):
    """O1: while nextval() writes its log record, the sequence's row shows an id of up to 32 ahead to who reads it unlocked.

    The statement with which the relay polls is run beside nextval(), over a log that is slow to write: what it says was
    drawn must never be taken back.
    """
    with PostgresCluster(settings={"wal_buffers": "32kB", "wal_sync_method": "open_sync"}) as postgres:
        outbox = Outbox(postgres, kafka, tmp_path)
        with outbox.relay() as relay:
            wait_until(lambda: relay.metric("polls_total") > 0, relay.log)
            (statement,), = wait_until(lambda: outbox.execute(
                "SELECT query FROM pg_stat_activity WHERE query LIKE 'SELECT -1::smallint AS bucket%'"), relay.log)
        outbox.execute("CREATE TABLE filling (text text)")
        draw = "SELECT nextval('concordat_outbox_id_seq') FROM generate_series(1, 20)"
        fill = "INSERT INTO filling SELECT repeat('x', 1000) FROM generate_series(1, 2000)"
        stop = threading.Event()
        seen = [[] for _ in range(4)]
        readers = [threading.Thread(target=ids_drawn, args=(outbox.url, statement, 10_000, out)) for out in seen]
        others = [threading.Thread(target=repeat_until, args=(stop, outbox.url, sql)) for sql in (draw, draw, fill)]
        for thread in readers + others:
            thread.start()
        for reader in readers:
            reader.join()
        stop.set()
        for thread in others:
            thread.join()
    for out in seen:
        assert len(out) == 10_000 and out[-1] > out[0] + 1000
        assert [pair for pair in zip(out, out[1:]) if pair[1] < pair[0]] == []


def read_pages(outbox, index):
    """Pages of the index that were looked at so far, once the statistics have stopped moving for idle backends."""
    outbox.execute("SELECT pg_stat_force_next_flush()")
    return outbox.execute("SELECT idx_blks_read + idx_blks_hit FROM pg_statio_user_indexes WHERE indexrelname = %s",
                          (index,))[0][0]


def test_key_order_survives_a_refusal_and_its_replay(outbox):
    """O4, O14: after the cause is cured, the refused row and those behind it follow in order, each once."""
    topic = outbox.topic(partitions=1, max_message_bytes=3000)
    with outbox.relay(kafka__linger="20ms") as relay:
        for number in range(20):
            outbox.publish(topic, "key", str(number).ljust(5000 if number == 7 else 3, "."))
        wait_until(lambda: relay.metric("parked_total") == 1, relay.log)
        outbox.execute("SELECT concordat_outbox_skip_parked(%s, 'key')", (topic,))
        outbox.wait_empty()
    values = [value.rstrip(".") for value in values_by_key(outbox.records(topic))["key"]]
    assert list(dict.fromkeys(values)) == [str(number) for number in range(20) if number != 7]


def test_rows_read_while_a_producer_is_replaced_do_not_pass_those_that_come_again(outbox, tmp_path):
    """O6: a statement that was on its way when the producer failed brings newer rows of the same keys.

    A lock holds the statement back, a missing password file the next producer; nothing depends on who is faster.
    """
    topic = f"t{outbox.number}.mock"
    password = tmp_path / "password"
    password.write_text("not asked for\n", encoding="utf-8")
    limits = {"database__timeout": "60s", "kafka__stall_timeout": "60s", **LONG_LEASES}
    with MockCluster(1, f"outbox.event.{topic}") as mock, outbox.connect(autocommit=False) as writer, \
            outbox.relay(bootstrap=mock.bootstrap, kafka__sasl_password_file=password, **limits) as relay:
        outbox.publish_many(topic, 10)
        outbox.wait_empty()
        mock.order("down")
        outbox.publish_many(topic, 100, start=10)
        wait_until(lambda: relay.metric("rows_at_kafka") == 100, relay.log)
        writer.execute("LOCK TABLE concordat_outbox")
        for number in range(110, 210):
            outbox.publish(topic, f"key-{number % 10}", str(number), writer)
        wait_until(lambda: outbox.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'concordat-relay' AND wait_event_type = 'Lock' "
            "AND datname = current_database() AND query LIKE '%-1::smallint AS bucket%'"), "the statement waits")
        assert relay.event("producer_reset") is None
        password.unlink()
        mock.order("produce-error 45 1000")
        mock.order("up")
        wait_until(lambda: relay.event("producer_not_made"), relay.log)
        writer.commit()
        wait_until(lambda: relay.metric("read_total") == 210, relay.log)
        mock.order("produce-well")
        password.write_text("not asked for\n", encoding="utf-8")
        outbox.wait_empty(relay.log)
        found = records(mock.bootstrap, f"outbox.event.{topic}")
    assert_in_order(found, 210)
