"""Reading, sending and deleting: nothing is lost, invented, repeated or reordered (O1, O2, O8–O10, O12, O13)."""

import re
import statistics
import threading
import time

import pytest

from conftest import assert_in_order, murmur2, values_by_key
from relay_process import pause, wait_until


def test_rows_reach_kafka_once_and_in_order_and_are_deleted(outbox):
    """The plain case: a backlog and rows that come while the relay runs."""
    topic = outbox.topic()
    outbox.publish_many(topic, 5000)
    with outbox.relay() as relay:
        outbox.wait_empty()
        outbox.publish_many(topic, 1000, start=5000)
        outbox.wait_empty()
        assert relay.metric("published_total") == 6000
        assert relay.terminate() == 0
    assert_in_order(outbox.records(topic), 6000)


def test_rolled_back_rows_never_reach_kafka(outbox):
    """A message of a transaction that aborts, plain or prepared, does not exist."""
    topic = outbox.topic()
    with outbox.relay(), outbox.connect(autocommit=False) as connection:
        outbox.publish(topic, "a", "ghost", connection)
        connection.rollback()
        outbox.publish(topic, "a", "prepared ghost", connection)
        connection.execute("PREPARE TRANSACTION 'ghost'")
        outbox.publish(topic, "b", "real")
        outbox.wait_empty()
        outbox.execute("ROLLBACK PREPARED 'ghost'")
        outbox.publish(topic, "a", "after")
        outbox.wait_empty()
    assert sorted(record["value"] for record in outbox.records(topic)) == ["after", "real"]


def test_prepared_row_with_a_lower_id_is_published_before_its_key_goes_on(outbox):
    """O1: ids are drawn before commit; a cursor by id would lose the row, or send its successor first."""
    topic = outbox.topic()
    # The sweep comes too late to help: the relay must know by itself.
    with outbox.relay(pipeline__sweep_interval="1h") as relay, outbox.connect() as connection:
        relay.wait_ready()
        for turn in range(20):
            connection.execute("BEGIN")
            outbox.publish(topic, "slow", f"{turn}-first", connection)
            connection.execute(f"PREPARE TRANSACTION 'slow-{turn}'")
            outbox.publish_many(topic, 20, start=turn * 20)
            wait_until(lambda: outbox.outstanding() == 0, "the others do not wait")
            connection.execute(f"COMMIT PREPARED 'slow-{turn}'")
            outbox.publish(topic, "slow", f"{turn}-second", connection)
            outbox.wait_empty()
        assert relay.metric("late_total") >= 1
        assert relay.metric("swept_total") == 0
    found = outbox.records(topic)
    assert values_by_key(found)["slow"] == [f"{turn}-{which}" for turn in range(20) for which in ("first", "second")]
    assert_in_order([record for record in found if record["key"] != "slow"], 400)


def test_late_row_goes_before_newer_ones_that_were_read_with_it(outbox):
    """O1: between two polls the prepared transaction commits and its key goes on: one read sees both."""
    topic = outbox.topic()
    with outbox.relay(pipeline__poll_min="400ms", pipeline__poll_max="400ms", pipeline__sweep_interval="1h") as relay, \
            outbox.connect() as connection:
        relay.wait_ready()
        for turn in range(4):
            connection.execute("BEGIN")
            outbox.publish(topic, "slow", f"{turn}-first", connection)
            connection.execute("PREPARE TRANSACTION 'slow'")
            outbox.publish(topic, "other", "passes")
            outbox.wait_empty()
            polls = relay.metric("polls_total")
            wait_until(lambda seen=polls: relay.metric("polls_total") > seen, "the beginning of a pause")
            connection.execute("COMMIT PREPARED 'slow'")
            outbox.publish(topic, "slow", f"{turn}-second", connection)
            outbox.wait_empty()
        assert relay.metric("late_total") >= 4
    assert values_by_key(outbox.records(topic))["slow"] == [
        f"{turn}-{which}" for turn in range(4) for which in ("first", "second")]


def test_transaction_has_its_number_before_it_draws_an_id(outbox):
    """O1: the relay knows every writer of a late row because the table assigns the number first."""
    with outbox.connect(autocommit=False) as lock, outbox.connect() as writer:
        lock.execute("ALTER SEQUENCE concordat_outbox_id_seq CACHE 1")  # whoever draws an id has to wait
        pid = writer.info.backend_pid
        thread = threading.Thread(target=outbox.publish, args=("t", "k", "v", writer))
        thread.start()
        waiting = "SELECT wait_event_type = 'Lock', backend_xid IS NOT NULL FROM pg_stat_activity WHERE pid = %s"
        try:
            wait_until(lambda: outbox.execute(waiting, (pid,))[0][0], "the writer waits for its id")
            assert outbox.execute(waiting, (pid,))[0][1]
        finally:
            lock.rollback()
            thread.join()


