"""What an operator sees when something around the relay is wrong, and that it passes by itself.

Each state has its words in /readyz or /v1/outbox and a line in the log; the cure needs no restart of the relay.
Missing topics, refused rows, a killed broker and a killed database are in test_failures.py.
"""

import subprocess

import pytest

from conftest import assert_in_order, values_by_key
from kafka import KafkaBroker
from relay_process import MockCluster, probe, records, wait_until


@pytest.mark.parametrize("code", [5, 19, 56], ids=["no_leader", "not_enough_replicas", "disk_failed"])
def test_broker_that_answers_but_acknowledges_nothing_is_named(outbox, code):
    """librdkafka tries such errors again without a word: the relay says that, and why it may be so."""
    topic = f"t{outbox.number}.mock"
    with MockCluster(4, f"outbox.event.{topic}") as mock, outbox.relay(
            bootstrap=mock.bootstrap, kafka__stall_timeout="2s") as relay:
        outbox.publish_many(topic, 100)
        outbox.wait_empty()
        assert relay.reasons() == {}
        mock.order(f"produce-error {code} 100000")
        outbox.publish_many(topic, 100, start=100)
        wait_until(lambda: "acknowledged nothing" in relay.reasons().get("acknowledgements", ""), relay.log)
        assert relay.event("acknowledgements_missing")["level"] == "warning"
        assert outbox.outstanding() == 100
        mock.order("produce-well")
        outbox.wait_empty(relay.log)
        wait_until(lambda: relay.reasons() == {}, relay.log)
        assert relay.event("acknowledgements_back")


def test_forbidden_topic_is_named_and_used_when_it_is_allowed(outbox):
    """No permission for one topic: its rows are held, the others go on, the operator reads which and why."""
    allowed, forbidden = f"t{outbox.number}.allowed", f"t{outbox.number}.forbidden"
    with MockCluster(4, f"outbox.event.{allowed}", f"outbox.event.{forbidden}") as mock:
        mock.order(f"topic-error outbox.event.{forbidden} 29")
        with outbox.relay(bootstrap=mock.bootstrap) as relay:
            outbox.publish_many(forbidden, 50)
            outbox.publish_many(allowed, 50)
            wait_until(lambda: outbox.outstanding() == 50, relay.log)
            wait_until(lambda: "uthorization failed" in
                       relay.get("/v1/outbox")[1]["troubles"].get(f"topic {forbidden}", ""), relay.log)
            assert relay.event("topic_refused")["topic"] == f"outbox.event.{forbidden}"
            assert relay.reasons() == {}
            mock.order(f"topic-error outbox.event.{forbidden} 0")
            outbox.wait_empty(relay.log)
            assert relay.get("/v1/outbox")[1]["troubles"] == {}


def test_corrected_password_is_used_without_a_restart(outbox, tmp_path):
    """Authentication refused: not ready, with the reason; the file is read again until its password is right."""
    password = tmp_path / "password"
    password.write_text("guess\n", encoding="utf-8")
    with KafkaBroker(sasl_users={"relay": "secret"}) as guarded:
        sasl = {"bootstrap": guarded.bootstrap, "kafka__security_protocol": "sasl_plaintext",
                "kafka__sasl_mechanism": "PLAIN", "kafka__sasl_username": "relay",
                "kafka__sasl_password_file": password}
        outbox.publish_many("guarded", 20)
        with outbox.relay(**sasl) as relay:
            wait_until(lambda: "uthentication" in relay.reasons().get("kafka", ""), relay.log)
            assert "uthentication" in relay.event("kafka_trouble")["message"]
            assert outbox.outstanding() == 20
            password.write_text("secret\n", encoding="utf-8")
            # The broker has no such topic: that it can say so shows that both clients are in.
            wait_until(lambda: "Unknown topic" in str(relay.get("/v1/outbox")[1]["troubles"]), relay.log)
            wait_until(lambda: relay.reasons() == {}, relay.log)
            assert "guess" not in relay.log() and "secret" not in relay.log()


def test_missing_database_is_named_and_used_when_it_is_there(outbox):
    """The relay may start before its database exists."""
    later = f"{outbox.database}_later"
    topic = outbox.topic()
    here = outbox.url
    try:
        outbox.url = outbox.postgres.url(later)
        with outbox.relay() as relay:
            wait_until(lambda: f'"{later}" does not exist' in relay.reasons().get("database", ""), relay.log)
            outbox.url = here
            outbox.execute(f'CREATE DATABASE "{later}" TEMPLATE "{outbox.database}"')
            outbox.url = outbox.postgres.url(later)
            wait_until(lambda: relay.reasons() == {}, relay.log)
            outbox.publish_many(topic, 100)
            outbox.wait_empty()
    finally:
        outbox.url = here
        outbox.postgres.drop_database(later)
    assert_in_order(outbox.records(topic), 100)


