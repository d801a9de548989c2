"""Orders across two services and two databases: all of an order happens, or nothing of it."""

import pytest
from stack import call, wait_until


def test_an_order_commits_in_both_services(shop, new_order):
    """Stock is taken, the order exists and the money is paid, all by one transaction."""
    order = new_order("ada", "lamp", 3)
    stock, balances = shop.stock(), shop.balances()
    assert shop.submit(order) == "committed"
    shop.wait_until_settled()
    assert shop.stock()["lamp"] == stock["lamp"] - 3
    assert shop.balances()["ada"] == balances["ada"] - order.amount
    assert shop.orders_placed()[order.order_id] == ("ada", "lamp", 3, order.amount)


def test_an_order_aborts_everywhere_when_the_stock_is_too_low(shop, new_order):
    """The inventory votes no: the order service must give the money back and keep no order."""
    order = new_order("ada", "desk", 6)
    stock, balances = shop.stock(), shop.balances()
    assert shop.submit(order) == "aborted"
    shop.wait_until_settled()
    assert (shop.stock(), shop.balances()) == (stock, balances)
    assert order.order_id not in shop.orders_placed()
    view = call("GET", f"{shop.cluster.nodes[0].url}/v1/transactions/{order.order_id}").json
    assert view["reason"] == "participant_refused"
    assert "stock" in view["detail"]


def test_an_order_aborts_everywhere_when_the_money_is_short(shop, new_order):
    """The order service votes no: the inventory must put the goods back on the shelf."""
    order = new_order("cleo", "lamp", 6)
    stock, balances = shop.stock(), shop.balances()
    assert shop.submit(order) == "aborted"
    shop.wait_until_settled()
    assert (shop.stock(), shop.balances()) == (stock, balances)
    assert order.order_id not in shop.orders_placed()


@pytest.mark.parametrize("again_at", ["the same node", "every node"])
def test_an_order_happens_once_when_it_is_submitted_again(shop, new_order, again_at):
    """The client lost the answer and asks again, at whatever node: it gets the first outcome, and pays once."""
    order = new_order("ben", "chair", 2)
    balances = shop.balances()
    assert shop.submit(order) == "committed"
    nodes = shop.cluster.nodes[:1] if again_at == "the same node" else shop.cluster.nodes
    for node in nodes:
        answer = shop.submit_once(order, node.url)
        assert (answer.status, answer.json["outcome"]) == (200, "committed")
    shop.wait_until_settled()
    assert shop.balances()["ben"] == balances["ben"] - order.amount


def test_another_order_under_a_used_id_is_refused(shop, new_order):
    """Same xid, other content: 422, and the first order stays as it is."""
    order = new_order("ben", "chair", 1)
    assert shop.submit(order) == "committed"
    other = type(order)(order.order_id, "ben", "chair", 2)
    answer = shop.submit_once(other, shop.cluster.nodes[0].url)
    assert (answer.status, answer.json["code"], answer.json["effect"]) == (422, "xid-reused", "none")
    shop.wait_until_settled()
    assert shop.orders_placed()[order.order_id][2] == 1


def test_a_follower_accepts_an_order_and_forwards_it(shop, new_order):
    """Any node takes any request: the follower's client sees the leader's decision."""
    follower = shop.cluster.follower()
    order = new_order("ada", "chair", 1)
    answer = wait_until(
        lambda: (got := shop.submit_once(order, follower.url)).status == 200 and got, "the follower forwards",
        explain=shop.log_tails)
    assert answer.json["outcome"] == "committed"
    seen = call("GET", f"{follower.url}/v1/transactions/{order.order_id}").json
    assert seen["outcome"] == "committed"


def test_the_service_places_an_order_for_its_own_client(shop, new_order):
    """The order service is a client too: one POST to it is the whole purchase."""
    order = new_order("ada", "lamp", 2)
    balances = shop.balances()
    answer = shop.place(order)
    assert answer.status in (200, 201), answer
    shop.wait_until_settled()
    assert shop.balances()["ada"] == balances["ada"] - order.amount
