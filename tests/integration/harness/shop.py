"""The shop of the examples: order service, inventory service, their two databases, and its books.

What: starts both services against a Cluster and a PostgresCluster, fills the shelves, submits orders, and checks
the books: what invariants I1, I2, I3, I5 and I6 of the commit protocol mean in money and goods.
Why here: the demo, the order tests and the fault tests must agree on what "balanced" means.

Books that balance:
  * stock now + quantities of all orders == stock at the start, sku by sku
  * balance now + totals of all orders == balance at the start, customer by customer
  * the orders that are there are exactly those that clients were told committed
  * no prepared transaction is left in either database

Threads: submit() may be called from many; everything else by one owner.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from postgres import PostgresCluster
from stack import (
    Answer, Cluster, Program, StackFailure, call, free_ports, program, wait_until)

GIVE_UP_SECONDS = 120


@dataclass(frozen=True)
class Order:
    order_id: str
    customer: str
    sku: str
    quantity: int
    unit_price: int = 10

    @property
    def amount(self) -> int:
        return self.quantity * self.unit_price


class Shop:
    """Both services and what they should hold. start() needs a cluster that runs."""

    ORDERS = "orders"  # databases
    INVENTORY = "inventory"
    ORDER_PARTICIPANT = "order"  # names under which the services register themselves
    INVENTORY_PARTICIPANT = "inventory"

    def __init__(self, cluster: Cluster, postgres: PostgresCluster, folder: Path, keep: bool = False) -> None:
        self.cluster = cluster
        self.postgres = postgres
        self.stock_at_start: dict[str, int] = {}
        self.balance_at_start: dict[str, int] = {}
        orders_port, inventory_port = free_ports(2)
        self.orders_url = f"http://127.0.0.1:{orders_port}"
        self.inventory_url = f"http://127.0.0.1:{inventory_port}"
        self.orders = self._service("order-service", self.ORDERS, orders_port, folder, keep)
        self.inventory = self._service("inventory-service", self.INVENTORY, inventory_port, folder, keep)

    def _service(self, binary: str, database: str, port: int, folder: Path, keep: bool) -> Program:
        command = [program(binary), "--listen", f"127.0.0.1:{port}", "--database", self.postgres.url(database)]
        for url in self.cluster.urls:
            command += ["--coordinator", url]
        command += ["--recovery-interval-ms", 200, "--recovery-grace-ms", 1000]
        return Program(binary, command, folder / f"{binary}.log", keep)

    @property
    def services(self) -> list[Program]:
        return [self.orders, self.inventory]

    # --------------------------------------------------------------------------------------- life cycle

    def start(self) -> None:
        for database in (self.ORDERS, self.INVENTORY):
            self.postgres.create_database(database)
        for service in self.services:
            service.start()
        self.wait_until_ready()
        wait_until(self._both_are_registered, "both services have registered themselves", explain=self.log_tails)

    def _both_are_registered(self) -> bool:
        return all(call("GET", f"{self.cluster.nodes[0].url}/v1/participants/{name}").status == 200
                   for name in (self.ORDER_PARTICIPANT, self.INVENTORY_PARTICIPANT))

    def wait_until_ready(self) -> None:
        self.orders.wait_for_url(f"{self.orders_url}/readyz")
        self.inventory.wait_for_url(f"{self.inventory_url}/readyz")

    def restart_the_dead(self) -> None:
        for service in self.services:
            if not service.is_running():
                service.start()
        self.wait_until_ready()

    def close(self) -> None:
        for service in self.services:
            service.kill()

    def log_tails(self) -> str:
        return "\n".join([service.log_tail() for service in self.services] + [self.cluster.log_tails()])

    # ------------------------------------------------------------------------------------------- filling

    def fill(self, stock: dict[str, int], balances: dict[str, int]) -> None:
        """Puts goods on the shelves and money on the accounts, through the services."""
        for sku, quantity in stock.items():
            self._put(f"{self.inventory_url}/stock/{sku}", {"quantity": quantity})
        for customer, balance in balances.items():
            self._put(f"{self.orders_url}/balances/{customer}", {"balance": balance})
        self.stock_at_start.update(stock)
        self.balance_at_start.update(balances)

    def _put(self, url: str, body: dict) -> None:
        answer = call("PUT", url, body)
        if answer.status != 200:
            raise StackFailure(f"PUT {url}: {answer}\n{self.log_tails()}")

    # ------------------------------------------------------------------------------------------- ordering

    def transaction(self, order: Order) -> dict:
        """The transaction that the order service itself submits for an order; its xid is the order's id."""
        goods = {"sku": order.sku, "quantity": order.quantity}
        return {"branches": [
            {"participant": self.ORDER_PARTICIPANT,
             "payload": {"customer": order.customer, **goods, "amount": order.amount}},
            {"participant": self.INVENTORY_PARTICIPANT, "payload": goods},
        ]}

    def place(self, order: Order) -> Answer:
        """The same through the order service's own API, which makes the id."""
        return call("POST", f"{self.orders_url}/orders", {
            "customer": order.customer, "sku": order.sku, "quantity": order.quantity, "amount": order.amount})

    def submit_once(self, order: Order, url: str, timeout: float = 30, headers: dict | None = None) -> Answer:
        return call("PUT", f"{url}/v1/transactions/{order.order_id}", self.transaction(order), timeout, headers)

    def submit(self, order: Order, first: int = 0) -> str:
        """Insists, node after node and under the same xid, until one says the outcome."""
        end = time.monotonic() + GIVE_UP_SECONDS
        position = first
        last = None
        while time.monotonic() < end:
            nodes = self.cluster.nodes
            last = self.submit_once(order, nodes[position % len(nodes)].url, timeout=10)
            if last.status == 200:
                return last.json["outcome"]
            if last.status not in (0, 202, 429, 500, 503, 504):
                raise StackFailure(f"{order}: unexpected answer {last.status} {last.text}")
            position += 1
            time.sleep(0.05)
        raise StackFailure(f"{order}: no outcome within {GIVE_UP_SECONDS} s, last {last}\n{self.log_tails()}")

    def wait_for_vote(self, order: Order, participant: str) -> None:
        """Until the coordinator has the participant's yes; what PostgreSQL shows comes earlier."""
        def voted() -> bool:
            answer = call("GET", f"{self.cluster.wait_for_leader().url}/v1/transactions/{order.order_id}")
            return answer.status == 200 and any(
                branch["participant"] == participant and branch["phase"] == "prepared"
                for branch in answer.json["branches"])
        wait_until(voted, f"the coordinator has the vote of {participant}", explain=self.log_tails)

    # ---------------------------------------------------------------------------------------------- books

    def stock(self) -> dict[str, int]:
        return dict(self.postgres.execute(self.INVENTORY, "SELECT sku, quantity FROM stock"))

    def balances(self) -> dict[str, int]:
        return dict(self.postgres.execute(self.ORDERS, "SELECT customer, balance FROM customer_balance"))

    def orders_placed(self) -> dict[str, tuple[str, str, int, int]]:
        """order id -> (customer, sku, quantity, amount)"""
        rows = self.postgres.execute(self.ORDERS, "SELECT id, customer, sku, quantity, amount FROM customer_order")
        return {order_id: tuple(details) for order_id, *details in rows}

    def wait_until_settled(self) -> None:
        """Until no branch is prepared any more (I5, I9)."""
        wait_until(lambda: not self.postgres.prepared_transactions(), "no prepared transaction is left",
                   explain=lambda: f"{self.postgres.prepared_transactions()}\n{self.log_tails()}")

    def imbalances(self, told_committed: set[str] | None = None) -> list[str]:
        """What is wrong with the books, a sentence each; call when settled."""
        placed = self.orders_placed()
        sold, paid = Counter(), Counter()
        for customer, sku, quantity, amount in placed.values():
            sold[sku] += quantity
            paid[customer] += amount
        wrong = []
        for sku, units in self.stock().items():
            if units + sold[sku] != self.stock_at_start[sku]:
                wrong.append(f"{sku}: {units} on the shelf + {sold[sku]} sold is not {self.stock_at_start[sku]}")
        for customer, money in self.balances().items():
            if money + paid[customer] != self.balance_at_start[customer]:
                wrong.append(f"{customer}: {money} left + {paid[customer]} spent "
                             f"is not {self.balance_at_start[customer]}")
        if told_committed is not None:
            for order_id in sorted(told_committed - placed.keys()):
                wrong.append(f"{order_id}: the client was told committed, there is no such order")
            for order_id in sorted(placed.keys() - told_committed):
                wrong.append(f"{order_id}: the order is there, no client was told committed")
        return wrong


