"""Real participants on PostgreSQL and a real coordinator group, for tests that kill the whole group.

What: branch services (tests/integration/postgres) of both styles, prepared transactions and reservations, each with a
database of its own and registered at three nodes; a gate in the last participant's database that holds its votes
back; and a watch that notes when each transaction ceases to be in doubt.
Why a gate: without it a transaction is in doubt for some milliseconds only, and a thousand never are at once.

Threads: one owner; Watch has a thread of its own between its construction and stop().
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration" / "postgres"))

import psycopg  # noqa: E402
from branch_process import Database  # noqa: E402
from clients import FAST  # noqa: E402
from postgres import PostgresCluster  # noqa: E402
from stack import Cluster, call, register_participant, wait_until  # noqa: E402

GATE = 7  # key of the advisory lock that votes of the last participant wait for
POLL_SECONDS = 0.05


class Stage:
    """A participant for each style, in order, and three coordinator nodes. close() ends everything."""

    def __init__(self, folder: Path, postgres: PostgresCluster, styles: list[str], **recovery) -> None:
        self.postgres = postgres
        self.styles = styles
        self.databases = [Database(postgres) for _ in styles]
        self.services = [database.service(style=style, lock_timeout_ms=120_000, **recovery)
                         for database, style in zip(self.databases, styles)]
        self.names = [f"p{number}" for number in range(len(styles))]
        self.group = Cluster(3, folder, FAST)
        self.group.start()
        for name, service in zip(self.names, self.services):
            register_participant(self.group, name, service.base_url)

    def close(self) -> None:
        self.group.close()
        for service in self.services:
            if service.process.poll() is None:
                service.kill()
        for database in self.databases:
            database.close()

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    # ------------------------------------------------------------------------------------ transactions

    def payload(self, number: int, xid: str) -> dict:
        """Puts the xid into the table `item` when it commits; the last participant waits at the gate first."""
        insert = f"INSERT INTO item VALUES ('{xid}', 1)"
        wait = [f"SELECT pg_advisory_xact_lock_shared({GATE})"] if number == len(self.styles) - 1 else []
        if self.styles[number] == "reservation":
            return {"steps": wait, "confirm": [insert]}
        return {"steps": [*wait, insert]}

    def transaction(self, xid: str, protocol: str = "3pc", **members) -> dict:
        branches = [{"participant": name, "payload": self.payload(number, xid)}
                    for number, name in enumerate(self.names)]
        return {"protocol": protocol, "timeout": "60s", "branches": branches, **members}

    def submit(self, xid: str, protocol: str = "3pc", prefer: str = "wait=30", **members):
        url = f"{self.group.nodes[0].url}/v1/transactions/{xid}"
        return call("PUT", url, self.transaction(xid, protocol, **members), headers={"Prefer": prefer}, timeout=40)

    def begin(self, xids: list[str], protocol: str = "3pc") -> None:
        """Returns when every one of them is durable; their decisions are not waited for."""

        def begin_one(xid: str) -> None:
            begun = self.submit(xid, protocol, "respond-async")
            assert begun.status in (200, 202), begun

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(begin_one, xids))

    @contextlib.contextmanager
    def closed_gate(self):
        """While it is closed the last participant does not vote; what is yielded opens it."""
        with psycopg.connect(self.databases[-1].url, autocommit=True) as holder:
            holder.execute(f"SELECT pg_advisory_lock({GATE})")
            yield lambda: holder.execute(f"SELECT pg_advisory_unlock_all()")

    def kill_group(self) -> float:
        """kill -9 of all nodes; the moment at which the last one is gone."""
        for node in self.group.nodes:
            node.process.kill()
        for node in self.group.nodes:
            node.kill()
        return time.monotonic()

    def revive_group(self) -> None:
        self.group.restart_the_dead()
        self.group.wait_for_leader()

    # ----------------------------------------------------------------------------------------- looking

    def in_doubt(self, number: int) -> set[str]:
        """xids of which this participant's branch is prepared or reserved."""
        if self.styles[number] == "reservation":
            rows = self.databases[number].execute("SELECT xid FROM concordat_branch WHERE reserved")
            return {xid for (xid,) in rows}
        return {gid.split(":")[1] for gid in self.databases[number].prepared()}

    def wait_for_votes(self, xids: list[str]) -> None:
        """Until all participants but the last one have voted yes."""
        wanted = set(xids)
        for number in range(len(self.styles) - 1):
            wait_until(lambda number=number: wanted <= self.in_doubt(number), f"all votes of {self.names[number]}",
                       explain=self.group.log_tails)

    def applied(self, number: int) -> set[str]:
        return {name for (name,) in self.databases[number].execute("SELECT name FROM item")}

    def applied_alike(self) -> set[str]:
        """What all participants applied; they must agree (I1, I6)."""
        everywhere = [self.applied(number) for number in range(len(self.styles))]
        for number, applied in enumerate(everywhere):
            difference = applied ^ everywhere[0]
            assert not difference, f"{self.names[number]} differs from {self.names[0]} in {sorted(difference)[:9]}"
        return everywhere[0]

    def told(self, prefix: str) -> dict[str, dict]:
        """What the leader says of all decided transactions whose xid begins so."""
        url = f"{self.group.wait_for_leader().url}/v1/transactions?limit=200&decided=true&xid_prefix={prefix}"
        views, cursor = {}, ""
        while cursor is not None:
            page = call("GET", f"{url}&cursor={cursor}" if cursor else url).json
            views.update((view["xid"], view) for view in page["transactions"])
            cursor = page.get("next_cursor")
        return views

    def told_when_known(self, xids: set[str], prefix: str) -> dict[str, dict]:
        """The same, once all of these are decided there."""

        def known():
            views = self.told(prefix)
            return views if xids <= views.keys() else None

        return wait_until(known, "the group learns every outcome",
                          explain=lambda: f"{len(xids - self.told(prefix).keys())} missing\n{self.group.log_tails()}")

    def alarms(self, number: int, kind: str) -> list[str]:
        return [line for line in self.services[number].lines if line.startswith(f"alarm {kind}")]

    def accepted(self, number: int) -> int:
        """Branches of one participant that accepted PRE-COMMIT."""
        rows = self.databases[number].execute("SELECT count(*) FROM concordat_branch WHERE accepted_round IS NOT NULL")
        return rows[0][0]


