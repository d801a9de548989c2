"""A crash of the database may undo what relay and inbox have seen: ids are drawn again, visible rows are gone (O1, O2, O7)."""

import pytest

from conftest import assert_in_order, first_deliveries, values_by_key
from postgres import PostgresCluster
from relay_process import wait_until

# Nothing but the test writes, so that what is not committed durably is still in the log's buffers at the crash.
QUIET = {"lease__duration": "60s", "lease__heartbeat": "20s"}
# It would find such rows as well, but late and out of order.
NO_SWEEP = {"pipeline__sweep_interval": "3600s"}
ATTEMPTS = 5


@pytest.fixture(scope="module")
def postgres():
    """Instead of the one for all: it forgets more."""
    with PostgresCluster(settings={"wal_writer_delay": "10s", "autovacuum": "off"}) as cluster:
        yield cluster


def test_ids_that_a_crash_gives_out_again_are_read(outbox):
    """O1: ids of transactions that the crash undid are drawn again, behind the position that the relay had reached."""
    topic = outbox.topic()
    published = 0
    with outbox.relay(**NO_SWEEP, **QUIET) as relay:
        for _ in range(ATTEMPTS):
            outbox.publish_many(topic, 100, start=published)
            published += 100
            outbox.wait_empty()
            undone = outbox.connect(autocommit=False)
            drawn = undone.execute(
                "SELECT max(nextval('concordat_outbox_id_seq')) FROM generate_series(1, 40)").fetchone()[0]
            wait_until(lambda upto=drawn: relay.get("/v1/outbox")[1]["position"] >= upto, relay.log)
            outbox.postgres.kill()
            undone.close()
            outbox.postgres.start()
            first = outbox.publish(topic, f"key-{published % 10}", str(published))
            published += 1
            if first <= drawn:
                break
        else:
            raise AssertionError("no crash lost the sequence's log record")
        outbox.publish_many(topic, 99, start=published)
        outbox.wait_empty()
        assert relay.metric("swept_total") == 0
    # The relay's DELETE does not wait for the disk either: the crash brings rows back, which are sent again.
    assert_in_order(first_deliveries(outbox.records(topic)).values(), published + 99)


def crash_behind(outbox, relay, topic, payloads):
    """Rows of a service that does not wait for the disk are sent, and the database crashes; their ids."""
    with outbox.connect(autocommit=False) as hasty:
        hasty.execute("SET LOCAL synchronous_commit = off")
        ids = [outbox.publish(topic, "key", payload, hasty) for payload in payloads]
    wait_until(lambda: relay.metric("rows_at_kafka") == len(payloads), relay.log)
    outbox.postgres.kill()
    outbox.postgres.start()
    return ids


def test_acknowledgement_of_a_lost_row_does_not_delete_the_row_that_has_its_id_now(outbox):
    """O2: a service that does not wait for the disk loses a row that the relay has sent already; its id is drawn again.

    What Kafka acknowledges after that is the row that is gone. The one that has its id was not sent.
    """
    topic = outbox.topic(partitions=1)
    published = 0
    with outbox.relay(**NO_SWEEP, **QUIET) as relay:
        for _ in range(ATTEMPTS):
            outbox.publish(topic, "key", f"kept-{published}")
            published += 1
            outbox.wait_empty()
            outbox.kafka.pause()
            try:
                lost = crash_behind(outbox, relay, topic, ["lost"] * 40)
                again = []
                for _ in range(40):
                    again.append(outbox.publish(topic, "key", f"kept-{published}"))
                    published += 1
            finally:
                outbox.kafka.resume()
            outbox.wait_empty(relay.log)
            if set(lost) & set(again):
                break
        else:
            raise AssertionError("no crash lost the rows")
    values = [value for value in values_by_key(first_deliveries(outbox.records(topic)).values())["key"] if value != "lost"]
    assert values == [f"kept-{number}" for number in range(published)]


def test_lost_row_that_kafka_refuses_parks_no_key(outbox):
    """O14: the key would wait for an operator because of a row that nobody has."""
    topic = outbox.topic(partitions=1, max_message_bytes=3000)
    published = 0
    with outbox.relay(**NO_SWEEP, **QUIET) as relay:
        for _ in range(ATTEMPTS):
            outbox.publish(topic, "key", f"kept-{published}")
            published += 1
            outbox.wait_empty()
            outbox.kafka.pause()
            try:
                crash_behind(outbox, relay, topic, ["x" * 10_000])
                lost = not outbox.execute("DELETE FROM concordat_outbox WHERE octet_length(payload) = 10000 RETURNING id")
            finally:
                outbox.kafka.resume()
            wait_until(lambda: relay.metric("rows_in_memory") == 0 and relay.get("/readyz")[0] == 200, relay.log)
            outbox.publish(topic, "key", f"kept-{published}")
            published += 1
            outbox.wait_empty(relay.log)
            if lost:
                break
        else:
            raise AssertionError("no crash lost the row")
        assert outbox.execute("SELECT * FROM concordat_outbox_parked") == []
    values = values_by_key(first_deliveries(outbox.records(topic)).values())["key"]
    assert values == [f"kept-{number}" for number in range(published)]


def test_effects_survive_a_crash_where_commits_do_not_wait_for_the_disk(outbox):
    """O7: an offset is stored after the commit; if a crash could take the commit back, the message would be lost."""
    outbox.make_effect_table()
    outbox.execute(f"ALTER DATABASE {outbox.database} SET synchronous_commit = off")
    topic = outbox.topic()
    with outbox.relay() as relay:
        outbox.publish_many(topic, 100)
        outbox.wait_empty()
        assert relay.terminate() == 0
    effects = "SELECT count(*) FROM effect"
    with outbox.worker(topic) as worker:
        wait_until(lambda: outbox.execute(effects) == [(100,)], worker.log)
        worker.terminate()  # commits its offsets
    outbox.postgres.kill()
    outbox.postgres.start()
    assert outbox.execute(effects) == [(100,)]


def test_epochs_survive_a_crash_where_commits_do_not_wait_for_the_disk(outbox):
    """O3: an epoch that the crash took back would be given to the next owner, and the last one could not be told from it."""
    outbox.execute(f"ALTER DATABASE {outbox.database} SET synchronous_commit = off")
    with outbox.relay(**QUIET) as relay:
        wait_until(lambda: relay.metric("buckets_owned") == 64, relay.log)
        outbox.postgres.kill()
    outbox.postgres.start()
    assert outbox.execute("SELECT DISTINCT epoch FROM concordat_outbox_lease") == [(1,)]