class Customers:
    """Clients that keep ordering until told to pause; every one insists until it knows its outcome.

    next_order(worker, number) makes the orders. pause() returns when all of them know their outcomes, so that what
    they were told can be compared with the databases.
    """

    def __init__(self, shop: Shop, workers: int, next_order) -> None:
        self.shop = shop
        self.next_order = next_order
        self.outcomes: dict[str, str] = {}
        self.failures: list[BaseException] = []
        self._condition = threading.Condition()
        self._running = False
        self._ended = False
        self._busy = 0
        self._threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(workers)]
        for thread in self._threads:
            thread.start()

    def _work(self, worker: int) -> None:
        number = 0
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._running or self._ended)
                if self._ended:
                    return
                self._busy += 1
            number += 1
            order = self.next_order(worker, number)
            outcome, failure = None, None
            try:
                outcome = self.shop.submit(order, first=worker + number)
            except BaseException as error:  # reported by pause()
                failure = error
            with self._condition:
                self._busy -= 1
                if failure:
                    self.failures.append(failure)
                    self._ended = True
                else:
                    self.outcomes[order.order_id] = outcome
                self._condition.notify_all()

    def resume(self) -> None:
        with self._condition:
            self._running = True
            self._condition.notify_all()

    def wait_for_outcomes(self, count: int, seconds: float) -> bool:
        """Until that many more outcomes are known, or the time is over; true in the first case."""
        with self._condition:
            wanted = len(self.outcomes) + count
            return self._condition.wait_for(lambda: len(self.outcomes) >= wanted or self._ended, seconds)

    def pause(self) -> None:
        with self._condition:
            self._running = False
            idle = self._condition.wait_for(lambda: self._busy == 0, GIVE_UP_SECONDS + 30)
        if self.failures:
            raise self.failures[0]
        if not idle:
            raise StackFailure(f"customers are still waiting\n{self.shop.log_tails()}")

    def committed(self) -> set[str]:
        return {order_id for order_id, outcome in self.outcomes.items() if outcome == "committed"}

    def close(self) -> None:
        with self._condition:
            self._ended = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join(GIVE_UP_SECONDS)
