"""The consumer: the effect of a message happens once, however often it is delivered (O7, inbox)."""

import json
import re
import signal

import pytest

from conftest import values_by_key
from relay_process import MockCluster, Worker, header, pause, probe, records, wait_until


@pytest.fixture
def effects(outbox):
    """The outbox with the table that inbox_worker writes to."""
    outbox.make_effect_table()
    return outbox


def count(outbox):
    return outbox.execute("SELECT count(*) FROM effect")[0][0]


def publish(outbox, topic, number, keys=10, start=0):
    """Rows in Kafka, through a relay."""
    with outbox.relay() as relay:
        outbox.publish_many(topic, number, keys=keys, start=start)
        outbox.wait_empty()
        assert relay.terminate() == 0


def test_each_message_takes_effect_once_and_in_order(effects):
    """Effect and id commit together; a restart of the consumer continues behind what was done."""
    topic = effects.topic()
    publish(effects, topic, 500)
    with effects.worker(topic) as worker:
        wait_until(lambda: count(effects) == 500, worker.log)
        assert worker.terminate()["handled"] == 500
    publish(effects, topic, 200, start=500)
    with effects.worker(topic) as worker:
        wait_until(lambda: count(effects) == 700, worker.log)
        counts = worker.terminate()
    assert (counts["handled"], counts["duplicates"]) == (200, 0)
    by_key = {}
    for key, value in effects.execute("SELECT key, value FROM effect ORDER BY n"):
        by_key.setdefault(key, []).append(int(value))
    assert all(values == sorted(values) for values in by_key.values())


def test_two_consumers_by_name_each_act_once(effects):
    """The id is kept per consumer name: another service's inbox in the same database is independent."""
    topic = effects.topic()
    publish(effects, topic, 50)
    with effects.worker(topic, "--consumer", "billing") as one, effects.worker(topic, "--consumer", "stock") as two:
        wait_until(lambda: count(effects) == 100, lambda: one.log() + two.log())
    assert effects.execute("SELECT consumer, count(*) FROM effect GROUP BY consumer ORDER BY 1") == [
        ("billing", 50), ("stock", 50)]


def test_killed_consumers_repeat_no_effect(effects):
    """kill -9 between the database commit and the offset commit: the ids remove the repetition."""
    topic = effects.topic()
    publish(effects, topic, 3000)
    for share in (0, 1000, 2000):
        with effects.worker(topic, "--batch", "20") as worker:
            wait_until(lambda least=share: count(effects) > least, worker.log)
            worker.kill()
    with effects.worker(topic) as worker:
        wait_until(lambda: count(effects) == 3000, worker.log)
        worker.terminate()
    assert effects.execute("SELECT count(*), count(DISTINCT message_id) FROM effect") == [(3000, 3000)]


def test_rebalance_under_load_repeats_no_effect(effects):
    """A second consumer joins and leaves while records flow."""
    topic = effects.topic()
    with effects.relay(), effects.worker(topic, "--batch", "50") as first:
        effects.publish_many(topic, 2000)
        wait_until(lambda: count(effects) > 100, first.log)
        with effects.worker(topic, "--batch", "50") as second:
            effects.publish_many(topic, 2000, start=2000)
            wait_until(lambda: "assigned" in second.log(), second.log)
            effects.publish_many(topic, 2000, start=4000)
            wait_until(lambda: count(effects) > 4000, first.log)
            second.terminate()
        effects.publish_many(topic, 500, start=6000)
        wait_until(lambda: count(effects) == 6500, first.log)
        first.terminate()
    assert effects.execute("SELECT count(DISTINCT message_id) FROM effect") == [(6500,)]


def test_ids_of_other_producers_are_told_apart_whatever_they_are(effects):
    """Bytes that are no text, ids longer than the table takes, none at all: nothing blocks, and repeats are skipped."""
    topic = effects.topic()
    ids = [b"plain", b"\xff\xfe", b"with\0nul", "ü".encode(), b"x" * 300, b"x" * 300 + b"y", b" ", b"quote\"\\{},"]
    none = b""
    repeated = [one.hex() for one in [*ids, none, *ids, none]]
    probe("produce", effects.kafka.bootstrap, f"outbox.event.{topic}", *repeated)
    with effects.worker(topic, "--batch", "5") as worker:
        wait_until(lambda: count(effects) == len(ids) + 2, worker.log)
        counts = worker.terminate()
    assert (counts["handled"], counts["duplicates"], counts["failures"]) == (len(ids) + 2, len(ids), 0)
    assert {value for (value,) in effects.execute("SELECT value FROM effect")} == set(repeated)
    assert effects.execute("SELECT count(*) FROM concordat_inbox WHERE message_id = 'plain'") == [(1,)]


