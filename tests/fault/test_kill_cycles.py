"""kill -9 of everything, at random times, again and again, with the books audited after every cycle.

CONCORDAT_CYCLES sets the number of cycles (a campaign takes thousands), CONCORDAT_SEED repeats a run.
"""

import os
import random
import threading

import pytest
from clients import FAST, outcome_at
from postgres import PostgresCluster
from shop import Customers, Order, Shop
from stack import Cluster, wait_until

CYCLES = int(os.environ.get("CONCORDAT_CYCLES", "50"))
WORKERS = 4
STOCK = {"lamp": 100_000, "chair": 100_000, "desk": 100}
# Every worker has customers of its own. Two orders that share an article and a customer could each hold one row
# and wait for the other in the other database until the lock time-out: legal, slow, and not the subject here.
BALANCES = {f"{kind}-{worker}": money for worker in range(WORKERS) for kind, money in (("rich", 1_000_000), ("poor", 700))}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cycles")
    with PostgresCluster() as postgres, Cluster(3, folder, FAST) as cluster:
        cluster.start()
        opened = Shop(cluster, postgres, folder)
        try:
            opened.start()
            opened.fill(STOCK, BALANCES)
            yield opened
        finally:
            opened.close()


def random_order(rng, worker, number):
    """Most orders can be filled; some find the shelf empty or the purse, and must abort everywhere."""
    article = rng.choice(("lamp", "lamp", "chair", "chair", "desk"))
    kind = rng.choice(("rich", "rich", "rich", "poor"))
    return Order(f"cycle-{worker}-{number}", f"{kind}-{worker}", article, rng.randint(1, 9))


def kill_leader(shop, _):
    (shop.cluster.leader() or shop.cluster.nodes[0]).kill()


def kill_follower(shop, rng):
    leader = shop.cluster.leader()
    rng.choice([node for node in shop.cluster.nodes if node is not leader]).kill()


def kill_order_service(shop, _):
    shop.orders.kill()


def kill_inventory_service(shop, _):
    shop.inventory.kill()


def kill_all_nodes(shop, rng):
    for node in rng.sample(shop.cluster.nodes, len(shop.cluster.nodes)):
        node.kill()


def kill_everything(shop, rng):
    kill_all_nodes(shop, rng)
    kill_order_service(shop, rng)
    kill_inventory_service(shop, rng)


VICTIMS = (kill_leader, kill_leader, kill_follower, kill_order_service, kill_inventory_service, kill_all_nodes,
           kill_everything)


def audit(shop, customers, since):
    """I1, I2, I3, I5, I6 in money and goods; asked in turn, every node says of an order what its client was told."""
    shop.wait_until_settled()
    assert shop.imbalances(customers.committed()) == []
    for position, order_id in enumerate(sorted(customers.outcomes.keys() - since)):
        url = shop.cluster.urls[position % 3]
        wait_until(lambda: outcome_is(url, order_id, customers.outcomes[order_id]),
                   f"{url} says {order_id} is {customers.outcomes[order_id]}", explain=shop.log_tails)


def outcome_is(url, order_id, wanted):
    """False while the node cannot say; an outcome other than the one told is a violation at once."""
    outcome = outcome_at(url, order_id)
    assert outcome in (None, wanted), f"{order_id}: {url} says {outcome}, the client was told {wanted}"
    return outcome == wanted


def test_books_balance_when_processes_are_killed_at_random_times(shop, rng):
    """Orders keep coming while one victim after the other is killed and started again; nothing is lost or doubled."""
    per_worker = [random.Random(rng.random()) for _ in range(WORKERS)]
    customers = Customers(shop, WORKERS, lambda worker, number: random_order(per_worker[worker], worker, number))
    moment = threading.Event()
    try:
        for cycle in range(CYCLES):
            since = set(customers.outcomes)
            victim = rng.choice(VICTIMS)
            customers.resume()
            customers.wait_for_outcomes(rng.randint(1, 15), seconds=60)
            moment.wait(rng.uniform(0, 0.05))
            victim(shop, rng)
            moment.wait(rng.uniform(0, 0.2))
            shop.cluster.restart_the_dead()
            shop.restart_the_dead()
            shop.cluster.wait_for_leader()
            customers.pause()
            audit(shop, customers, since)
            print(f"cycle {cycle + 1}: {victim.__name__}, {len(customers.outcomes) - len(since)} orders, "
                  f"{len(customers.committed())} committed so far")
    finally:
        customers.close()
    committed = len(customers.committed())
    assert 0 < committed < len(customers.outcomes), "the orders did not both commit and abort"
