"""What a record looks like, compared with the formats it claims to have."""

import json
import re
import time
import uuid

from conftest import murmur2
from relay_process import header, probe, records

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def through_the_routers_columns(outbox, rows):
    """Writes rows as a service that used the router does: plain INSERTs, a payload of type jsonb, DELETEs at once."""
    for row in rows:
        outbox.execute(
            "INSERT INTO concordat_outbox_debezium (id, aggregatetype, aggregateid, type, payload) "
            "VALUES (%(id)s, %(aggregatetype)s, %(aggregateid)s, %(type)s, %(payload)s::jsonb)", row)


def test_debezium_preset_is_a_drop_in_for_the_outbox_event_router(outbox):
    """Record by record against what Debezium documents for the router's defaults.

    Columns id uuid, aggregatetype, aggregateid, type varchar(255), payload jsonb. Topic: "outbox.event." and
    aggregatetype. Key: aggregateid. Value: the payload alone, as text. Headers: "id" alone; the type is nowhere.
    One record for each INSERT, none for a DELETE. Partition: the key's, by the Java client's hash.
    """
    order, customer = outbox.topic("Order"), outbox.topic("Customer")
    rows = []
    for number in range(50):
        rows.append({
            "id": str(uuid.uuid4()),
            "aggregatetype": order if number % 2 else customer,
            "aggregateid": f"aggregate-{number % 7}",
            "type": "OrderCreated" if number % 3 else "OrderLineUpdated",
            "payload": json.dumps({"id": number, "lineItems": [{"item": "Ümläut \"x\"", "quantity": number}]}),
        })
    expected = {}  # what Debezium reads from a jsonb column is the database's own rendering of it
    for row in rows:
        expected[row["id"]] = outbox.execute("SELECT %s::jsonb::text", (row["payload"],))[0][0]
    with outbox.relay():
        through_the_routers_columns(outbox, rows)
        outbox.wait_empty()
    found = outbox.records(order, customer)
    assert len(found) == len(rows)
    records_by_id = {header(record, "id"): record for record in found}
    for row in rows:
        record = records_by_id[row["id"]]
        assert record["topic"] == "outbox.event." + row["aggregatetype"]
        assert record["key"] == row["aggregateid"]
        assert record["value"] == expected[row["id"]]
        assert record["headers"] == [["id", row["id"]]]
        assert record["partition"] == (murmur2(record["key"].encode()) & 0x7FFFFFFF) % 4
        assert abs(record["timestamp"] / 1000 - time.time()) < 600
    for topic in (order, customer):
        for key in {row["aggregateid"] for row in rows}:
            written = [row["id"] for row in rows if (row["aggregatetype"], row["aggregateid"]) == (topic, key)]
            assert written == [header(record, "id") for record in found
                               if record["topic"].endswith(topic) and record["key"] == key]


def test_debezium_preset_treats_missing_values_as_the_router_does(outbox):
    """No aggregateid: no key. payload NULL: a null value. An empty payload stays empty: the router's option that
    makes a tombstone of it is off by default."""
    topic = outbox.topic(partitions=1)
    with outbox.relay():
        outbox.execute("INSERT INTO concordat_outbox_debezium (id, aggregatetype, aggregateid, type, payload) VALUES "
                       "(gen_random_uuid(), %(t)s, NULL, 'T', 'no key'), (gen_random_uuid(), %(t)s, 'k', 'T', NULL), "
                       "(gen_random_uuid(), %(t)s, 'k', 'T', '')", {"t": topic})
        outbox.wait_empty()
    found = outbox.records(topic)
    assert sorted(((record["key"], record["value"]) for record in found), key=str) == sorted(
        [(None, "no key"), ("k", None), ("k", "")], key=str)


def test_payload_bytes_pass_through_untouched(outbox):
    """Avro, protobuf, anything: the value is the column, byte for byte, in both presets."""
    payload = bytes([0, 255, 254, 10, 13, 0, 128, 92, 34]) + "Ü".encode("latin-1")
    topic = outbox.topic(partitions=1)
    plain = f"t{outbox.number}.binary"
    probe("create", outbox.kafka.bootstrap, f"{plain}:1")
    with outbox.relay() as relay:
        outbox.publish(topic, "k", payload)
        outbox.wait_empty()
        assert relay.terminate() == 0
    with outbox.relay(envelope__preset="cloudevents") as relay:
        outbox.publish(plain, "k", payload)
        outbox.wait_empty()
    for [record] in (outbox.records(topic), records(outbox.kafka.bootstrap, plain)):
        assert (record["hex"], record["size"]) == (payload.hex(), len(payload))


