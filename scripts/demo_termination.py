"""The demo's chapter on quorum three-phase commit: the coordinators die, and the participants finish without them.

A third service joins for it, so that two of three participants are a majority. Nothing is staged but who is stopped
when: services are stopped (SIGSTOP) so that the story stands still at the moment that matters, the coordinators are
killed, and everything goes on.
"""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

from demo_voice import chapter, done, expect
from shop import Order, Shop
from stack import Program, StackFailure, call, free_ports, program, wait_until

WAREHOUSE = "warehouse"  # service, participant and database
PAPER = 50


class TerminationChapter:
    """Owns the third service. close() also after a play() that failed."""

    def __init__(self, shop: Shop, folder: Path) -> None:
        self.shop = shop
        self.order = Order("order-hana-gift", "hana", "lamp", 2)
        port, = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        command = [program("inventory-service"), "--listen", f"127.0.0.1:{port}", "--name", WAREHOUSE,
                   "--database", shop.postgres.url(WAREHOUSE), "--recovery-interval-ms", 200,
                   "--recovery-grace-ms", 1000]
        for node in shop.cluster.urls:
            command += ["--coordinator", node]
        self.warehouse = Program("warehouse service", command, folder / "warehouse-service.log")
        self.outcome: str | None = None

    def play(self) -> set[str]:
        """Returns the ids of the orders that it placed and that committed."""
        chapter("All coordinators are killed, and the participants decide by themselves (three-phase commit)")
        self._join()
        customer = threading.Thread(target=self._insist, daemon=True)
        customer.start()
        self._stand_still_after_pre_commit()
        self._decide_alone()
        self._coordinators_return(customer)
        self._leave()
        return {self.order.order_id}

    def close(self) -> None:
        self.warehouse.resume()
        self.warehouse.kill()

    # --------------------------------------------------------------------------------------------- scenes

    def _join(self) -> None:
        self.shop.postgres.create_database(WAREHOUSE)
        self.warehouse.start()
        self.warehouse.wait_for_url(f"{self.url}/readyz")
        leader = self.shop.cluster.wait_for_leader()
        wait_until(lambda: call("GET", f"{leader.url}/v1/participants/{WAREHOUSE}").status == 200,
                   "the warehouse has registered itself", explain=self._logs)
        call("PUT", f"{self.url}/stock/wrapping-paper", {"quantity": PAPER})
        done(f"a third service joins: the warehouse, with {PAPER} sheets of wrapping paper and its own database")

    def _stand_still_after_pre_commit(self) -> None:
        self.shop.orders.pause()
        wait_until(lambda: self._view().get("votes") == 2, "two votes", explain=self._logs)
        for one in (self.shop.inventory, self.warehouse):
            one.pause()
        self.shop.orders.resume()
        wait_until(lambda: self._view().get("phases", [""])[0] == "precommitted",
                   "the order service has accepted the pre-commit", explain=self._logs)
        view = self._view()
        expect(view["state"] == "precommitted",
               "hana orders 2 lamps, gift-wrapped: all three services voted yes, pre-commit is in the log")
        done("the order service has accepted it; inventory and warehouse are stopped (SIGSTOP), so nothing is decided")
        for node in self.shop.cluster.nodes:
            node.kill()
        done("kill -9 node 1, node 2, node 3: no coordinator is left")
        expect(len(self._prepared()) == 3, "three prepared transactions hold their locks in PostgreSQL")

    def _decide_alone(self) -> None:
        for one in (self.shop.inventory, self.warehouse):
            one.resume()
        began = time.monotonic()
        wait_until(lambda: not self._prepared(), "the participants have decided", explain=self._logs)
        done(f"the stopped services go on; {1000 * (time.monotonic() - began):.0f} ms later nothing is prepared any more: "
             "one of them ran a ballot")
        expect(self.order.order_id in self.shop.orders_placed(), "they committed: the order is there,")
        paper = self.shop.postgres.execute(WAREHOUSE, "SELECT quantity FROM stock WHERE sku = 'wrapping-paper'")
        expect(paper == [(PAPER - 1,)], f"and {PAPER - 1} sheets of wrapping paper; no coordinator has said a word")

    def _coordinators_return(self, customer: threading.Thread) -> None:
        self.shop.cluster.restart_the_dead()
        self.shop.cluster.wait_for_leader()
        wait_until(lambda: self._view().get("state") == "committed", "the coordinators know the outcome",
                   explain=self._logs)
        view = self._view()
        expect((view["outcome"], view["reason"]) == ("committed", "participants_terminated"),
               "the coordinators are started again, learn the outcome and report it: "
               f"{view['outcome']}, {view['reason']}")
        customer.join(60)
        expect(self.outcome == "committed", "hana, who has been asking all the time, is told: committed")

    def _leave(self) -> None:
        """The books of the last chapter are those of two services."""
        removed = call("DELETE", f"{self.shop.cluster.wait_for_leader().url}/v1/participants/{WAREHOUSE}")
        if removed.status not in (200, 204):
            raise StackFailure(f"the warehouse cannot leave: {removed}")
        self.warehouse.terminate()

    # -------------------------------------------------------------------------------------------- helpers

    def _insist(self) -> None:
        body = self.shop.transaction(self.order) | {"protocol": "3pc"}
        body["branches"].append({"participant": WAREHOUSE, "payload": {"sku": "wrapping-paper", "quantity": 1}})
        nodes = itertools.cycle(self.shop.cluster.nodes)

        def told():
            answer = call("PUT", f"{next(nodes).url}/v1/transactions/{self.order.order_id}", body)
            return answer.json["outcome"] if answer.status == 200 else None

        self.outcome = wait_until(told, "hana is told the outcome", 120)

    def _view(self) -> dict:
        """What the leader says of the order, with the phases of its branches; empty when nobody can say."""
        for node in self.shop.cluster.nodes:
            answer = call("GET", f"{node.url}/v1/transactions/{self.order.order_id}")
            if answer.status == 200:
                phases = [branch["phase"] for branch in answer.json["branches"]]
                return answer.json | {"phases": phases, "votes": phases.count("prepared")}
        return {}

    def _prepared(self) -> list[str]:
        return [gid for gid in self.shop.postgres.prepared_transactions() if self.order.order_id in gid]

    def _logs(self) -> str:
        return "\n".join([self.warehouse.log_tail(), self.shop.log_tails()])
