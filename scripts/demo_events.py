"""The demo's chapter on events: an order that commits is shipped once, one that aborts is never heard of.

Kafka needs Java; without it the chapter says so in one line and the story goes on.
"""

from __future__ import annotations

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from demo_voice import chapter, done, expect, say
from events import Events
from kafka import KafkaBroker, KafkaFailure, jars_are_here
from shop import Order, Shop
from stack import program, wait_until

BURST_CUSTOMERS = ("dora", "emil", "fay", "gus", "hana")
BURST_ORDERS = 8


def reason_to_skip() -> str | None:
    """A sentence when Kafka cannot be run here."""
    if shutil.which("java") is None:
        return "skipped: Kafka needs Java; apt-get install default-jre-headless maven, or run scripts/setup"
    if not jars_are_here() and shutil.which("mvn") is None:
        return "skipped: Kafka is fetched by Maven; apt-get install maven, or run scripts/setup"
    return None


class EventChapter:
    """Owns Kafka, the relay and the shipping service. close() also after a play() that was skipped or failed."""

    def __init__(self, shop: Shop, folder: Path, keep: bool) -> None:
        self.shop = shop
        self.folder = folder
        self.keep = keep
        self.broker: KafkaBroker | None = None
        self.events: Events | None = None
        self.committed: set[str] = set()

    def play(self) -> set[str]:
        """Returns the ids of the orders that it placed and that committed."""
        chapter("Orders become events: an outbox, Kafka, and a service that ships every order once")
        if why := reason_to_skip():
            say(f"   {why}")
            return set()
        if not self._start():
            return set()
        self._commit_and_abort()
        self._kill_the_relay()
        self._compare()
        return self.committed

    # --------------------------------------------------------------------------------------------- scenes

    def _start(self) -> bool:
        if not jars_are_here():
            say("   fetching Kafka by Maven; only this once")
        try:
            self.broker = KafkaBroker(properties={"group.min.session.timeout.ms": "500"})
        except KafkaFailure as failure:
            say(f"   skipped: {str(failure).splitlines()[0]}; the first time this needs the network")
            return False
        self.events = Events(self.shop, self.broker.bootstrap, self.folder, self.keep)
        self.shop.wait_until_settled()
        waiting = self.events.outstanding()
        self.events.start()
        done(f"Kafka on port {self.broker.port}, concordat-relay at the orders, shipping-service with its own database")
        self.events.wait_until_shipped(set(self.shop.orders_placed()))
        expect(waiting == len(self.events.shipped()),
               f"{waiting} events had waited in the outbox, one for each order so far; they are shipped")
        return True

    def _commit_and_abort(self) -> None:
        began = time.monotonic()
        expect(self._submit(Order("event-ada-1", "ada", "lamp", 1)) == "committed", "ada orders a lamp: committed")
        self.events.wait_until_shipped({"event-ada-1"})
        done(f"shipped {1000 * (time.monotonic() - began):.0f} ms after she asked")
        expect(self._submit(Order("event-ben-1", "ben", "desk", 4)) == "aborted",
               "ben orders 4 desks, there are 3: aborted, and its event with it")
        expect(self._submit(Order("event-ben-2", "ben", "lamp", 1)) == "committed", "ben orders a lamp instead: committed")
        self.events.wait_until_shipped({"event-ben-2"})
        heard = " ".join(record["value"] for record in self.events.records())
        expect("event-ben-2" in heard and "event-ben-1" not in heard and not self.events.shipped()["event-ben-1"],
               "the lamp is shipped; of the desks nobody ever heard")

    def _kill_the_relay(self) -> None:
        count = len(BURST_CUSTOMERS) * BURST_ORDERS
        before = self.events.outbox_status()["rows_published"]
        killed = threading.Event()
        with ThreadPoolExecutor(len(BURST_CUSTOMERS)) as customers:
            orders = [customers.submit(self._shop_for, name, first, killed)
                      for first, name in enumerate(BURST_CUSTOMERS)]
            try:
                wait_until(lambda: self.events.outbox_status()["rows_published"] >= before + count // 4,
                           "a quarter of the burst is published", explain=self.events.log_tails)
                self.events.relay.kill()
            finally:
                killed.set()
            placed = {order_id for future in orders for order_id in future.result()}
        done(f"kill -9 concordat-relay in the middle of {count} orders; they go on without it")
        self.shop.wait_until_settled()
        left = self.events.outstanding()
        expect(left > 0, f"{left} events wait in the outbox")
        self.events.relay.start()
        began = time.monotonic()
        self.events.wait_until_shipped(placed)
        done(f"started again, it waits for the dead one's lease and goes on: all shipped after "
             f"{time.monotonic() - began:.1f} s")

    def _compare(self) -> None:
        self.shop.wait_until_settled()
        placed = set(self.shop.orders_placed())
        self.events.wait_until_shipped(placed)
        records = self.events.records()
        events = {dict(record["headers"])["id"] for record in records}
        shipped = self.events.shipped()
        say(f"   {'orders':>12}{'events':>12}{'shipments':>12}")
        say(f"   {len(placed):>12}{len(events):>12}{sum(shipped.values()):>12}")
        repeats = len(records) - len(events)
        expect(len(placed) == len(events) == sum(shipped.values()) and shipped.keys() == placed,
               "each order that exists has one event and one shipment"
               + (f"; {repeats} came twice, and shipping noticed" if repeats else ""))

    # -------------------------------------------------------------------------------------------- helpers

    def _submit(self, order: Order, first: int = 0) -> str:
        outcome = self.shop.submit(order, first)
        if outcome == "committed":
            self.committed.add(order.order_id)
        return outcome

    def _shop_for(self, customer: str, first: int, killed: threading.Event) -> list[str]:
        """Half of the customer's orders before the relay is killed, half of them after it; the ids that committed."""
        placed = []
        for number in range(BURST_ORDERS):
            if number == BURST_ORDERS // 2:
                killed.wait()
            order = Order(f"event-{customer}-{number}", customer, ("lamp", "chair")[number % 2], 1)
            if self._submit(order, first) == "committed":
                placed.append(order.order_id)
        return placed

    # ----------------------------------------------------------------------------------------------- keep

    @property
    def pids(self) -> list[int]:
        programs = [one.pid for one in self.events.programs] if self.events else []
        return programs + ([self.broker.process.pid] if self.broker else [])

    @property
    def folders(self) -> list[str]:
        return [str(self.broker.directory)] if self.broker else []

    def explain_where_to_look(self) -> None:
        if self.events:
            say(f"   {program('concordat')} --relay {self.events.relay_url} outbox status")
            say(f"   {program('concordat')} inbox status --database {self.shop.postgres.url(Events.SHIPPING)}")
            say(f"   {program('kafka_probe')} dump {self.broker.bootstrap} {Events.TOPIC}")
            say(f"   psql {self.shop.postgres.url(Events.SHIPPING)} -c 'SELECT * FROM shipment'")

    def close(self) -> None:
        for part in (self.events, self.broker):
            if part is not None:
                part.close()
