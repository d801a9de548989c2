"""The stage on which processes are made to die: three nodes, three participants, one PostgreSQL.

What: starts the programs with failpoints (concordatd-failpoints, order-service-failpoints,
inventory-service-failpoints; the depot is a second inventory), gives each its plan, notices who died, starts the dead
again, and audits one transaction after the other against databases, nodes and what clients were told.
Why not started anew for each case: what starts in seconds is hit in milliseconds. A plan is a file that a program
reads at every point (participant-sdk/src/failpoint/failpoint.hpp), so nothing has to be restarted to be armed.

Threads: one owner; a Client is a thread of its own.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
from postgres import PostgresCluster
from stack import Answer, Cluster, Program, StackFailure, call, free_ports, metric, program, wait_until

# Quick elections and repetitions make short cases; they decide nothing.
SETTINGS = {
    "log.election_timeout": "200ms", "log.heartbeat_interval": "40ms", "logging.format": "json",
    "transactions.retry_cap": "200ms", "participants.breaker_open": "100ms",
    "log.snapshot_after": "64KiB", "log.trailing_entries": "8",
}
RECOVERY = ["--recovery-interval-ms", 100, "--recovery-grace-ms", 200]
GIVE_UP_SECONDS = 30
ROWS = 1000
AT_START = 1_000_000_000
PRICE = 10
NOBODY_HAS = AT_START * 1000
PARTICIPANTS = ("order", "inventory", "depot")
PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
NODE_PAUSE = 0.02
LISTENING = re.compile(r"--(?:peer-)?listen 127\.0\.0\.1:(\d+)")


def reserve(port: int) -> socket.socket:
    """Keeps a port while its owner is dead: nobody is given it for a connection, and the owner can listen on it."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", port))
    return reserved


@dataclass(frozen=True)
class Line:
    """One line of a plan: whose, where, at which passage, what."""

    process: str
    point: str
    k: int = 1
    action: str = "kill"
    evidence: str = "evidence"


class Client(threading.Thread):
    """Insists under one xid, node after node, until a node says the outcome."""

    def __init__(self, stage: Stage, xid: str, body: dict, first: int, insists: bool = True,
                 patience: float = 5) -> None:
        super().__init__(daemon=True)
        self.stage, self.xid, self.body, self.position, self.insists = stage, xid, body, first, insists
        self.patience = patience
        self.outcome: str | None = None
        self.error: str | None = None
        self.start()

    def run(self) -> None:
        end = time.monotonic() + GIVE_UP_SECONDS
        answer = None
        while time.monotonic() < end:
            node = self.stage.cluster.nodes[self.position % len(self.stage.cluster.nodes)]
            answer = call("PUT", f"{node.url}/v1/transactions/{self.xid}", self.body, self.patience)
            if answer.status == 200:
                self.outcome = answer.json["outcome"]
                return
            if not self.insists or answer.status not in (0, 202, 429, 500, 503, 504):
                break
            self.position += 1
            time.sleep(NODE_PAUSE)
        self.error = f"{self.xid}: no outcome, last answer {answer}"

    def told(self) -> str:
        self.join(GIVE_UP_SECONDS + 10)
        if self.outcome is None:
            raise StackFailure(f"{self.error or self.xid + ': still waiting'}\n{self.stage.log_tails()}")
        return self.outcome