def test_relay_that_starts_without_a_broker_says_so_and_catches_up(outbox):
    """Not ready with the reason "kafka"; rows wait; the broker's return is enough."""
    topic = outbox.topic()
    outbox.kafka.kill()
    try:
        with outbox.relay() as relay:
            outbox.publish_many(topic, 200)
            wait_until(lambda: "refused" in relay.reasons().get("kafka", ""), relay.log)
            assert relay.event("kafka_trouble")
            assert outbox.outstanding() == 200
            outbox.kafka.start()
            outbox.wait_empty(relay.log)
            wait_until(lambda: relay.reasons() == {}, relay.log)
    finally:
        if outbox.kafka.process is None:
            outbox.kafka.start()
    assert_in_order(outbox.records(topic), 200)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a few megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_full_disk_of_the_broker_loses_nothing(outbox, small_disk):
    """The broker's disk fills up under load and it dies of that; with room and a restart everything arrives, in order."""
    topic = f"t{outbox.number}.full"
    properties = {"log.dirs": str(small_disk / "data"), "log.segment.bytes": "1048576",
                  "log.index.size.max.bytes": "65536"}
    with KafkaBroker(properties=properties) as broker:
        probe("create", broker.bootstrap, f"outbox.event.{topic}:1")
        with outbox.relay(bootstrap=broker.bootstrap, kafka__stall_timeout="3s") as relay:
            outbox.publish_many(topic, 100)
            outbox.wait_empty()
            ballast = small_disk / "ballast"
            with open(ballast, "wb") as file:
                try:
                    while True:
                        file.write(b"x" * 65536)
                        file.flush()
                except OSError:
                    pass  # the disk is full
            outbox.publish_many(topic, 3000, start=100, size=2000)
            wait_until(lambda: relay.reasons().keys() & {"kafka", "acknowledgements"}, relay.log)
            assert relay.event("kafka_trouble") or relay.event("acknowledgements_missing")
            assert outbox.outstanding() > 0
            ballast.unlink()
            broker.kill()  # if it has not died of the full disk itself
            broker.start()
            outbox.wait_empty(relay.log, seconds=60)
            wait_until(lambda: relay.reasons() == {}, relay.log)
        found = records(broker.bootstrap, f"outbox.event.{topic}")
    first = set()
    for values in values_by_key(found).values():
        numbers = list(dict.fromkeys(int(value.split(".")[0]) for value in values))
        assert numbers == sorted(numbers)
        first.update(numbers)
    assert first == set(range(3100))


def test_documented_privileges_are_enough(outbox):
    """docs/operating/relay.md names what the relay's role needs; everything it does is done with no more."""
    role = f"publisher_{outbox.number}"
    outbox.execute(f"CREATE ROLE {role} LOGIN")
    outbox.execute(f"GRANT SELECT, INSERT, DELETE ON concordat_outbox TO {role}")
    outbox.execute(f"GRANT SELECT ON SEQUENCE concordat_outbox_id_seq TO {role}")
    outbox.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON concordat_outbox_lease, concordat_outbox_relay, "
                   f"concordat_outbox_parked, concordat_outbox_dead TO {role}")
    topic = outbox.topic(max_message_bytes=3000)
    with outbox.relay(database__conninfo=outbox.url.replace("concordat@", f"{role}@")) as relay:
        outbox.publish(topic, "bad", "x" * 10_000)
        outbox.publish(topic, None, "x" * 10_000)  # without a key it is dead at once
        outbox.publish_many(topic, 100)
        wait_until(lambda: outbox.outstanding() == 1 and relay.metric("dead_total") == 1, relay.log)
        wait_until(lambda: relay.metric("parked_total") == 1, relay.log)
        assert relay.post("/v1/outbox/parked/skip", {"topic": topic, "key_hex": b"bad".hex()}) == (200, {"done": True})
        first, second = [entry["id"] for entry in relay.get("/v1/outbox/dead")[1]["dead"]]
        assert relay.post("/v1/outbox/dead/drop", {"id": first}) == (200, {"done": True})
        assert relay.post("/v1/outbox/dead/replay", {"id": second}) == (200, {"done": True})
        wait_until(lambda: outbox.outstanding() + len(relay.get("/v1/outbox/dead")[1]["dead"]) == 1, relay.log)
        assert relay.reasons() == {} and relay.event("database_error") is None
        assert relay.terminate() == 0
    outbox.execute(f"DROP OWNED BY {role}")
    outbox.execute(f"DROP ROLE {role}")
