"""Fixtures of the order tests: PostgreSQL, three nodes and both services, once for all tests of this folder."""

import itertools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

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


_numbers = itertools.count(1)


@pytest.fixture
def new_order(request):
    """new_order(customer, article, quantity): an order with an id of its own."""

    def make(customer="ada", article="lamp", quantity=1):
        return Order(f"{request.node.name[:40]}-{next(_numbers)}", customer, article, quantity)

    return make