class InteractiveClient(Client):
    """Opens, enlists branch by branch, commits. What it cannot know of an enlistment makes it abort, as documented."""

    def run(self) -> None:
        self.body, branches = {"protocol": self.body["protocol"], "mode": "interactive"}, self.body["branches"]
        path = f"/v1/transactions/{self.xid}"
        if self._insist("PUT", path, self.body, (201,)):
            enlisted = all(self._once("POST", f"{path}/branches", branch).status == 201 for branch in branches)
            decided = self._insist("POST", f"{path}/{'commit' if enlisted else 'abort'}", {}, (200, 409))
            answer = decided if decided is None or decided.status == 200 else self._insist("GET", path, None, (200,))
            self.outcome = answer and answer.member("outcome")

    def _once(self, method: str, path: str, body: dict | None) -> Answer:
        nodes = self.stage.cluster.nodes
        return call(method, nodes[self.position % len(nodes)].url + path, body, self.patience)

    def _insist(self, method: str, path: str, body: dict | None, wanted: tuple[int, ...]) -> Answer | None:
        end = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < end:
            answer = self._once(method, path, body)
            if answer.status in wanted:
                return answer
            self.error = f"{self.xid}: last answer to {method} {path}: {answer}"
            self.position += 1
            time.sleep(NODE_PAUSE)
        return None


