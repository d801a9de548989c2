"""A topic of which Kafka acknowledges nothing, because its partitions have no leader, keeps nobody else waiting.

Two real brokers, of which the one that has the topic is down. The relay tries the topic with one row and holds the
others back.
"""

import pytest

from conftest import Outbox, assert_in_order, first_deliveries
from kafka import KafkaBroker
from relay_process import pause, wait_until


@pytest.fixture(scope="module")
def two_brokers():
    """A cluster of its own; topics live on the first broker or, with partitions="N@2", on the second."""
    soon = {"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "200"}
    with KafkaBroker(properties=soon) as first, KafkaBroker(properties=soon, joins=first) as second:
        yield first, second


class HalfDead:
    """An outbox, topics of either broker, and the second broker, which is down."""

    def __init__(self, postgres, brokers, folder):
        first, self.broker = brokers
        self.outbox = Outbox(postgres, first, folder)
        # All before it dies: it may be the one that is named as controller.
        self.stuck = self.outbox.topic("stuck", partitions="4@2")
        self.also_stuck = [self.outbox.topic(f"stuck{number}", partitions="1@2") for number in range(6)]
        self.fine = self.outbox.topic("fine", partitions="4@1")
        self.small = self.outbox.topic("small", partitions="1@1", max_message_bytes=3000)
        self.broker.kill()

    def close(self):
        if self.broker.process is None:
            self.broker.start()
        self.outbox.postgres.drop_database(self.outbox.database)


@pytest.fixture
def half_dead(postgres, two_brokers, tmp_path):
    made = HalfDead(postgres, two_brokers, tmp_path)
    yield made
    made.close()


def delivered(outbox, *topics):
    """Without what Kafka holds twice, for a stall makes the producer anew."""
    return list(first_deliveries(outbox.records(*topics)).values())


def end_connections(outbox):
    """As a restart of the database does."""
    outbox.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                   "AND pid <> pg_backend_pid()")


def test_topic_that_acknowledges_nothing_does_not_keep_the_others_waiting(half_dead):
    """The one broker of a topic is down, and more rows wait for it than the window holds: the others go on after the
    stall time and stay at it; the operator reads which topic it is; its rows arrive, in order, when it is back."""
    outbox, stuck, fine = half_dead.outbox, half_dead.stuck, half_dead.fine
    with outbox.relay(kafka__stall_timeout="3s", pipeline__batch_rows=200, pipeline__window_rows=400) as relay:
        outbox.publish(stuck, "large", "x" * 10_000)  # its payload is fetched in its turn
        outbox.publish_many(stuck, 1000)
        outbox.publish_many(fine, 300)
        wait_until(lambda: outbox.outstanding() == 1001, relay.log)
        assert "acknowledged nothing" in relay.get("/v1/outbox")[1]["troubles"][f"topic {stuck}"]
        assert relay.event("topic_stalled")["topic"] == f"outbox.event.{stuck}"
        resets = relay.metric("producer_resets_total")
        outbox.publish_many(stuck, 1000, start=1000)
        for start in range(300, 900, 200):
            outbox.publish_many(fine, 200, start=start)
            wait_until(lambda: outbox.outstanding() == 2001, relay.log)
        wait_until(lambda: relay.reasons() == {}, relay.log)
        pause(4)  # longer than the stall time: trying the topic disturbs nobody
        assert relay.metric("producer_resets_total") == resets and relay.metric("rows_at_kafka") == 1
        half_dead.broker.start()
        outbox.wait_empty(relay.log)
        wait_until(lambda: relay.get("/v1/outbox")[1]["troubles"] == {}, relay.log)
        assert relay.event("topic_stall_over")
    assert_in_order(delivered(outbox, fine), 900)
    found = delivered(outbox, stuck)
    assert [(record["size"], record["value"]) for record in found if record["key"] == "large"] == [(10_000, "x" * 400)]
    assert_in_order([record for record in found if record["key"] != "large"], 2000)


def test_stalled_topic_delays_neither_a_hand_over_nor_the_end(half_dead):
    """Rows that wait for a dead broker do not keep their buckets from another relay, nor a relay from ending."""
    outbox, stuck, fine = half_dead.outbox, half_dead.stuck, half_dead.fine
    with outbox.relay(kafka__stall_timeout="1s") as first:
        outbox.publish_many(stuck, 500, keys=100)
        wait_until(lambda: first.event("topic_stalled"), first.log)
        with outbox.relay(kafka__stall_timeout="1s") as second:
            wait_until(lambda: first.metric("buckets_owned") == second.metric("buckets_owned") == 32, first.log)
            wait_until(lambda: second.event("topic_stalled"), second.log)
            outbox.publish_many(fine, 500, keys=100)
            wait_until(lambda: outbox.outstanding() == 500, second.log)
            assert first.terminate() == 0
            wait_until(lambda: second.metric("buckets_owned") == 64, second.log)
            outbox.publish_many(fine, 500, keys=100, start=500)
            wait_until(lambda: outbox.outstanding() == 500, second.log)
            half_dead.broker.start()
            outbox.wait_empty(second.log)
    assert_in_order(delivered(outbox, fine), 1000)
    assert_in_order(delivered(outbox, stuck), 500)


