"""order.placed: an event if and only if the order commits, and one shipment of it, whoever is killed when."""

import itertools
import re

import pytest
from shop import Order
from stack import wait_until

from test_order_faults import InBackground

FENCE = "fence"  # an outbox topic of the tests' own


@pytest.fixture
def fence(shop, events):
    """fence(): returns when everything that was in the outbox before the call is in Kafka, or was held back."""

    def pass_it():
        marker = shop.postgres.execute(
            shop.ORDERS, f"INSERT INTO concordat_outbox (topic, payload) VALUES ('{FENCE}', 'x') RETURNING event_id")
        wait_until(lambda: any(["id", str(marker[0][0])] in record["headers"]
                               for record in events.records(f"outbox.event.{FENCE}")), "the fence is in Kafka",
                   explain=events.log_tails)

    return pass_it


@pytest.fixture
def prefix():
    """For ids of orders, which no other test has."""
    return f"burst-{next(_bursts)}"


_bursts = itertools.count(1)


def events_of(events, order_id):
    """The records about one order."""
    return [record for record in events.records() if record["value"] and f'"{order_id}"' in record["value"]]


def order_that_is_prepared(shop, order):
    """Submits an order and returns when its branch, event included, is prepared and the inventory has not voted."""
    shop.inventory.pause()
    client = InBackground(shop, order)
    wait_until(lambda: shop.postgres.prepared_transactions(shop.ORDERS), "the order's branch is prepared",
               explain=shop.log_tails)
    return client


def place_many(shop, customers, count, prefix):
    """Orders of each customer one after the other, customers at the same time; their ids by customer."""
    orders = {name: [Order(f"{prefix}-{name}-{number}", name, "lamp", 1) for number in range(count)]
              for name in customers}

    class Customer(InBackground):
        def __init__(self, mine):
            super().__init__(_Queue(shop, mine), None)

    for client in [Customer(mine) for mine in orders.values()]:
        assert client.result() == ["committed"] * count
    return {name: [order.order_id for order in mine] for name, mine in orders.items()}


class _Queue:
    """Submits its orders in turn, where InBackground expects something that submits one."""

    def __init__(self, shop, orders):
        self.shop, self.orders = shop, orders

    def submit(self, _):
        return [self.shop.submit(order) for order in self.orders]


def test_an_order_that_commits_is_an_event_and_a_shipment(shop, events, new_order):
    """The event says what was ordered, under the customer's key, with an id and the time of the transaction."""
    order = new_order("ada", "lamp", 3)
    assert shop.submit(order) == "committed"
    events.wait_until_shipped({order.order_id})
    [record] = events_of(events, order.order_id)
    assert record["key"] == "ada"
    assert set(record["value"].strip("{}").split(",")) == {
        f'"order":"{order.order_id}"', '"customer":"ada"', '"sku":"lamp"', '"quantity":3', f'"amount":{order.amount}'}
    assert re.fullmatch(r"[0-9a-f-]{36}", dict(record["headers"])["id"])
    assert shop.postgres.execute(
        events.SHIPPING, f"SELECT customer, sku, quantity FROM shipment WHERE order_id = '{order.order_id}'"
    ) == [("ada", "lamp", 3)]


def test_an_order_that_aborts_is_no_event(shop, events, new_order, fence):
    """The event is in the prepared transaction already when the inventory votes no: it must go with it."""
    order = new_order("ada", "desk", 6)  # there are five
    client = order_that_is_prepared(shop, order)
    assert events.outstanding() == 0, "the event shows before the decision"
    shop.inventory.resume()
    assert client.result() == "aborted"
    shop.wait_until_settled()
    fence()
    assert events_of(events, order.order_id) == []
    later = new_order("ada", "lamp", 1)
    assert shop.submit(later) == "committed"
    events.wait_until_shipped({later.order_id})
    assert order.order_id not in events.shipped()


