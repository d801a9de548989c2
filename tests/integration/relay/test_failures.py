"""What goes wrong around the relay, and that it recovers by itself (O4–O7, O11, O14)."""

import pytest

from conftest import Outbox, assert_in_order, murmur2, values_by_key
from kafka import KafkaBroker
from relay_process import MockCluster, header, pause, probe, wait_until

TOO_LARGE = "x" * 5000  # for topics with max.message.bytes=3000


@pytest.mark.parametrize("position", [0, 150, 299])
def test_refused_row_becomes_a_dead_row_and_only_that_one(outbox, position):
    """O4 with policy skip: the broker refuses the whole batch; exactly the culprit leaves, order per key survives."""
    topic = outbox.topic(max_message_bytes=3000)
    outbox.publish_many(topic, position, keys=5)
    outbox.publish(topic, "key-0", TOO_LARGE)
    outbox.publish_many(topic, 300 - position, keys=5, start=position)
    with outbox.relay(policy__on_refused="skip", kafka__linger="20ms"):
        outbox.wait_empty()
        dead = outbox.execute("SELECT key, reason, octet_length(payload) FROM concordat_outbox_dead")
        assert dead == [(b"key-0", "MSG_SIZE_TOO_LARGE", 5000)]
        assert outbox.execute("SELECT count(*) FROM concordat_outbox_parked") == [(0,)]
    assert_in_order_allowing_repeats(outbox.records(topic), 300)


def test_batches_behind_a_refused_one_do_not_pass_it(outbox):
    """O4: several batches are in flight; librdkafka alone would deliver the later ones first."""
    topic = outbox.topic(partitions=1, max_message_bytes=20_000)
    for start in range(0, 6000, 1000):
        outbox.publish_many(topic, 1000, keys=5, start=start, size=300)
        outbox.publish(topic, "key-0", "x" * 30_000)
    with outbox.relay(policy__on_refused="skip", kafka__batch_bytes="16384"):
        outbox.wait_empty()
        assert outbox.execute("SELECT count(*) FROM concordat_outbox_dead") == [(6,)]
    assert_in_order_allowing_repeats(outbox.records(topic), 6000)


def test_rows_behind_the_first_one_of_a_partition_do_not_pass_it(outbox):
    """O4: a broker that has nothing of a producer in a partition takes any batch of it, also one behind a refused one."""
    topic = outbox.topic(partitions=1, max_message_bytes=20_000)
    with outbox.connect() as connection, connection.transaction():
        for number in range(10):
            outbox.publish(topic, "key", str(number).ljust(30_000 if number == 0 else 10_000, "."), connection)
    with outbox.relay(kafka__batch_bytes="16384") as relay:
        wait_until(lambda: relay.metric("parked_total") == 1, relay.log)
        assert outbox.outstanding() == 10
        assert outbox.records(topic) == []


def test_rows_behind_the_first_one_of_a_new_partition_do_not_pass_it(outbox):
    """O4: the same where a topic has grown under a running relay, which places keys as the topic is now."""
    topic = outbox.topic(partitions=1, max_message_bytes=20_000)
    keys = [f"key-{number}" for number in range(100)]
    one, two = ([key for key in keys if murmur2(key.encode()) % 4 == partition] for partition in (1, 2))
    with outbox.relay(kafka__batch_bytes="16384",
                      **{"kafka__properties.topic.metadata.refresh.interval.ms": "1000"}) as relay:
        outbox.publish(topic, one[0], "before")
        outbox.wait_empty()
        probe("grow", outbox.kafka.bootstrap, f"outbox.event.{topic}:4")

        def moved():
            outbox.publish(topic, one[0], "after")
            outbox.wait_empty()
            return relay.event("topic_has_grown")

        assert wait_until(moved, relay.log)["partitions"] == 4
        with outbox.connect() as connection, connection.transaction():
            for number in range(10):
                outbox.publish(topic, two[0], str(number).ljust(30_000 if number == 0 else 10_000, "."), connection)
        wait_until(lambda: relay.metric("parked_total") == 1, relay.log)
        assert outbox.outstanding() == 10
        assert {record["partition"] for record in outbox.records(topic)} == {0, 1}


