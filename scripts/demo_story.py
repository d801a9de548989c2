"""The story that scripts/demo plays: orders that commit and abort while processes are killed.

Everything it starts lives in one temporary directory and ends with it, on Ctrl-C too. With --keep the processes
stay, and a small file in build/ remembers them for --stop.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SOURCE / "tests" / "integration" / "harness"))
sys.dont_write_bytecode = True

from demo_events import EventChapter  # noqa: E402
from demo_termination import TerminationChapter  # noqa: E402
from demo_voice import DemoFailure, chapter, done, expect, say  # noqa: E402
from kafka import KafkaFailure  # noqa: E402
from postgres import PostgresCluster, PostgresFailure  # noqa: E402
from shop import Order, Shop  # noqa: E402
from stack import Cluster, StackFailure, wait_until  # noqa: E402

KEPT = SOURCE / "build" / "demo-kept.json"
STOCK = {"lamp": 100, "chair": 80, "desk": 3}
CUSTOMERS = ("ada", "ben", "cleo", "dora", "emil", "fay", "gus", "hana")
BALANCES = {name: 1000 for name in CUSTOMERS} | {"penny": 15}
ORDERS_PER_CUSTOMER = 5


class Story:
    """The chapters, in order; each leaves the installation whole for the next."""

    def __init__(self, folder: Path, keep: bool) -> None:
        self.folder = folder
        self.keep = keep
        self.postgres: PostgresCluster | None = None
        self.cluster: Cluster | None = None
        self.shop: Shop | None = None
        self.termination: TerminationChapter | None = None
        self.events: EventChapter | None = None
        self.committed: set[str] = set()

    # ------------------------------------------------------------------------------------------ chapters

    def start(self) -> None:
        chapter("Starting: one PostgreSQL server, three coordinator nodes, two services")
        self.postgres = PostgresCluster()
        done(f"PostgreSQL on port {self.postgres.port}, databases 'orders' and 'inventory'")
        self.cluster = Cluster(3, self.folder, keep=self.keep)
        self.cluster.start()
        leader = self.cluster.wait_for_leader()
        done(f"coordinator nodes 1, 2 and 3; they elected {leader.name}")
        self.shop = Shop(self.cluster, self.postgres, self.folder, keep=self.keep)
        self.shop.start()
        self.shop.fill(STOCK, BALANCES)
        done("order-service and inventory-service, registered as participants")
        goods = ", ".join(f"{units} {article}s" for article, units in STOCK.items())
        done(f"the shelves hold {goods}; {len(CUSTOMERS)} customers have 1000 each, penny has 15")

    def commit(self) -> None:
        chapter("An order commits: stock, order and payment in two databases, or none of them")
        outcome, milliseconds = self.order(Order("order-ada-1", "ada", "lamp", 2))
        expect(outcome == "committed", f"ada orders 2 lamps for 20: committed in {milliseconds:.0f} ms")
        self.shop.wait_until_settled()
        expect(self.shop.stock()["lamp"] == STOCK["lamp"] - 2, f"{STOCK['lamp'] - 2} lamps are left on the shelf")
        expect(self.shop.balances()["ada"] == 980, "ada has 980 left")

    def abort(self) -> None:
        chapter("Orders abort: one service says no, so nothing happens in the other")
        outcome, _ = self.order(Order("order-ben-1", "ben", "desk", 4))
        expect(outcome == "aborted", "ben orders 4 desks, there are 3: aborted, out of stock")
        outcome, _ = self.order(Order("order-penny-1", "penny", "lamp", 2))
        expect(outcome == "aborted", "penny orders 2 lamps with 15 in her purse: aborted, out of money")
        self.shop.wait_until_settled()
        expect(self.shop.stock()["desk"] == 3 and self.shop.balances()["ben"] == 1000
               and self.shop.balances()["penny"] == 15, "shelves and purses are as they were")

    def participant_dies(self) -> None:
        chapter("A service is killed after it voted yes, and restarted")
        order = Order("order-cleo-1", "cleo", "chair", 3)
        self.shop.orders.pause()
        client = Client(self.shop, [order])
        wait_until(lambda: self.postgres.prepared_transactions(Shop.INVENTORY), "the inventory has prepared",
                   explain=self.shop.log_tails)
        self.shop.wait_for_vote(order, Shop.INVENTORY_PARTICIPANT)
        done("the inventory has promised 3 chairs (PREPARE TRANSACTION); the order service has not voted yet")
        self.shop.inventory.kill()
        done("kill -9 inventory-service")
        self.shop.orders.resume()
        expect(client.outcomes() == ["committed"], "the other vote comes in: committed, the decision is durable")
        self.committed.add(order.order_id)
        expect(len(self.postgres.prepared_transactions(Shop.INVENTORY)) == 1,
               "the dead service's branch waits in PostgreSQL, locks and all")
        self.shop.restart_the_dead()
        self.shop.wait_until_settled()
        expect(self.shop.stock()["chair"] == STOCK["chair"] - 3, "restarted, it was told to commit: 3 chairs are gone")

    def leader_dies(self) -> None:
        orders = len(CUSTOMERS) * ORDERS_PER_CUSTOMER
        chapter(f"The leader is killed while {len(CUSTOMERS)} customers place {orders} orders")
        leader = self.cluster.wait_for_leader()
        clients = [
            Client(self.shop, [Order(f"rush-{name}-{number}", name, ("lamp", "chair")[number % 2], 1)
                               for number in range(ORDERS_PER_CUSTOMER)], first=index)
            for index, name in enumerate(CUSTOMERS)]
        wait_until(lambda: sum(client.known() for client in clients) >= orders // 4,
                   "a quarter of the orders is decided", explain=self.shop.log_tails)
        before = sum(client.known() for client in clients)
        leader.kill()
        killed = time.monotonic()
        done(f"kill -9 {leader.name}, the leader, with {before} of {orders} orders decided")
        successor = self.cluster.wait_for_leader()
        done(f"{successor.name} leads after {1000 * (time.monotonic() - killed):.0f} ms and resumes what was in flight")
        outcomes = [outcome for client in clients for outcome in client.outcomes()]
        ids = [order.order_id for client in clients for order in client.orders]
        self.committed.update(name for name, outcome in zip(ids, outcomes) if outcome == "committed")
        aborted = outcomes.count("aborted")
        expect(len(outcomes) == orders and outcomes.count("committed") + aborted == orders,
               f"all {orders} orders are decided, none was lost, none happened twice")
        # On a very slow machine an order may wait for another one's row lock until the database gives up.
        done(f"{orders - aborted} committed" + (f", {aborted} aborted everywhere" if aborted else ""))
        leader.start()
        leader.wait_until_ready()
        done(f"{leader.name} is started again and catches up")

    def coordinators_die(self) -> None:
        self.termination = TerminationChapter(self.shop, self.folder)
        self.committed |= self.termination.play()

    def orders_become_events(self) -> None:
        self.events = EventChapter(self.shop, self.folder, self.keep)
        self.committed |= self.events.play()

    def balance(self) -> None:
        chapter("The books")
        self.shop.wait_until_settled()
        stock, balances, placed = self.shop.stock(), self.shop.balances(), self.shop.orders_placed()
        say(f"   {'article':<10}{'at start':>10}{'sold':>8}{'left':>8}")
        for article, units in STOCK.items():
            sold = sum(quantity for _, name, quantity, _ in placed.values() if name == article)
            say(f"   {article:<10}{units:>10}{sold:>8}{stock[article]:>8}")
        say(f"   {'money':<10}{sum(BALANCES.values()):>10}"
            f"{sum(amount for *_, amount in placed.values()):>8}{sum(balances.values()):>8}")
        wrong = self.shop.imbalances(self.committed)
        if wrong:
            raise DemoFailure("the books do not balance:\n" + "\n".join(wrong))
        done(f"every article and every purse balances, over {len(placed)} orders in two databases")
        expect(self.postgres.prepared_transactions() == [], "no transaction is left in doubt")

    def play(self) -> None:
        self.start()
        self.commit()
        self.abort()
        self.participant_dies()
        self.leader_dies()
        self.coordinators_die()
        self.orders_become_events()
        self.balance()

    # ------------------------------------------------------------------------------------------- helpers

    def order(self, order: Order) -> tuple[str, float]:
        began = time.monotonic()
        outcome = self.shop.submit(order)
        if outcome == "committed":
            self.committed.add(order.order_id)
        return outcome, 1000 * (time.monotonic() - began)

    def close(self) -> None:
        for part in (self.events, self.termination, self.shop, self.cluster, self.postgres):
            if part is not None:
                part.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def explain_where_to_look(self) -> None:
        leader = self.cluster.wait_for_leader()
        cli = SOURCE / "build" / "release" / "bin" / "concordat"
        say("\nEverything keeps running. Look around:")
        say(f"   {cli} --server {leader.url} txn list")
        say(f"   {cli} --server {leader.url} txn get order-cleo-1")
        say(f"   {cli} --server {leader.url} cluster status")
        say(f"   psql {self.postgres.url(Shop.ORDERS)} -c 'SELECT * FROM customer_order'")
        self.events.explain_where_to_look()
        say(f"   logs and data: {self.folder}")
        say("   scripts/demo --stop ends it all")

    def remember(self) -> None:
        pids = [one.pid for one in (*self.cluster.nodes, *self.shop.services)] + self.events.pids
        KEPT.write_text(json.dumps({
            "folders": [str(self.folder), *self.events.folders],
            "postgres": {"pid": self.postgres.pid(), "directory": str(self.postgres.directory)},
            "programs": [{"pid": pid, "started": start_time(pid)} for pid in pids],
        }), encoding="utf-8")


class Client:
    """One customer in a thread, who places orders one after the other and insists on every one."""

    def __init__(self, shop: Shop, orders: list[Order], first: int = 0) -> None:
        self.orders = orders
        self._outcomes: list[str] = []
        self._error: BaseException | None = None

        def run() -> None:
            try:
                for number, order in enumerate(orders):
                    self._outcomes.append(shop.submit(order, first + number))
            except BaseException as error:  # raised again by outcomes()
                self._error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def known(self) -> int:
        return len(self._outcomes)

    def outcomes(self) -> list[str]:
        self._thread.join()
        if self._error:
            raise self._error
        return self._outcomes


# -------------------------------------------------------------------------------------------- keep and stop


def start_time(pid: int) -> str | None:
    """Tells a process from a later one with the same number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return None


