"""What a record looks like, compared with the formats it claims to have."""

import json
import re
import uuid

from relay_process import header, probe, records

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_debezium_preset_is_a_drop_in_for_the_outbox_event_router(outbox):
    """Record by record: topic by aggregatetype, key aggregateid, value payload, header id; nothing else.

    The rows are written through a table with the router's column names, as a service that used it would.
    """
    order, customer = outbox.topic("Order"), outbox.topic("Customer")
    rows = []
    for number in range(50):
        rows.append({
            "id": str(uuid.uuid4()),
            "aggregatetype": order if number % 2 else customer,
            "aggregateid": f"aggregate-{number % 7}",
            "type": "OrderCreated" if number % 3 else "OrderLineUpdated",
            "payload": json.dumps({"id": number, "lineItems": [{"item": "Ümläut", "quantity": number}]}),
        })
    with outbox.relay():
        for row in rows:
            outbox.execute(
                "INSERT INTO concordat_outbox_debezium (id, aggregatetype, aggregateid, type, payload) "
                "VALUES (%(id)s, %(aggregatetype)s, %(aggregateid)s, %(type)s, %(payload)s)", row)
        outbox.wait_empty()
    found = {header(record, "id"): record for record in outbox.records(order, customer)}
    assert len(found) == len(rows)
    for row in rows:
        record = found[row["id"]]
        # Debezium documentation, "Outbox Event Router", with its default settings.
        assert record["topic"] == "outbox.event." + row["aggregatetype"]
        assert record["key"] == row["aggregateid"]
        assert record["value"] == row["payload"]
        assert record["headers"] == [["id", row["id"]]]


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
    """Duplicates must carry the same creation time: the inbox finds them by its day."""
    topic = outbox.topic()
    with outbox.relay():
        [(created,)] = outbox.execute(
            "INSERT INTO concordat_outbox (topic, key, payload, created_at) VALUES (%s, 'k', 'x', "
            "'2026-01-31 23:59:59.999+00') RETURNING (extract(epoch FROM created_at) * 1000)::bigint", (topic,))
        outbox.wait_empty()
    [record] = outbox.records(topic)
    assert record["timestamp"] == created