def test_rows_of_days_ago_do_not_pass_the_one_before_them(postgres, tmp_path):
    """O4: brokers forget a producer by the time stamps of its records, here looked at every 100 ms: a backlog of days."""
    with KafkaBroker({"producer.id.expiration.check.interval.ms": "100"}) as kafka:
        outbox = Outbox(postgres, kafka, tmp_path)
        topic = outbox.topic(partitions=1, max_message_bytes=20_000)

        def publish_old(*sizes):
            with outbox.connect() as connection, connection.transaction():
                for size in sizes:
                    connection.execute(
                        "INSERT INTO concordat_outbox (topic, key, created_at, payload) "
                        "VALUES (%s, 'key', now() - interval '2 days', %s)", (topic, b"x" * size))

        with outbox.relay(kafka__batch_bytes="16384") as relay:
            publish_old(1000)
            outbox.wait_empty()
            pause(1)  # nothing tells that the broker has forgotten
            publish_old(30_000, *[10_000] * 9)
            wait_until(lambda: relay.metric("parked_total") == 1, relay.log)
            assert outbox.outstanding() == 10
        assert [record["size"] for record in outbox.records(topic)] == [1000]
        postgres.drop_database(outbox.database)


def assert_in_order_allowing_repeats(found, count):
    """First deliveries: each key in order, nothing missing. A new producer may repeat what was in flight."""
    first = {}
    for values in values_by_key(found).values():
        numbers = list(dict.fromkeys(int(value.split(".")[0]) for value in values))
        assert numbers == sorted(numbers)
        first.update(dict.fromkeys(numbers))
    assert sorted(first) == list(range(count))


def test_several_refused_rows_are_found_one_after_the_other(outbox):
    """O4: more than one culprit in one batch."""
    topic = outbox.topic(max_message_bytes=3000)
    for start in range(0, 100, 20):
        outbox.publish(topic, f"key-{start % 3}", TOO_LARGE)
        outbox.publish_many(topic, 20, start=start)
    with outbox.relay(policy__on_refused="skip", kafka__linger="20ms"):
        outbox.wait_empty()
        assert outbox.execute("SELECT count(*) FROM concordat_outbox_dead") == [(5,)]
    assert_in_order_allowing_repeats(outbox.records(topic), 100)


def test_batches_larger_than_the_topic_allows_are_made_smaller(outbox):
    """O4: every row is fine, only their company is too large; nothing may die or be parked, and it is learned."""
    topic = outbox.topic(max_message_bytes=40_000)
    resets = []
    with outbox.relay(kafka__linger="50ms") as relay:
        for turn in range(8):
            outbox.publish_many(topic, 400, size=1000, start=turn * 400)
            outbox.wait_empty()
            resets.append(relay.metric("producer_resets_total"))
        assert outbox.execute("SELECT count(*) FROM concordat_outbox_dead") == [(0,)]
        assert outbox.execute("SELECT count(*) FROM concordat_outbox_parked") == [(0,)]
    assert resets[0] > 0, "the batches were never too large"
    assert resets[-1] == resets[-2], f"producers that were lost, turn by turn: {resets}"
    assert_in_order_allowing_repeats(outbox.records(topic), 3200)


def test_payload_that_no_message_can_hold_is_not_even_read(outbox):
    """Two hundred megabytes in one row: refused by its size, with the memory of any other day; the others go on."""
    topic = outbox.topic()
    outbox.execute("INSERT INTO concordat_outbox (topic, key, payload) SELECT %s, 'huge', "
                   "decode(repeat('00', 200 * 1000 * 1000), 'hex')", (topic,))
    outbox.publish(topic, "huge", "behind")
    outbox.publish_many(topic, 100)
    with outbox.relay() as relay:
        wait_until(lambda: relay.metric("parked_total") == 1 and outbox.outstanding() == 2, relay.log)
        [parked] = relay.get("/v1/outbox/parked")[1]["parked"]
        assert parked["reason"] == "MSG_SIZE_TOO_LARGE" and "200000000 bytes" in parked["detail"]
        assert relay.memory_bytes() < 128 << 20  # a sanitizer has its share of it
    assert_in_order(outbox.records(topic), 100)


def test_row_that_the_topic_refuses_and_one_that_no_message_can_hold_are_both_found(outbox):
    """O4: side by side, of which only the first has to be sent to know."""
    topic = outbox.topic(partitions=1, max_message_bytes=3000)
    with outbox.connect() as connection, connection.transaction():
        outbox.publish(topic, "large", "x" * 10_000, connection)
        outbox.publish(topic, "huge", "x" * 2_000_000, connection)
    outbox.publish_many(topic, 100)
    with outbox.relay() as relay:
        wait_until(lambda: relay.metric("parked_total") == 2 and outbox.outstanding() == 2, relay.log)
    assert_in_order(outbox.records(topic), 100)


