"""Quorum three-phase commit, chosen order by order: by the service's own API and by the command line."""

import json
import subprocess

from stack import call, program


def test_an_order_chooses_its_protocol(shop, new_order):
    """The protocol is the order's choice: a 3pc order must run all three phases, and change the same books."""
    order = new_order("ada", "chair", 2)
    body = {"customer": order.customer, "sku": order.sku, "quantity": order.quantity, "amount": order.amount}
    for protocol in ("3pc", "2pc"):
        placed = call("POST", f"{shop.orders_url}/orders", {**body, "protocol": protocol})
        assert (placed.status, placed.member("outcome")) == (201, "committed"), placed
        leader = shop.cluster.wait_for_leader()
        view = call("GET", f"{leader.url}/v1/transactions/{placed.json['order']}").json
        assert view["protocol"] == protocol
        events = {line["event"] for line in view["timeline"]}
        assert ({"precommitted", "accepted"} <= events) == (protocol == "3pc")


def test_the_command_line_submits_with_three_phases(shop, new_order):
    """concordat txn submit --protocol 3pc: committed by a quorum of the services and the coordinator group."""
    order = new_order("ben", "lamp", 1)
    branches = [f"--branch={branch['participant']}={json.dumps(branch['payload'])}"
                for branch in shop.transaction(order)["branches"]]
    leader = shop.cluster.wait_for_leader()
    command = [program("concordat"), "--server", leader.url, "txn", "submit", "--protocol", "3pc",
               "--xid", order.order_id, *branches]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    view = call("GET", f"{leader.url}/v1/transactions/{order.order_id}").json
    assert (view["protocol"], view["outcome"]) == ("3pc", "committed")
    shop.wait_until_settled()
    assert order.order_id in shop.orders_placed()