def stop_kept() -> bool:
    """Ends what an earlier --keep left running; false when there was nothing."""
    if not KEPT.exists():
        return False
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    server = kept["postgres"]
    pid_file = Path(server["directory"]) / "data" / "postmaster.pid"
    victims = [(entry["pid"], signal.SIGTERM) for entry in kept["programs"]
               if start_time(entry["pid"]) == entry["started"]]
    if pid_file.exists() and pid_file.read_text().split("\n", 1)[0] == str(server["pid"]):
        victims.append((server["pid"], signal.SIGINT))  # a fast shutdown, in PostgreSQL's terms
    for pid, number in victims:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
    try:
        wait_until(lambda: not any(alive(pid) for pid, _ in victims), "the processes have ended", 30)
    except StackFailure:
        for pid, _ in victims:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
    for directory in (*kept["folders"], server["directory"]):
        shutil.rmtree(directory, ignore_errors=True)
    KEPT.unlink()
    return True


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo")
    parser.add_argument("--keep", action="store_true", help="leave everything running")
    parser.add_argument("--stop", action="store_true", help="stop what --keep left running")
    options = parser.parse_args()
    stopped = stop_kept()
    if options.stop:
        say("stopped" if stopped else "nothing is running")
        return 0
    # Any way out passes through close(): SIGTERM and a closed terminal too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    story = Story(Path(tempfile.mkdtemp(prefix="concordat-demo-")), options.keep)
    kept = False
    try:
        story.play()
        if options.keep:
            story.remember()
            kept = True
            story.explain_where_to_look()
        else:
            say("\nAll is as it should be, and nothing is left running.")
            say("Look further: scripts/demo --keep leaves everything running; README.md and docs/ explain it.")
        return 0
    except (DemoFailure, StackFailure, PostgresFailure, KafkaFailure) as failure:
        say(f"\n   \u2717 {failure}")
        return 1
    except KeyboardInterrupt:
        say("\ninterrupted; cleaning up")
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it running
        if not kept:
            story.close()


if __name__ == "__main__":
    sys.exit(main())
