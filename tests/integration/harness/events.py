"""The shop's events: "order.placed" from the order service's outbox by relay and Kafka to the shipping service.

What: starts concordat-relay on the order service's database and shipping-service on a database of its own, and
reads what came out: the records of the topic and the shipments.
Why here: the demo and the order tests must mean the same by "shipped once".

    events = Events(shop, broker.bootstrap, folder)
    events.start()
    events.relay.kill(); events.relay.start()

Threads: one owner. Failures raise StackFailure.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

from shop import Shop
from stack import Program, StackFailure, call, free_ports, program, wait_until


class Events:
    """The programs and what they have done. start() needs a shop that was started."""

    SHIPPING = "shipping"  # database
    TOPIC = "outbox.event.order"
    PARTITIONS = 4

    def __init__(self, shop: Shop, bootstrap: str, folder: Path, keep: bool = False) -> None:
        self.shop = shop
        self.bootstrap = bootstrap
        self.folder = folder
        self.keep = keep
        self.relay_url = f"http://127.0.0.1:{free_ports(1)[0]}"
        # An instance that was killed is replaced when its leases have run out.
        self.relay = Program("concordat-relay", [
            program("concordat-relay"), f"--database.conninfo={shop.postgres.url(Shop.ORDERS)}",
            f"--kafka.bootstrap_servers={bootstrap}", f"--http.port={self.relay_url.rsplit(':', 1)[1]}",
            "--http.admin=true", "--lease.duration=1500ms", "--lease.margin=500ms", "--lease.heartbeat=100ms",
        ], folder / "relay.log", keep)
        self.shippers: list[Program] = []

    @property
    def programs(self) -> list[Program]:
        return [self.relay, *self.shippers]

    # --------------------------------------------------------------------------------------- life cycle

    def start(self) -> None:
        self.shop.postgres.create_database(self.SHIPPING)
        self.create_topic(self.TOPIC)
        self.relay.start()
        self.new_shipper().start()
        self.wait_until_ready()

    def create_topic(self, topic: str) -> None:
        self.probe("create", f"{topic}:{self.PARTITIONS}")

    def new_shipper(self, *arguments) -> Program:
        """Another replica of the shipping service, not started."""
        name = f"shipping-{len(self.shippers) + 1}"
        self.shippers.append(Program(name, [
            program("shipping-service"), "--database", self.shop.postgres.url(self.SHIPPING), "--kafka", self.bootstrap,
            "--session-timeout-ms", 1000, *arguments], self.folder / f"{name}.log", self.keep))
        return self.shippers[-1]

    def wait_until_ready(self) -> None:
        self.relay.wait_for_url(f"{self.relay_url}/readyz")
        wait_until(lambda: any("reads" in shipper.log_text() for shipper in self.shippers if shipper.is_running()),
                   "a shipping service has partitions to read", explain=self.log_tails)

    def close(self) -> None:
        for one in self.programs:
            one.kill()

    def log_tails(self) -> str:
        return "\n".join(one.log_tail() for one in self.programs)

    # -------------------------------------------------------------------------------------------- results

    def outstanding(self) -> int:
        """Events that are committed and not yet in Kafka."""
        return self.shop.postgres.execute(Shop.ORDERS, "SELECT count(*) FROM concordat_outbox")[0][0]

    def outbox_status(self) -> dict:
        return call("GET", f"{self.relay_url}/v1/outbox").json

    def records(self, topic: str | None = None) -> list[dict]:
        """Every record of a topic, in offset order within each partition, as kafka_probe prints them."""
        return [json.loads(line) for line in self.probe("dump", topic or self.TOPIC).splitlines()]

    def shipments(self) -> list[tuple[str, str]]:
        """(order id, customer) of every shipment, in the order in which they were made."""
        return self.shop.postgres.execute(self.SHIPPING, "SELECT order_id, customer FROM shipment ORDER BY number")

    def shipped(self) -> Counter:
        """order id -> number of its shipments"""
        return Counter(order_id for order_id, _ in self.shipments())

    def wait_until_shipped(self, orders: set[str]) -> None:
        wait_until(lambda: orders <= self.shipped().keys(), "every order is shipped",
                   explain=lambda: f"{sorted(orders - self.shipped().keys())[:5]} are not\n{self.log_tails()}")

    def probe(self, verb: str, *arguments: str) -> str:
        done = subprocess.run([program("kafka_probe"), verb, self.bootstrap, *arguments], capture_output=True,
                              text=True, check=False, timeout=90)
        if done.returncode != 0:
            raise StackFailure(f"kafka_probe {verb}: {done.stderr}")
        return done.stdout
