"""Fixtures of the order tests: PostgreSQL, three nodes and both services, once for all tests of this folder."""

import itertools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

from events import Events  # noqa: E402
from kafka import KafkaBroker  # noqa: E402
from postgres import PostgresCluster  # noqa: E402
from shop import Order, Shop  # noqa: E402
from stack import Cluster  # noqa: E402

STOCK = {"lamp": 1000, "chair": 1000, "desk": 5}
BALANCES = {"ada": 100_000, "ben": 100_000, "cleo": 50}


@pytest.fixture(scope="session")
def postgres():
    with PostgresCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def running_shop(postgres, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    with Cluster(3, folder) as cluster:
        cluster.start()
        shop = Shop(cluster, postgres, folder)
        try:
            shop.start()
            shop.fill(STOCK, BALANCES)
            yield shop
        finally:
            shop.close()


@pytest.fixture
def shop(running_shop):
    """The shop, whole before the test and with balanced books after it."""
    running_shop.cluster.restart_the_dead()
    running_shop.restart_the_dead()
    yield running_shop
    for service in running_shop.services:
        service.resume()
    running_shop.cluster.restart_the_dead()
    running_shop.restart_the_dead()
    running_shop.wait_until_settled()
    assert running_shop.imbalances() == []


@pytest.fixture(scope="module")
def running_events(running_shop, tmp_path_factory):
    """Kafka, relay and shipping beside the shop."""
    # A consumer that was killed holds its partitions for the session time-out: allow a short one.
    with KafkaBroker(properties={"group.min.session.timeout.ms": "500"}) as broker:
        events = Events(running_shop, broker.bootstrap, tmp_path_factory.mktemp("events"))
        try:
            events.create_topic("outbox.event.fence")
            events.start()
            yield events
        finally:
            events.close()


@pytest.fixture
def events(running_events):
    """The events' programs, running: one relay, and at least one shipping service."""
    if not running_events.relay.is_running():
        running_events.relay.start()
    if not any(shipper.is_running() for shipper in running_events.shippers):
        running_events.shippers[0].start()
    running_events.wait_until_ready()
    return running_events


_numbers = itertools.count(1)


@pytest.fixture
def new_order(request):
    """new_order(customer, article, quantity): an order with an id of its own."""

    def make(customer="ada", article="lamp", quantity=1):
        return Order(f"{request.node.name[:40]}-{next(_numbers)}", customer, article, quantity)

    return make