def test_topic_rule_replaces_the_routers_route_topic_replacement(outbox):
    """Another prefix, or one topic for all rows."""
    probe("create", outbox.kafka.bootstrap, f"events.r{outbox.number}:1", f"all.r{outbox.number}:1")
    for rule, topic in (("events.${topic}", f"events.r{outbox.number}"), (f"all.r{outbox.number}",) * 2):
        with outbox.relay(envelope__topic_rule=rule) as relay:
            outbox.publish(f"r{outbox.number}", "k", "x")
            outbox.wait_empty()
            assert relay.terminate() == 0
        assert len(records(outbox.kafka.bootstrap, topic)) == 1


def test_debezium_preset_can_place_the_type_in_a_header(outbox):
    """The router's additional placement "type:header:eventType"; headers of the row follow."""
    topic = outbox.topic()
    with outbox.relay(envelope__type_header="eventType"):
        outbox.execute("INSERT INTO concordat_outbox (topic, key, type, headers, payload) VALUES "
                       "(%s, 'k', 'OrderCreated', %s, 'x')",
                       (topic, json.dumps({"traceparent": TRACE, "id": "not this one"})))
        outbox.wait_empty()
    [record] = outbox.records(topic)
    names = [name for name, _ in record["headers"]]
    assert names == ["id", "eventType", "traceparent"]
    assert header(record, "eventType") == "OrderCreated"
    assert header(record, "traceparent") == TRACE
    uuid.UUID(header(record, "id"))


def test_cloudevents_preset_is_binary_mode(outbox):
    """CloudEvents 1.0, Kafka binding: ce_ headers, content-type, the payload untouched, trace context carried."""
    topic = f"t{outbox.number}.plain"
    probe("create", outbox.kafka.bootstrap, f"{topic}:1")
    with outbox.relay(envelope__preset="cloudevents", envelope__source="/shop/orders"):
        outbox.execute("INSERT INTO concordat_outbox (topic, key, type, headers, payload) VALUES "
                       "(%s, 'k', 'order.placed', %s, 'payload'), (%s, 'k', '', %s, 'payload')",
                       (topic, json.dumps({"traceparent": TRACE}), topic,
                        json.dumps({"content-type": "text/plain"})))
        outbox.wait_empty()
    first, second = records(outbox.kafka.bootstrap, topic)
    assert header(first, "ce_specversion") == "1.0"
    uuid.UUID(header(first, "ce_id"))
    assert header(first, "ce_source") == "/shop/orders"
    assert header(first, "ce_type") == "order.placed"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", header(first, "ce_time"))
    assert header(first, "content-type") == "application/json"
    assert header(first, "ce_traceparent") == header(first, "traceparent") == TRACE
    assert first["value"] == "payload"
    assert header(second, "ce_type") == topic
    assert header(second, "content-type") == "text/plain"


def test_nulls_and_empty_values_stay_what_they_are(outbox):
    """No key, an empty key, a tombstone and an empty payload are four different things to Kafka."""
    topic = outbox.topic(partitions=1)
    with outbox.relay():
        outbox.execute("INSERT INTO concordat_outbox (topic, key, payload) VALUES "
                       "(%(t)s, NULL, 'no key'), (%(t)s, '', 'empty key'), (%(t)s, 'a', NULL), (%(t)s, 'b', '')",
                       {"t": topic})
        outbox.wait_empty()
    found = [(record["key"], record["value"]) for record in outbox.records(topic)]
    assert sorted(found, key=str) == sorted(
        [(None, "no key"), ("", "empty key"), ("a", None), ("b", "")], key=str)


def test_time_of_a_record_is_that_of_its_row(outbox):
    """Duplicates must carry the same creation time: the inbox finds them by its day. After 12 hours a header tells it."""
    topic = outbox.topic(partitions=1)
    created = []
    with outbox.relay():
        for age in ("0", "11 hours", "13 hours", "200 days"):
            [(time,)] = outbox.execute(
                "INSERT INTO concordat_outbox (topic, key, payload, created_at) VALUES (%s, 'k', 'x', "
                "date_trunc('milliseconds', now()) - %s::interval) RETURNING (extract(epoch FROM created_at) * 1000)::bigint",
                (topic, age))
            created.append(time)
        outbox.wait_empty()
    [(now,)] = outbox.execute("SELECT extract(epoch FROM clock_timestamp()) * 1000")
    found = outbox.records(topic)
    assert [record["timestamp"] for record in found[:2]] == created[:2]
    assert all(abs(float(now) - record["timestamp"]) < 60_000 for record in found[2:])
    assert [header(record, "outbox-created-at") for record in found] == [None, None, *map(str, created[2:])]