def test_stalled_topic_does_not_keep_the_relay_from_a_new_database_connection(half_dead):
    """After a crash of the database everything is read anew, also while a row waits for a dead broker."""
    outbox, stuck, fine = half_dead.outbox, half_dead.stuck, half_dead.fine
    with outbox.relay(kafka__stall_timeout="1s") as relay:
        outbox.publish_many(stuck, 500)
        wait_until(lambda: relay.event("topic_stalled"), relay.log)
        end_connections(outbox)
        wait_until(lambda: relay.event("database_error"), relay.log)
        outbox.publish_many(fine, 500)
        wait_until(lambda: outbox.outstanding() == 500, relay.log)
        half_dead.broker.start()
        outbox.wait_empty(relay.log)
    assert_in_order(delivered(outbox, fine), 500)
    assert_in_order(delivered(outbox, stuck), 500)


def test_stall_is_over_when_nothing_waits_for_the_topic(half_dead):
    """Its rows were taken away by hand: the relay complains no longer, and publishes the topic's next rows."""
    outbox, stuck = half_dead.outbox, half_dead.stuck
    with outbox.relay(kafka__stall_timeout="1s") as relay:
        outbox.publish_many(stuck, 500)
        wait_until(lambda: relay.event("topic_stalled"), relay.log)
        outbox.execute("DELETE FROM concordat_outbox")
        end_connections(outbox)
        wait_until(lambda: relay.event("topic_stall_over"), relay.log)
        wait_until(lambda: relay.reasons() == {} and relay.get("/v1/outbox")[1]["troubles"] == {}, relay.log)
        half_dead.broker.start()
        outbox.publish_many(stuck, 100)
        outbox.wait_empty(relay.log)
    assert_in_order(delivered(outbox, stuck), 100)


def test_refused_row_is_found_beside_a_stalled_topic(half_dead):
    """The search for it sends few rows at a time and waits for each: not for the one that tries the stalled topic."""
    outbox, stuck, small = half_dead.outbox, half_dead.stuck, half_dead.small
    with outbox.relay(kafka__stall_timeout="1s") as relay:
        outbox.publish_many(stuck, 100)
        wait_until(lambda: relay.event("topic_stalled"), relay.log)
        outbox.publish(small, "before", "opens the partition, so that the next ones go in company")
        wait_until(lambda: outbox.outstanding() == 100, relay.log)
        with outbox.connect() as connection, connection.transaction():
            outbox.publish(small, "before", "0", connection)
            outbox.publish(small, "bad", "x" * 10_000, connection)
            outbox.publish(small, "behind", "1", connection)
        wait_until(lambda: outbox.outstanding() == 101 and relay.metric("parked_total") == 1, relay.log)
        assert relay.events("searching_refused_row")
        outbox.publish_many(small, 500)
        wait_until(lambda: outbox.outstanding() == 101, relay.log)
        half_dead.broker.start()
        wait_until(lambda: outbox.outstanding() == 1, relay.log)
    assert_in_order([record for record in delivered(outbox, small) if record["key"].startswith("key-")], 500)
    assert_in_order(delivered(outbox, stuck), 100)


def test_rows_that_try_stalled_topics_take_no_room(half_dead):
    """Each of several stalled topics has a row at Kafka that was read with many others: these are not kept with it."""
    outbox, stuck, fine = half_dead.outbox, half_dead.also_stuck, half_dead.fine
    for topic in stuck:
        outbox.publish_many(topic, 100, size=4000)
    with outbox.relay(kafka__stall_timeout="1s", pipeline__batch_rows=50,
                      pipeline__window_bytes=1 << 20) as relay:
        wait_until(lambda: len({event["topic"] for event in relay.events("topic_stalled")}) == len(stuck), relay.log)
        outbox.publish_many(fine, 100)
        wait_until(lambda: outbox.outstanding() == 600, relay.log)
        half_dead.broker.start()
        outbox.wait_empty(relay.log)
    assert_in_order(delivered(outbox, fine), 100)
    for topic in stuck:
        assert_in_order(delivered(outbox, topic), 100)


def test_no_topic_is_to_blame_while_no_broker_answers(half_dead):
    """A broker answered when the silence began, and answers no more when it has lasted for the stall time."""
    outbox, stuck = half_dead.outbox, half_dead.stuck
    with outbox.relay(kafka__stall_timeout="12s") as relay:
        outbox.publish_many(stuck, 10)
        wait_until(lambda: relay.event("acknowledgements_missing"), relay.log)
        outbox.kafka.pause()  # connections stay open: nobody is told
        try:
            wait_until(lambda: relay.event("producer_reset"), relay.log)
            assert relay.event("topic_stalled") is None
        finally:
            outbox.kafka.resume()
        half_dead.broker.start()
        outbox.wait_empty(relay.log)
    assert_in_order(delivered(outbox, stuck), 10)