class Stage:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plans = folder / "plans"
        self.plans.mkdir()
        self.postgres = PostgresCluster(settings={"max_wal_senders": 0, "autovacuum": "off"})
        self.cluster = Cluster(3, folder, SETTINGS)
        self.programs: dict[str, Program] = {}
        for node in self.cluster.nodes:
            node.command[0] = str(program("concordatd-failpoints"))
            self._own(f"node-{node.number}", node)
        ports = dict(zip(PARTICIPANTS, free_ports(3), strict=True))
        self.urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        for name in PARTICIPANTS:
            self.postgres.create_database(name)
            binary = program("order-service-failpoints" if name == "order" else "inventory-service-failpoints")
            command = [binary, "--name", name, "--listen", f"127.0.0.1:{ports[name]}", "--workers", 4,
                       "--database", self.postgres.url(name), *RECOVERY]
            for url in self.cluster.urls:
                command += ["--coordinator", url]
            self._own(name, Program(name, command, folder / f"{name}.log"))
        self._reserved = [reserve(int(port)) for process in self.programs.values()
                          for port in LISTENING.findall(" ".join(process.command))]
        self.databases: dict[str, psycopg.Connection] = {}
        self.sold: dict[str, dict[int, int]] = {name: {} for name in PARTICIPANTS}
        self._xids = 0
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _own(self, name: str, process: Program) -> None:
        self.programs[name] = process
        process.command = ["env", f"CONCORDAT_FAILPOINTS={self.plans / name}", *process.command]

    # --------------------------------------------------------------------------------------- life cycle

    def _open(self) -> None:
        for process in self.programs.values():
            process.start()
        self.wait_until_up()
        for name in PARTICIPANTS:
            self.databases[name] = psycopg.connect(self.postgres.url(name), autocommit=True)
            wait_until(lambda: call("GET", f"{self.cluster.nodes[0].url}/v1/participants/{name}").status == 200,
                       f"{name} is registered", explain=self.log_tails)
            table = "customer_balance" if name == "order" else "stock"
            self.databases[name].execute(
                f"INSERT INTO {table} SELECT 'row-' || n, {AT_START} FROM generate_series(0, {ROWS - 1}) AS n")

    def close(self) -> None:
        for process in self.programs.values():
            process.kill()
        for database in self.databases.values():
            database.close()
        for reserved in self._reserved:
            reserved.close()
        self.postgres.close()

    def start_the_dead(self, names=None) -> None:
        for name, process in self.programs.items():
            if (names is None or name in names) and not process.is_running():
                process.start()

    def wait_until_up(self) -> None:
        """Every node has replayed its log, one leads, every participant takes calls."""
        for node in self.cluster.nodes:
            self._wait_for(node, f"{node.url}/readyz")
        for name in PARTICIPANTS:
            self._wait_for(self.programs[name], f"{self.urls[name]}/readyz")
        self.cluster.wait_for_leader()

    @staticmethod
    def _wait_for(process: Program, url: str) -> None:
        process.wait_for_url(url)

    def kill_nodes(self) -> None:
        for node in self.cluster.nodes:
            if node.is_running():
                node.process.kill()
        for node in self.cluster.nodes:
            node.kill()

    def leader(self) -> str:
        return f"node-{self.cluster.wait_for_leader().number}"

    def nodes(self) -> list[str]:
        return [f"node-{node.number}" for node in self.cluster.nodes]

    def followers(self) -> list[str]:
        leader = self.leader()
        return [name for name in self.nodes() if name != leader]

    def log_tails(self) -> str:
        return "\n".join(process.log_tail() for process in self.programs.values())

    # -------------------------------------------------------------------------------------------- plans

    def arm(self, lines: list[Line]) -> None:
        for name in self.programs:
            text = "".join(f"{line.point} {line.k} {line.action} {self.folder / line.evidence}\n"
                           for line in lines if line.process == name)
            draft = self.plans / f"{name}.draft"
            draft.write_text(text)
            os.replace(draft, self.plans / name)

    def disarm(self) -> None:
        self.arm([])
        for evidence in self.folder.glob("evidence*"):
            evidence.unlink()

    def evidence(self, name: str) -> tuple[str, int, int] | None:
        """Point, passage and process id; nothing before the point was hit."""
        path = self.folder / name
        text = path.read_text() if path.exists() else ""
        if not text.endswith("\n"):
            return None
        point, passage, pid = text.split()
        return point, int(passage), int(pid)

    def age_of(self, name: str) -> float:
        return time.time() - (self.folder / name).stat().st_mtime

    def hit_by(self, name: str, until) -> str | None:
        """Waits for the evidence: who was hit. Nothing when `until` becomes true before."""
        end = time.monotonic() + GIVE_UP_SECONDS
        found = None
        while found is None:
            done = until() or time.monotonic() > end
            found = self.evidence(name)
            if found is None and done:
                return None
            time.sleep(0.002)
        return next(name for name, process in self.programs.items()
                    if process.process is not None and process.process.pid == found[2])

    def victim_of(self, name: str, until) -> str | None:
        """Waits for the evidence and for the death that follows it."""
        victim = self.hit_by(name, until)
        if victim is not None and (code := self.programs[victim].wait_for_exit(10)) != -9:
            raise StackFailure(f"{victim} ended with {code} instead of dying\n{self.log_tails()}")
        return victim

    def is_stopped(self, name: str) -> bool:
        """The evidence is written first: a signal to go on must not overtake the one to stop."""
        return Path(f"/proc/{self.programs[name].pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    # ------------------------------------------------------------------------------------- transactions

    def upcoming_xid(self) -> str:
        return f"crash-{self._xids + 1}"

    def next_xid(self) -> str:
        self._xids += 1
        return f"crash-{self._xids}"

    def row(self, xid: str) -> int:
        return int(xid.rpartition("-")[2]) % ROWS

    def body(self, xid: str, protocol: str, branches: tuple[str, ...], refusing: str | None = None,
             filler: int = 0) -> dict:
        """Each branch moves `quantity` of this transaction's own row; `refusing` is asked for more than there is."""
        row = f"row-{self.row(xid)}"
        quantity = self.quantity(xid)

        def payload(name: str) -> dict:
            asked = NOBODY_HAS if name == refusing else quantity
            goods = {"sku": row, "quantity": asked, "filler": "x" * filler}
            return {"customer": row, "amount": asked * PRICE, **goods} if name == "order" else goods

        return {"protocol": protocol,
                "branches": [{"participant": name, "payload": payload(name)} for name in branches]}

    @staticmethod
    def quantity(xid: str) -> int:
        return int(xid.rpartition("-")[2]) % 7 + 1

    # -------------------------------------------------------------------------------------------- audit

    def prepared(self, *names: str) -> list[str]:
        return [gid for name in names or PARTICIPANTS for (gid,) in self.databases[name].execute(PREPARED).fetchall()]

    def wait_until_settled(self, *names: str) -> None:
        """I5, I9: no branch is in doubt any more, at all participants or at these."""
        wait_until(lambda: not self.prepared(*names), "no prepared transaction is left", GIVE_UP_SECONDS,
                   lambda: f"{self.prepared()}\n{self.log_tails()}")

    def wait_until_level(self) -> None:
        """Nothing is on its way, every node has every entry, and the leader knows: no point is passed for old work.

        A follower that was away is sent entries once more, and these pass the points of whatever they hold.
        """
        def level() -> bool:
            leader = self.cluster.leader()
            if leader is None or metric(leader.url, "concordat_transactions_in_flight") != 0:
                return False
            last = metric(leader.url, "concordat_raft_last_index")
            known = metric(leader.url, "concordat_raft_peer_match_index")
            return last is not None and known == last * (len(self.cluster.nodes) - 1)

        wait_until(level, "every node has every entry", GIVE_UP_SECONDS, self.log_tails)

    def acceptor(self, name: str, xid: str) -> tuple[int, str | None]:
        """The round that a participant has promised and the value that it has accepted."""
        row = self.databases[name].execute(
            "SELECT promised_round, accepted_value FROM concordat_branch WHERE xid = %s", [xid]).fetchone()
        return row or (0, None)

    def effect(self, name: str, xid: str) -> int:
        """What one database shows of a transaction: how much it moved (I6: all of it or nothing)."""
        row, before = self.row(xid), self.sold[name].get(self.row(xid), 0)
        table, column, key = (("customer_balance", "balance", "customer") if name == "order"
                              else ("stock", "quantity", "sku"))
        found = self.databases[name].execute(f"SELECT {column} FROM {table} WHERE {key} = 'row-{row}'").fetchone()[0]
        moved = AT_START - found - before
        return moved // PRICE if name == "order" else moved

    def check(self, xid: str, branches: tuple[str, ...], told: str, everywhere: bool = True) -> None:
        """I1, I2, I3, I4, I6: databases and nodes agree with what the clients were told."""
        wanted = self.quantity(xid) if told == "committed" else 0
        effects = {name: self.effect(name, xid) for name in branches}
        assert effects == dict.fromkeys(branches, wanted), f"{xid}: told {told}, moved {effects}"
        if "order" in branches:
            rows = self.databases["order"].execute("SELECT count(*) FROM customer_order WHERE id = %s", [xid])
            assert rows.fetchone()[0] == (told == "committed"), f"{xid}: told {told}, the order says otherwise"
        for name in branches:
            wrong = self.databases[name].execute("SELECT kind, detail FROM concordat_alarm").fetchall()
            assert not wrong, f"{xid}: {name} raised {wrong}"
            row = self.row(xid)
            self.sold[name][row] = self.sold[name].get(row, 0) + wanted * (PRICE if name == "order" else 1)
        for node in self.cluster.nodes if everywhere else self.cluster.nodes[:1]:
            self._wait_until_finished(node.url, xid, told)

    def check_acknowledged(self, xid: str, told: str) -> None:
        """C8: a commit that is finished, and may be forgotten, has no branch that still waits for it."""
        self._wait_until_finished(self.cluster.nodes[0].url, xid, told)
        waiting = [gid for gid in self.prepared() if f":{xid}:" in gid]
        assert told == "aborted" or not waiting, f"{xid} is finished, but these are prepared: {waiting}"

    def _wait_until_finished(self, url: str, xid: str, told: str) -> None:
        def says() -> bool:
            answer = call("GET", f"{url}/v1/transactions/{xid}", timeout=5)
            outcome = answer.member("outcome") if answer.status == 200 else None
            assert outcome in (None, told), f"{xid}: {url} says {outcome}, the client was told {told}"
            return outcome == told and answer.member("state") == told

        wait_until(says, f"{url} says that {xid} is finished and {told}", GIVE_UP_SECONDS, self.log_tails)
