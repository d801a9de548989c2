"""Services and PostgreSQL go down between the vote and the decision: the prepared branches outlive them."""

import threading

from stack import wait_until


class InBackground:
    """One order submitted in a thread; result() joins it."""

    def __init__(self, shop, order):
        self._outcome = None
        self._error = None

        def run():
            try:
                self._outcome = shop.submit(order)
            except BaseException as error:  # raised again by result()
                self._error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def result(self):
        self._thread.join(180)
        if self._error:
            raise self._error
        return self._outcome


def order_with_prepared_inventory(shop, order):
    """Submits an order and returns when the inventory has voted yes while the order service is stopped before it."""
    shop.orders.pause()
    client = InBackground(shop, order)
    wait_until(lambda: shop.postgres.prepared_transactions(shop.INVENTORY), "the inventory branch is prepared",
               explain=shop.log_tails)
    shop.wait_for_vote(order, shop.INVENTORY_PARTICIPANT)
    return client


def test_a_participant_finishes_its_branch_when_it_restarts_while_prepared(shop, new_order):
    """P2: kill -9 after the vote; the restarted service finds the prepared transaction and commits it."""
    order = new_order("ada", "lamp", 1)
    client = order_with_prepared_inventory(shop, order)
    shop.inventory.kill()
    shop.orders.resume()
    assert client.result() == "committed"
    assert shop.postgres.prepared_transactions(shop.INVENTORY) != []
    shop.inventory.start()
    shop.wait_until_ready()
    shop.wait_until_settled()
    assert order.order_id in shop.orders_placed()


def test_both_participants_finish_when_they_restart_while_prepared(shop, new_order):
    """P2: both services die; one had voted, the other had not. The coordinator asks again and the order commits."""
    order = new_order("ada", "chair", 1)
    client = order_with_prepared_inventory(shop, order)
    shop.inventory.kill()
    shop.orders.kill()
    shop.restart_the_dead()
    assert client.result() in ("committed", "aborted")
    shop.wait_until_settled()


def test_prepared_transactions_survive_a_restart_of_postgresql(shop, new_order):
    """P9: the server is killed the hard way with a branch prepared; after recovery the order still commits."""
    order = new_order("ben", "lamp", 2)
    client = order_with_prepared_inventory(shop, order)
    shop.postgres.kill()
    shop.postgres.start()
    assert shop.postgres.prepared_transactions(shop.INVENTORY) != []
    shop.orders.resume()
    assert client.result() == "committed"
    shop.wait_until_settled()
    assert order.order_id in shop.orders_placed()


def test_an_order_is_decided_when_the_leader_dies_with_a_branch_prepared(shop, new_order):
    """C2, C3: the leader dies between two votes; its successor resumes the order and commits it."""
    order = new_order("ben", "chair", 1)
    client = order_with_prepared_inventory(shop, order)
    shop.cluster.wait_for_leader().kill()
    shop.orders.resume()
    assert client.result() == "committed"
    shop.wait_until_settled()
    assert order.order_id in shop.orders_placed()