def test_failing_record_blocks_only_its_partition(effects):
    """policy block: retried with pauses, its key's later records wait, other partitions go on."""
    topic = effects.topic()
    publish(effects, topic, 200, keys=40)
    with effects.worker(topic, "--fail-value", "7", "--fail-times", "8") as worker:
        wait_until(lambda: worker.log().count("retrying") >= 3, worker.log)
        [record] = [entry for entry in effects.records(topic) if entry["value"] == "7"]
        others = sum(1 for entry in effects.records(topic) if entry["partition"] != record["partition"])
        wait_until(lambda: effects.execute("SELECT count(*) FROM effect WHERE part <> %s",
                                           (record["partition"],)) == [(others,)], worker.log)
        assert effects.execute("SELECT count(*) FROM effect WHERE part = %s AND off >= %s",
                               (record["partition"], record["offset"])) == [(0,)]
        wait_until(lambda: count(effects) == 200, worker.log)
        counts = worker.terminate()
    assert counts["handled"] == 200
    assert effects.execute("SELECT count(DISTINCT message_id) FROM effect") == [(200,)]


@pytest.mark.parametrize("flags", [["--attempts", "3"], ["--no-retry"]], ids=["attempts", "no_retry"])
def test_hopeless_record_goes_to_the_dead_letter_topic(effects, flags):
    """policy dead_letter: key, value and id as they were, the reason added; the next records go on."""
    topic = effects.topic()
    dead = f"t{effects.number}.dead"
    probe("create", effects.kafka.bootstrap, f"{dead}:1")
    publish(effects, topic, 100)
    with effects.worker(topic, "--fail-value", "42", "--fail-times", "-1", "--dead-letter", dead, *flags) as worker:
        wait_until(lambda: count(effects) == 99, worker.log)
        wait_until(lambda: "dead_lettered" in worker.log(), worker.log)
        counts = worker.terminate()
    assert (counts["handled"], counts["dead_lettered"]) == (99, 1)
    [record] = records(effects.kafka.bootstrap, dead)
    [original] = [entry for entry in effects.records(topic) if entry["value"] == "42"]
    assert (record["key"], record["value"]) == (original["key"], "42")
    assert header(record, "id") == header(original, "id")
    assert header(record, "dead-letter-source") == f"outbox.event.{topic}/{original['partition']}/{original['offset']}"
    assert header(record, "dead-letter-reason") in ("told to fail", "will never work")


def test_large_hopeless_record_fits_the_dead_letter_topic(effects):
    """What the topics may hold is for the broker to say: a record of two megabytes is put aside like any other."""
    topic = effects.topic(max_message_bytes=3_000_000)
    dead = f"t{effects.number}.dead"
    probe("create", effects.kafka.bootstrap, f"{dead}:1:max.message.bytes=3001000")
    with effects.relay(kafka__max_message_bytes=3_000_000) as relay:
        effects.publish(topic, "k", "x" * 2_000_000)
        effects.wait_empty(relay.log)
    with effects.worker(topic, "--no-retry", "--fail-prefix", "xx", "--fail-times", "-1", "--dead-letter", dead) as worker:
        wait_until(lambda: "dead_lettered" in worker.log(), worker.log)
        assert worker.terminate()["dead_lettered"] == 1
    [record] = records(effects.kafka.bootstrap, dead)
    assert record["size"] == 2_000_000