def test_an_event_waits_in_a_prepared_transaction_for_a_service_that_was_killed(shop, events, new_order, fence):
    """kill -9 after PREPARE: no event while the branch is in doubt, exactly one when it is committed later."""
    order = new_order("ben", "lamp", 2)
    client = order_that_is_prepared(shop, order)
    shop.orders.kill()
    shop.inventory.resume()
    assert client.result() == "committed"
    fence()
    assert events_of(events, order.order_id) == [], "the event is there before COMMIT PREPARED"
    shop.orders.start()
    events.wait_until_shipped({order.order_id})
    fence()
    assert len(events_of(events, order.order_id)) == 1
    assert events.shipped()[order.order_id] == 1


def test_a_customers_orders_are_shipped_in_their_order(shop, events, prefix):
    """Order per key: the order service publishes under the lock of the customer's balance."""
    placed = place_many(shop, ("ada", "ben"), 15, prefix)
    everything = {order_id for ids in placed.values() for order_id in ids}
    events.wait_until_shipped(everything)
    for customer, ids in placed.items():
        assert [order_id for order_id, name in events.shipments()
                if name == customer and order_id in everything] == ids


def test_a_relay_that_is_killed_in_a_burst_loses_nothing_and_shipping_sees_nothing_twice(shop, events, prefix):
    """kill -9 of the relay again and again: events may come twice, shipments may not."""
    placed = set()
    for turn in range(3):
        before = events.outbox_status()["rows_published"]
        client = InBackground(_Burst(shop, f"{prefix}-{turn}"), None)
        wait_until(lambda least=before: events.outbox_status()["rows_published"] > least, "the burst has begun",
                   explain=events.log_tails)
        events.relay.kill()
        placed |= client.result()
        events.relay.start()
        events.wait_until_ready()
    events.wait_until_shipped(placed)
    assert {count for order_id, count in events.shipped().items() if order_id in placed} == {1}


class _Burst:
    """Orders of two customers at the same time; InBackground gets the set of their ids."""

    def __init__(self, shop, prefix, count=8):
        self.shop, self.prefix, self.count = shop, prefix, count

    def submit(self, _):
        ids = place_many(self.shop, ("ada", "ben"), self.count, self.prefix)
        return {order_id for mine in ids.values() for order_id in mine}


def test_shipping_that_is_killed_between_effect_and_offset_ships_once(shop, events, new_order, prefix):
    """kill -9 as soon as a shipment is seen, many times: its offset is not in Kafka yet, so the event comes again."""
    for shipper in events.shippers:
        shipper.kill()
    shipper = events.new_shipper("--batch", 3)
    placed = set()
    for turn in range(8):
        client = InBackground(_Burst(shop, f"{prefix}-{turn}", 4), None)
        before = len(events.shipments())
        shipper.start()
        wait_until(lambda least=before: len(events.shipments()) > least, "a shipment more", explain=events.log_tails)
        shipper.kill()
        placed |= client.result()
    shipper.start()
    last = new_order("ada", "lamp", 1)
    assert shop.submit(last) == "committed"
    events.wait_until_shipped(placed | {last.order_id})
    assert shipper.terminate() == 0
    repeats = int(re.findall(r"(\d+) events had been handled before", shipper.log_text())[-1])
    assert repeats > 0, "the last kill came after the offset: nothing was shown"
    assert {count for order_id, count in events.shipped().items() if order_id in placed} == {1}


def test_two_shippers_share_the_work_and_hand_it_over(shop, events, prefix):
    """A rebalance in the middle of a burst, and another when one of them is killed: each order is shipped once."""
    second = events.new_shipper()
    client = InBackground(_Burst(shop, prefix), None)
    second.start()
    wait_until(lambda: "reads outbox" in second.log_text(), "the second one has partitions", explain=events.log_tails)
    placed = client.result()
    client = InBackground(_Burst(shop, f"{prefix}-more"), None)
    second.kill()
    placed |= client.result()
    events.wait_until_shipped(placed)
    assert {count for order_id, count in events.shipped().items() if order_id in placed} == {1}


def test_every_order_has_one_shipment_and_nothing_else_has(shop, events):
    """The books of this whole module: orders that exist and shipments are the same set, each once."""
    placed = set(shop.orders_placed())
    events.wait_until_shipped(placed)
    assert events.shipped() == dict.fromkeys(placed, 1)