def test_dead_rows_are_kept_although_their_ids_were_given_out_again(outbox):
    """O14: after TRUNCATE ... RESTART IDENTITY, or a restored sequence, new rows have the ids of dead ones."""
    topic = outbox.topic(max_message_bytes=3000)
    for event, policy in enumerate(("skip", "skip", "block")):
        outbox.execute("ALTER TABLE concordat_outbox ALTER COLUMN id RESTART")
        outbox.publish(topic, "bad", f"{event}" * 10_000)
        with outbox.relay(policy__on_refused=policy) as relay:
            if policy == "block":
                wait_until(lambda: relay.metric("parked_total") == 1, relay.log)
                assert relay.post("/v1/outbox/parked/skip", {"topic": topic, "key_hex": b"bad".hex()})[0] == 200
            outbox.wait_empty(relay.log)
            dead = relay.get("/v1/outbox/dead")[1]["dead"]
    assert [row["row_id"] for row in dead] == [1, 1, 1] and len({row["id"] for row in dead}) == 3
    assert [first for (first,) in outbox.execute(
        "SELECT convert_from(substr(payload, 1, 1), 'UTF8') FROM concordat_outbox_dead ORDER BY id")] == ["0", "1", "2"]


def test_poisoned_key_is_parked_and_the_others_go_on(outbox):
    """O14 with policy block: listed, replayable, in order; the relay never stops for one key."""
    topic = outbox.topic(max_message_bytes=3000)
    with outbox.relay() as relay:
        outbox.publish(topic, "bad", "1")
        outbox.publish(topic, "bad", TOO_LARGE)
        outbox.publish(topic, "bad", "3")
        outbox.publish_many(topic, 100)
        wait_until(lambda: outbox.outstanding() == 2, "the other keys go on")
        status, listed = relay.get("/v1/outbox/parked")
        assert status == 200
        [entry] = listed["parked"]
        assert (entry["topic"], bytes.fromhex(entry["key_hex"])) == (topic, b"bad")
        assert (entry["reason"], entry["rows_waiting"]) == ("MSG_SIZE_TOO_LARGE", 2)
        assert relay.terminate() == 0
    # Parked is a fact in the database: another instance, later, holds the key as well.
    with outbox.relay() as relay:
        outbox.publish(topic, "bad", "4")
        outbox.publish_many(topic, 100, start=100)
        wait_until(lambda: outbox.outstanding() == 3, "still parked")
        assert relay.metric("parked_total") == 0
        probe("alter", outbox.kafka.bootstrap, f"outbox.event.{topic}", "max.message.bytes=20000")
        entry = {"topic": topic, "key_hex": b"bad".hex()}
        assert relay.post("/v1/outbox/parked/replay", entry) == (200, {"done": True})
        outbox.wait_empty()
        assert relay.post("/v1/outbox/parked/replay", entry)[0] == 404
    found = outbox.records(topic)
    assert [value[:5] for value in values_by_key(found)["bad"]] == ["1", "xxxxx", "3", "4"]
    assert_in_order_allowing_repeats([record for record in found if record["key"] != "bad"], 200)


def test_parked_key_can_go_on_without_the_refused_row_which_can_be_replayed(outbox):
    """O14: skip the row, keep it as a dead row, replay it at the end of its key with the same event id."""
    topic = outbox.topic(max_message_bytes=3000)
    with outbox.relay() as relay:
        outbox.publish(topic, "bad", TOO_LARGE)
        outbox.publish(topic, "bad", "2")
        wait_until(lambda: relay.metric("parked_total") == 1, relay.log)
        assert relay.post("/v1/outbox/parked/skip", {"topic": topic, "key_hex": b"bad".hex()})[0] == 200
        outbox.wait_empty()
        [dead] = relay.get("/v1/outbox/dead")[1]["dead"]
        assert dead["payload_bytes"] == 5000
        probe("alter", outbox.kafka.bootstrap, f"outbox.event.{topic}", "max.message.bytes=20000")
        assert relay.post("/v1/outbox/dead/replay", {"id": dead["id"]}) == (200, {"done": True})
        outbox.wait_empty()
        assert relay.post("/v1/outbox/dead/replay", {"id": dead["id"]})[0] == 404
        assert relay.post("/v1/outbox/dead/replay", {"id": "x"})[0] == 400
    found = outbox.records(topic)
    assert [record["value"][:5] for record in found if record["key"] == "bad"] == ["2", "xxxxx"]
    assert header(found[-1], "id") == dead["event_id"]