def test_dead_letters_go_on_after_a_fatal_error_of_their_producer(effects):
    """An idempotent producer that has become useless is replaced, without a restart of the service."""
    topic, dead = f"t{effects.number}.mock", f"t{effects.number}.dead"
    with MockCluster(1, f"outbox.event.{topic}", dead) as mock:
        probe("produce", mock.bootstrap, f"outbox.event.{topic}", b"one".hex())
        mock.order("produce-error 45 1")  # OUT_OF_ORDER_SEQUENCE_NUMBER
        with Worker(effects.folder, mock.bootstrap, effects.url, f"outbox.event.{topic}", "--no-retry", "--fail-prefix",
                    b"one".hex(), "--fail-times", "-1", "--dead-letter", dead) as worker:
            wait_until(lambda: "trouble dead-letter topic" in worker.log(), worker.log)
            wait_until(lambda: "dead_lettered" in worker.log(), worker.log)
            assert worker.terminate()["dead_lettered"] == 1


def test_id_is_kept_under_the_day_of_the_row_also_after_a_long_wait_in_the_outbox(effects):
    """A repeat after midnight bears another time stamp than the first delivery, and has to be known by its id still."""
    topic = effects.topic()
    with effects.relay(), effects.worker(topic) as worker:
        [(day,)] = effects.execute("INSERT INTO concordat_outbox (topic, key, payload, created_at) VALUES (%s, 'k', 'x', "
                                   "now() - interval '3 days') RETURNING (created_at AT TIME ZONE 'UTC')::date", (topic,))
        wait_until(lambda: count(effects) == 1, worker.log)
    assert effects.execute("SELECT day FROM concordat_inbox") == [(day,)]


@pytest.mark.parametrize("preset", ["debezium", "cloudevents"])
def test_two_messages_are_two_whatever_their_rows_say(effects, preset):
    """Headers named like the relay's own, the same in both rows, must not make the second one a repeat of the first."""
    topic = effects.topic()
    headers = json.dumps({"id": "order-1", "ce_id": "order-1", "outbox-created-at": "1"})
    with (effects.relay(envelope__preset=preset, envelope__topic_rule="outbox.event.${topic}"),
          effects.worker(topic) as worker):
        effects.execute("INSERT INTO concordat_outbox (topic, key, headers, payload) VALUES (%(t)s, 'k', %(h)s, 'placed'), "
                        "(%(t)s, 'k', %(h)s, 'paid')", {"t": topic, "h": headers})
        effects.wait_empty()
        effects.publish(topic, "k", "sent")
        wait_until(lambda: effects.execute("SELECT 1 FROM effect WHERE value = 'sent'"), worker.log)
    assert [value for (value,) in effects.execute("SELECT value FROM effect ORDER BY n")] == ["placed", "paid", "sent"]
    assert effects.execute("SELECT bool_and(day > now() - interval '2 days') FROM concordat_inbox") == [(True,)]


def test_partitions_that_wait_during_a_rebalance_go_on(effects):
    """A second consumer joins while each record's partition is paused for an hour: the first tries what it keeps at once."""
    topic = effects.topic(partitions=8)
    publish(effects, topic, 8, keys=8, start=10)
    used = {str(record["partition"]) for record in effects.records(topic)}

    def tried(log):
        return set(re.findall(r"retrying \S+\[(\d)\]", log))

    with effects.worker(topic, "--fail-prefix", "1", "--fail-times", "-1", "--retry-ms", "3600000") as first:
        wait_until(lambda: tried(first.log()) == used, first.log)
        with effects.worker(topic) as second:
            before, kept = wait_until(lambda: re.fullmatch(r"(.*\nrevoked.*\n)assigned (.*?)\n.*", first.log(), re.DOTALL),
                                      first.log).groups()
            kept = set(re.findall(r"\[(\d)\]", kept)) & used
            assert 0 < len(kept) < len(used)
            wait_until(lambda: tried(first.log()[len(before):]) == kept, lambda: first.log() + second.log())


def test_database_away_is_waited_for(effects):
    """No record is skipped or blamed while PostgreSQL is down."""
    topic = effects.topic()
    publish(effects, topic, 100)
    with effects.worker(topic) as worker:
        wait_until(lambda: count(effects) == 100, worker.log)
        with effects.relay():
            effects.publish_many(topic, 100, start=100)
            effects.postgres.kill()
            wait_until(lambda: "retrying" in worker.log() or "trouble" in worker.log() or
                       effects.postgres.start() is None, worker.log)
            if not effects.postgres.is_running():
                effects.postgres.start()
            wait_until(lambda: count(effects) >= 100 and effects.outstanding() == 0, worker.log)
            committed = len({header(record, "id") for record in effects.records(topic)})
            wait_until(lambda: count(effects) == committed, worker.log)
        worker.terminate()
    assert len(set(values_by_key(effects.records(topic)))) == 10


