"""concordat::outbox::publish(): what it takes goes into the row byte by byte, what it does not is said before it is sent."""

import pytest

EVENT_ID = "01234567-89ab-cdef-0123-456789abcdef"


def publish(**message):
    return {"publish": message}


def outbox(database):
    return database.execute("SELECT event_id::text, topic, key, type, headers, payload FROM concordat_outbox ORDER BY id")


def test_a_message_is_there_with_the_commit_and_not_before(database):
    """Every part arrives as it was given, also bytes that are no text."""
    service = database.service()
    message = publish(topic="order", key={"bytes": [0, 255, 39, 92]}, payload={"bytes": [0, 1, 254, 92, 39]},
                      type="order.placed", headers=[["traceparent", "00-ab"], ["ü", "\"'\\"]], event_id=EVENT_ID)
    assert service.prepare("x", message).vote == "yes"
    assert outbox(database) == []
    assert service.commit("x").status == 200
    [(event, topic, key, kind, headers, payload)] = outbox(database)
    assert (event, topic, kind) == (EVENT_ID, "order", "order.placed")
    assert (bytes(key), bytes(payload)) == (bytes([0, 255, 39, 92]), bytes([0, 1, 254, 92, 39]))
    assert headers == {"traceparent": "00-ab", "ü": "\"'\\"}
    assert f"published {EVENT_ID}\n" in service.lines


def test_a_message_goes_with_a_branch_that_aborts(database):
    """Abort after the vote, and a vote of no: both leave nothing."""
    service = database.service()
    assert service.prepare("x", publish(topic="t", payload="p")).vote == "yes"
    assert service.abort("x").status == 200
    assert service.prepare("y", publish(topic="t", payload="p"), {"throw": "no"}).vote == "no"
    assert outbox(database) == []


def test_nothing_and_empty_are_different(database):
    """No key is not an empty key, and no payload (a tombstone) is not an empty one."""
    service = database.service()
    service.prepare("x", publish(topic="t"), publish(topic="t", key="", payload=""))
    assert service.commit("x").status == 200
    rows = [(key if key is None else bytes(key), headers, payload if payload is None else bytes(payload))
            for _, _, key, _, headers, payload in outbox(database)]
    assert rows == [(None, None, None), (b"", None, b"")]


@pytest.mark.parametrize("message", [
    {"topic": {"size": 249}}, {"topic": "a-B_9."}, {"topic": "t", "key": {"size": 4096}},
    {"topic": "t", "type": {"size": 255}}, {"topic": "t", "payload": {"size": 900_000}},
    {"topic": "t", "headers": [["n", {"size": 8182}]]},
], ids=["longest topic", "all kinds of characters", "longest key", "longest type", "largest payload", "most headers"])
def test_the_limits_are_reached(database, message):
    """The largest message of each kind is taken, by the SDK and by the table."""
    service = database.service()
    assert service.prepare("x", publish(**message)).vote == "yes"


@pytest.mark.parametrize(("message", "reason"), [
    ({"topic": ""}, "topic"),
    ({"topic": {"size": 250}}, "topic"),
    ({"topic": "a b"}, "topic"),
    ({"topic": "ü"}, "topic"),
    ({"topic": "t", "key": {"size": 4097}}, "key"),
    ({"topic": "t", "type": {"size": 256}}, "type"),
    ({"topic": "t", "type": {"bytes": [65, 0]}}, "type"),
    ({"topic": "t", "event_id": "4711"}, "event_id"),
    ({"topic": "t", "event_id": EVENT_ID[:-1] + "g"}, "event_id"),
    ({"topic": "t", "payload": {"size": 900_001}}, "payload"),
    ({"topic": "t", "headers": [["", "v"]]}, "no name"),
    ({"topic": "t", "headers": [["n", "1"], ["n", "2"]]}, "twice"),
    ({"topic": "t", "headers": [["n", {"bytes": [255]}]]}, "UTF-8"),
    ({"topic": "t", "headers": [["n", {"bytes": [0]}]]}, "NUL"),
    ({"topic": "t", "headers": [["n", {"size": 8183}]]}, "headers"),
    ({"topic": "t", "headers": [["id", "4711"]]}, "header 'id'"),
    ({"topic": "t", "headers": [["n", "1"], ["ce_id", "4711"]]}, "header 'ce_id'"),
    ({"topic": "t", "headers": [["outbox-created-at", "1"]]}, "header 'outbox-created-at'"),
])
def test_what_is_beyond_a_limit_is_refused_before_it_is_sent(database, message, reason):
    """invalid_message names the part; the transaction goes on, because nothing reached the database."""
    service = database.service()
    refused = service.prepare("x", publish(**message))
    assert refused.vote == "no"
    assert refused.reason.startswith("invalid: ") and reason in refused.reason


def test_an_error_of_the_database_is_told_apart(database):
    """database_error: the transaction is lost, and the branch votes no."""
    service = database.service()
    database.execute("ALTER TABLE concordat_outbox RENAME TO gone")
    failed = service.prepare("x", publish(topic="t"))
    assert failed.vote == "no"
    assert failed.reason.startswith("database: ") and "concordat_outbox" in failed.reason