def test_sweep_finds_rows_that_no_transaction_in_sight_has_written(outbox):
    """O1: rows put back by a restore carry an old transaction number and an old id."""
    topic = outbox.topic()
    with outbox.relay(pipeline__sweep_interval="300ms") as relay:
        outbox.publish_many(topic, 100)
        outbox.wait_empty()
        outbox.execute(
            "INSERT INTO concordat_outbox (xid, id, topic, key, payload) OVERRIDING SYSTEM VALUE "
            "VALUES ('3', 50, %s, 'restored', 'restored')", (topic,))
        outbox.wait_empty()
        assert relay.metric("swept_total") >= 1
    assert "restored" in values_by_key(outbox.records(topic))


def test_sweep_passes_over_any_number_of_rows_that_wait(outbox):
    """O1: more rows of a missing topic than one statement may look at in its time; what lies among them is found."""
    topic = outbox.topic()
    waiting = 1_200_000
    outbox.execute("INSERT INTO concordat_outbox (topic, key) SELECT 'missing', convert_to((i %% 1000)::text, 'UTF8') "
                   "FROM generate_series(1, %s) i", (waiting,))
    with outbox.relay(pipeline__sweep_interval="300ms", database__timeout="1s") as relay:
        outbox.publish(topic, "last", "last")
        wait_until(lambda: relay.metric("published_total") == 1, relay.log)
        # One in each of the parts that the sweep may be about to look at.
        restored = list(range(10_000, waiting, 50_000))
        outbox.execute("DELETE FROM concordat_outbox WHERE id = ANY (%s)", (restored,))
        outbox.execute(
            "INSERT INTO concordat_outbox (xid, id, topic, key, payload) OVERRIDING SYSTEM VALUE "
            "SELECT '3', id, %s, 'restored', 'restored' FROM unnest(%s::bigint[]) id", (topic, restored))
        wait_until(lambda: relay.metric("swept_total") >= 1 and relay.metric("published_total") >= 2, relay.log)
    assert "restored" in values_by_key(outbox.records(topic))


def test_delete_takes_only_what_was_published(outbox):
    """O2: a late committer with a lower id, of the same key and unread, must survive the DELETE of the others."""
    topic = outbox.topic()
    # With the window full nothing more is read until rows are deleted.
    with outbox.relay(pipeline__batch_rows=100, pipeline__window_rows=100) as relay, outbox.connect() as connection:
        outbox.publish_many(topic, 10, keys=1)
        outbox.wait_empty()
        connection.execute("BEGIN")
        outbox.publish(topic, "key-0", "late", connection)
        outbox.kafka.pause()
        try:
            outbox.publish_many(topic, 100, keys=1, start=10)
            wait_until(lambda: relay.metric("rows_at_kafka") == 100, "in flight")
            connection.execute("COMMIT")
        finally:
            outbox.kafka.resume()
        outbox.wait_empty()
        assert relay.metric("deleted_total") == 111
    found = outbox.records(topic)
    assert [record["value"] for record in found].count("late") == 1
    assert_in_order([record for record in found if record["value"] != "late"], 110)


def test_no_database_transaction_is_open_while_records_are_on_their_way(outbox):
    """O8: a transaction held during produce would hold back vacuum for as long as Kafka is slow."""
    topic = outbox.topic()
    with outbox.relay() as relay:
        outbox.publish_many(topic, 10)
        outbox.wait_empty()
        outbox.kafka.pause()
        try:
            outbox.publish_many(topic, 500, start=10)
            wait_until(lambda: relay.metric("rows_at_kafka") == 500, "in flight")

            def open_transactions():
                return set(outbox.execute(
                    "SELECT pid, xact_start FROM pg_stat_activity WHERE application_name = 'concordat-relay' "
                    "AND datname = current_database() AND xact_start IS NOT NULL"))

            for _ in range(5):
                found = open_transactions()
                wait_until(lambda seen=found: not seen & open_transactions(), "none stays open for as long as Kafka hangs")
            assert relay.metric("rows_at_kafka") == 500
        finally:
            outbox.kafka.resume()
        outbox.wait_empty()


def test_polling_slows_down_when_idle_and_wakes_on_notify(outbox):
    """O9: the writer pays no NOTIFY; an idle relay polls rarely, and a wake-up after commit reaches it at once."""
    topic = outbox.topic()
    with outbox.relay(pipeline__poll_max="60s", pipeline__poll_min="60s") as relay:
        outbox.publish(topic, "a", "first")
        wait_until(lambda: outbox.outstanding() == 0 or not outbox.execute("NOTIFY concordat_outbox"), "first")
        polls = relay.metric("polls_total")
        outbox.publish(topic, "a", "second")
        outbox.execute("NOTIFY concordat_outbox")
        outbox.wait_empty()  # which gives up after 30 s
        assert relay.metric("polls_total") - polls <= 5
    with outbox.relay(pipeline__poll_max="1s") as relay:
        wait_until(lambda: relay.metric("polls_total") >= 10, "1 ms, doubled nine times")
        polls, since = relay.metric("polls_total"), time.monotonic()
        pause(3)
        polls = relay.metric("polls_total") - polls
        assert polls <= time.monotonic() - since + 3, "an idle relay polls once a second"