def test_consumer_killed_while_the_database_is_away_loses_nothing(effects):
    """Offsets are stored after the commit only: what was fetched and not done is fetched again by the next one."""
    topic = effects.topic()
    publish(effects, topic, 100)
    with effects.worker(topic) as worker:
        wait_until(lambda: count(effects) == 100, worker.log)
        with effects.relay() as relay:
            worker.process.send_signal(signal.SIGSTOP)
            effects.publish_many(topic, 100, start=100)
            effects.wait_empty()
            assert relay.terminate() == 0
        effects.postgres.kill()
        try:
            worker.process.send_signal(signal.SIGCONT)
            wait_until(lambda: "retrying" in worker.log(), worker.log)
            pause(2.5)  # two intervals after which stored offsets are committed
            worker.kill()
        finally:
            effects.postgres.start()
    with effects.worker(topic) as worker:
        wait_until(lambda: count(effects) == 200, worker.log)
        worker.terminate()
    assert effects.execute("SELECT count(DISTINCT message_id) FROM effect") == [(200,)]


def test_outage_of_the_database_is_not_held_against_a_record(effects):
    """Attempts count what the record itself did: after an outage it still has all of them."""
    topic = effects.topic()
    dead = f"t{effects.number}.dead"
    probe("create", effects.kafka.bootstrap, f"{dead}:1")
    publish(effects, topic, 5, keys=1)
    effects.postgres.kill()
    try:
        worker = effects.worker(topic, "--fail-value", "0", "--fail-times", "1", "--attempts", "2", "--dead-letter", dead)
        wait_until(lambda: worker.log().count("retrying") >= 3, worker.log)
    finally:
        effects.postgres.start()
    with worker:
        wait_until(lambda: count(effects) == 5, worker.log)
        counts = worker.terminate()
    assert (counts["handled"], counts["dead_lettered"], counts["failures"]) == (5, 0, 1)


def test_many_records_share_one_transaction(effects):
    """Batches: one commit for what one poll brought, at most batch_records."""
    topic = effects.topic()
    publish(effects, topic, 1000)
    with effects.worker(topic, "--batch", "200") as worker:
        wait_until(lambda: count(effects) == 1000, worker.log)
        worker.terminate()
    sizes = [size for (size,) in effects.execute("SELECT count(*) FROM effect GROUP BY xmin::text::bigint")]
    assert max(sizes) <= 200
    assert len(sizes) <= 50


def test_missing_dead_letter_topic_blocks_until_it_is_there(effects):
    """A hopeless record is not dropped for want of a place: it is tried again, and moves when the topic exists."""
    topic = effects.topic()
    dead = f"t{effects.number}.dead"
    publish(effects, topic, 20, keys=1)
    with effects.worker(topic, "--fail-value", "5", "--fail-times", "-1", "--no-retry", "--dead-letter", dead) as worker:
        wait_until(lambda: "dead-letter topic" in worker.log(), worker.log)
        assert count(effects) == 5
        probe("create", effects.kafka.bootstrap, f"{dead}:1")
        wait_until(lambda: count(effects) == 19, worker.log, 60)
        assert worker.terminate()["dead_lettered"] == 1
    assert [record["value"] for record in records(effects.kafka.bootstrap, dead)] == ["5"]


def test_old_ids_are_forgotten_by_dropping_whole_days(effects):
    """Partitions older than `keep` go; those of today and the next days are there; nothing else is touched."""
    effects.execute("CREATE TABLE concordat_inbox_20200101 PARTITION OF concordat_inbox "
                    "FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')")
    effects.execute("INSERT INTO concordat_inbox VALUES ('2020-01-01', 'c', 'old'), (current_date, 'c', 'new'), "
                    "('1970-01-01', 'c', 'no time')")
    effects.execute("SELECT concordat_inbox_maintain('8 days')")
    assert sorted(effects.execute("SELECT message_id FROM concordat_inbox")) == [("new",), ("no time",)]
    days = effects.execute("SELECT count(*) FROM pg_class WHERE relname ~ '^concordat_inbox_2[0-9]{7}$'")
    assert days == [(5,)]