def test_row_beyond_the_relays_own_limit_is_refused_without_disturbing_the_rest(outbox):
    """O4: what librdkafka refuses at once costs no producer and repeats nothing."""
    topic = outbox.topic()
    with outbox.relay(kafka__max_message_bytes="20000", policy__on_refused="skip"):
        outbox.publish_many(topic, 50)
        outbox.publish(topic, "key-0", "y" * 30_000)
        outbox.publish_many(topic, 50, start=50)
        outbox.wait_empty()
        assert outbox.execute("SELECT count(*) FROM concordat_outbox_dead") == [(1,)]
    assert_in_order(outbox.records(topic), 100)


def test_policy_of_a_topic_wins_over_the_general_one(outbox):
    """block and skip are chosen per topic."""
    strict = outbox.topic("strict", max_message_bytes=3000)
    lax = outbox.topic("lax", max_message_bytes=3000)
    options = {f"policy__topics.{lax}": "skip"}
    with outbox.relay(**options):
        outbox.publish(strict, "k", TOO_LARGE)
        outbox.publish(lax, "k", TOO_LARGE)
        wait_until(lambda: outbox.execute("SELECT topic FROM concordat_outbox_dead") == [(lax,)], "dead")
        wait_until(lambda: outbox.execute("SELECT topic FROM concordat_outbox_parked") == [(strict,)], "parked")


def test_missing_topic_is_held_and_starts_in_order_when_it_appears(outbox):
    """The state is clear, other topics go on, and recovery needs nobody."""
    topic = outbox.topic()
    missing = f"t{outbox.number}.missing"
    with outbox.relay() as relay:
        outbox.publish_many(missing, 500, keys=3)
        outbox.publish_many(topic, 100)
        wait_until(lambda: outbox.outstanding() == 500, "the other topic goes on")
        trouble = relay.get("/v1/outbox")[1]["troubles"]
        assert "Unknown topic" in trouble[f"topic {missing}"]
        assert relay.get("/readyz")[0] == 200
        outbox.publish_many(missing, 100, keys=3, start=500)
        outbox.topic("missing")
        outbox.wait_empty()
        wait_until(lambda: relay.get("/v1/outbox")[1]["troubles"] == {}, "trouble over")
    assert_in_order(outbox.records(missing), 600)
    assert_in_order(outbox.records(topic), 100)


def test_silent_broker_makes_a_new_producer_and_no_hole(outbox):
    """O5: no message time-out of librdkafka, which would drop records; the relay's own watchdog instead."""
    topic = outbox.topic()
    with outbox.relay(kafka__stall_timeout="1s") as relay:
        outbox.publish_many(topic, 100)
        outbox.wait_empty()
        outbox.kafka.pause()
        try:
            outbox.publish_many(topic, 400, start=100)
            wait_until(lambda: relay.metric("producer_resets_total") >= 2, relay.log)
        finally:
            outbox.kafka.resume()
        outbox.wait_empty()
    assert_in_order_allowing_repeats(outbox.records(topic), 500)


@pytest.mark.parametrize("code", [45, 47, 90], ids=["out_of_order", "old_epoch", "producer_fenced"])
def test_fatal_producer_errors_heal(outbox, code):
    """O6: an idempotent producer that has become useless is replaced; what was acknowledged is deleted."""
    topic = f"t{outbox.number}.mock"
    with MockCluster(4, f"outbox.event.{topic}") as mock, outbox.relay(bootstrap=mock.bootstrap) as relay:
        outbox.publish_many(topic, 200)
        outbox.wait_empty()
        for turn in range(3):
            mock.order(f"produce-error {code} 2")
            outbox.publish_many(topic, 200, start=200 + turn * 200)
            outbox.wait_empty(relay.log)
        assert relay.metric("deleted_total") == 800
        assert relay.metric("producer_resets_total") >= 3