def test_poll_stays_cheap_over_dead_rows_that_vacuum_cannot_remove(outbox):
    """O10: a pinned snapshot keeps dead rows; the poll must not walk over them every time."""
    topic = outbox.topic()
    with outbox.connect(autocommit=False) as pin:
        pin.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        pin.execute("SELECT pg_current_xact_id()")
        with outbox.relay(pipeline__sweep_interval="1h") as relay:
            outbox.publish_many(topic, 100_000)
            # Asked of the relay: counting rows would be a walk over the dead ones, every time.
            wait_until(lambda: relay.metric("deleted_total") == 100_000, relay.log)
            outbox.publish_many(topic, 10, start=100_000)
            wait_until(lambda: relay.metric("deleted_total") == 100_010, relay.log)
            polls = []
            last = relay.metric("polls_total")
            while len(polls) < 25:
                now = relay.metrics()
                if now["concordat_outbox_polls_total"] > last:
                    last = now["concordat_outbox_polls_total"]
                    polls.append(now["concordat_outbox_last_poll_seconds"])
            with outbox.connect() as connection:
                for setting in ("enable_seqscan", "enable_bitmapscan", "jit"):
                    connection.execute(f"SET {setting} = off")
                plan = "\n".join(line for (line,) in connection.execute(
                    "EXPLAIN (ANALYZE) SELECT id FROM concordat_outbox WHERE bucket = ANY "
                    "(ARRAY(SELECT generate_series(0, 63)::smallint)) AND id > 0").fetchall())
            whole = float(re.search(r"Execution Time: ([\d.]+) ms", plan).group(1)) / 1000
            assert statistics.median(polls) < 0.005
            assert statistics.median(polls) < whole / 4, "the poll walks over the dead rows"


@pytest.mark.parametrize("key,expected", [
    ("21", -973932308), ("foobar", -790332482), ("a-little-bit-long-string", -985981536),
    ("a-little-bit-longer-string", -1486304829), ("abc", 479470107)])
def test_the_hash_that_the_tests_compare_with_is_kafkas(key, expected):
    """O12: values that Kafka's own tests of the hash publish, as signed numbers."""
    assert murmur2(key.encode()) == expected & 0xFFFFFFFF


def test_keys_land_where_the_java_client_puts_them(outbox):
    """O12: consumers and other producers must agree on the partition of a key."""
    topic = outbox.topic(partitions=7)
    with outbox.relay():
        outbox.publish_many(topic, 300, keys=300)
        outbox.wait_empty()
    for record in outbox.records(topic):
        assert record["partition"] == (murmur2(record["key"].encode()) & 0x7FFFFFFF) % 7


def test_sigterm_in_the_middle_of_a_backlog_loses_and_repeats_nothing(outbox):
    """O13: stop reading, wait for acknowledgements, delete them, release the leases."""
    topic = outbox.topic()
    outbox.publish_many(topic, 60_000, keys=100)
    stops = 0
    while outbox.outstanding() > 0 and stops < 50:
        with outbox.relay(pipeline__window_rows=4000) as relay:
            wait_until(lambda: relay.metric("published_total") > 500 or outbox.outstanding() == 0, relay.log)
            assert relay.terminate() == 0
            assert outbox.execute("SELECT count(*) FROM concordat_outbox_lease WHERE owner IS NOT NULL") == [(0,)]
        stops += 1
    assert stops >= 2, "the relay was never stopped in the middle"
    assert_in_order(outbox.records(topic), 60_000)


def test_large_payloads_keep_their_place_and_memory_stays_small(outbox):
    """Payloads above the inline limit are fetched when their turn comes: order holds, memory is bounded."""
    topic = outbox.topic()
    with outbox.relay() as relay:
        outbox.execute(
            "INSERT INTO concordat_outbox (topic, key, payload) SELECT %s, 'big', "
            "convert_to(rpad(i || ':', CASE WHEN i %% 3 = 0 THEN 700000 ELSE 20 END, 'x'), 'UTF8') "
            "FROM generate_series(1, 150) i ORDER BY i", (topic,))
        outbox.wait_empty()
        assert relay.memory_bytes() < 128 * 1024 * 1024
    values = values_by_key(outbox.records(topic))["big"]
    assert [int(value.split(":")[0]) for value in values] == list(range(1, 151))