class Watch:
    """Notes when each transaction was last seen in doubt at one of these participants."""

    def __init__(self, stage: Stage, numbers: list[int]) -> None:
        self.last_seen: dict[str, float] = {}
        self._stage, self._numbers = stage, numbers
        self._connections = [psycopg.connect(stage.databases[number].url, autocommit=True) for number in numbers]
        self._stop, self._empty = threading.Event(), threading.Event()
        self._look()
        self.at_first = set(self.last_seen)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        seen: set[str] = set()
        for number, connection in zip(self._numbers, self._connections):
            query = ("SELECT xid FROM concordat_branch WHERE reserved" if self._stage.styles[number] == "reservation"
                     else "SELECT split_part(gid, ':', 2) FROM pg_prepared_xacts WHERE database = current_database()")
            seen.update(xid for (xid,) in connection.execute(query).fetchall())
        now = time.monotonic()
        self.last_seen.update((xid, now) for xid in seen)
        (self._empty.clear if seen else self._empty.set)()

    def _run(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self._look()

    def wait_until_empty(self, seconds: float) -> bool:
        return self._empty.wait(seconds)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        for connection in self._connections:
            connection.close()

    def durations(self, since: float) -> list[float]:
        """Seconds from `since` until each was decided and finished at all of them, shortest first."""
        return sorted(max(0.0, seen - since) + POLL_SECONDS for seen in self.last_seen.values())


def percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