def test_crash_between_acknowledgement_and_delete_repeats_with_the_same_id(outbox):
    """O7: the window of duplicates is what was in flight, and they are recognisable."""
    topic = outbox.topic()
    outbox.publish_many(topic, 300)
    with outbox.connect(autocommit=False) as blocker:
        blocker.execute("SELECT FROM concordat_outbox FOR UPDATE")
        with outbox.relay() as relay:
            wait_until(lambda: relay.metric("published_total") == 300, relay.log)
            relay.kill()
        # Its backend would go on with the DELETE that waits for our lock.
        outbox.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                       "WHERE application_name = 'concordat-relay' AND datname = current_database()")
        blocker.rollback()
    with outbox.relay(lease__duration="1s", lease__margin="200ms", lease__heartbeat="50ms"):
        outbox.wait_empty()
    found = outbox.records(topic)
    assert len(found) == 600
    ids = {record["value"]: set() for record in found}
    for record in found:
        ids[record["value"]].add(header(record, "id"))
    assert all(len(seen) == 1 for seen in ids.values())
    with outbox.worker(topic) as worker:
        outbox.make_effect_table()
        wait_until(lambda: outbox.execute("SELECT count(*) FROM effect") == [(300,)], worker.log)
        counts = worker.terminate()
    assert (counts["handled"], counts["duplicates"]) == (300, 300)


def test_database_restart_is_survived(outbox):
    """kill -9 of PostgreSQL: the relay says so, comes back by itself, and loses nothing."""
    topic = outbox.topic()
    with outbox.relay() as relay:
        outbox.publish_many(topic, 200)
        outbox.wait_empty()
        outbox.postgres.kill()
        wait_until(lambda: relay.get("/readyz")[0] == 503, relay.log)
        assert "database" in relay.get("/readyz")[1]["reasons"]
        outbox.postgres.start()
        outbox.publish_many(topic, 200, start=200)
        outbox.wait_empty()
        relay.wait_ready()
    assert_in_order_allowing_repeats(outbox.records(topic), 400)


def test_broker_restart_is_survived(outbox):
    """kill -9 of the broker in the middle of a stream."""
    topic = outbox.topic()
    with outbox.relay() as relay:
        outbox.publish_many(topic, 5000)
        outbox.kafka.kill()
        try:
            wait_until(lambda: relay.get("/readyz")[0] == 503, relay.log)
            assert "kafka" in relay.get("/readyz")[1]["reasons"]
        finally:
            outbox.kafka.start()
        outbox.publish_many(topic, 100, start=5000)
        outbox.wait_empty(relay.log, seconds=60)
        relay.wait_ready()
    assert_in_order_allowing_repeats(outbox.records(topic), 5100)


@pytest.mark.parametrize("code", [6, 7, 19, 56], ids=["not_leader", "timed_out", "not_enough_replicas", "disk_failed"])
def test_passing_broker_errors_are_waited_out(outbox, code):
    """A broker that is short of replicas or disk says so and recovers: nothing is dead, parked or lost for it."""
    topic = f"t{outbox.number}.mock"
    with MockCluster(4, f"outbox.event.{topic}") as mock, outbox.relay(bootstrap=mock.bootstrap) as relay:
        outbox.publish_many(topic, 100)
        outbox.wait_empty()
        mock.order(f"produce-error {code} 5")
        outbox.publish_many(topic, 300, start=100)
        outbox.wait_empty(relay.log)
        assert relay.metric("deleted_total") == 400
        assert relay.metric("dead_total") + relay.metric("parked_total") == 0


def test_wrong_password_is_said_clearly_and_loses_nothing(outbox, tmp_path):
    """Authentication refused: not ready, with the reason; a relay with the right password drains the outbox."""
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("secret\n", encoding="utf-8")
    wrong.write_text("guess\n", encoding="utf-8")
    with KafkaBroker(sasl_users={"relay": "secret"}) as guarded:
        sasl = {"bootstrap": guarded.bootstrap, "kafka__security_protocol": "sasl_plaintext",
                "kafka__sasl_mechanism": "PLAIN", "kafka__sasl_username": "relay"}
        outbox.publish_many("guarded", 20)
        with outbox.relay(kafka__sasl_password_file=wrong, **sasl) as relay:
            wait_until(lambda: "uthentication" in relay.get("/readyz")[1]["reasons"].get("kafka", ""), relay.log)
            assert outbox.outstanding() == 20
            assert "guess" not in relay.log()
        with outbox.relay(kafka__sasl_password_file=right, **sasl) as relay:
            wait_until(lambda: "Unknown topic" in str(relay.get("/v1/outbox")[1]["troubles"]), relay.log)
            assert relay.get("/readyz")[0] == 200
            assert outbox.outstanding() == 20
