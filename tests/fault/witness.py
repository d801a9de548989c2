"""A participant that remembers everything it is told and knows when it was told something wrong.

What: serves the participant contract in this process under several names, keeps the state of every branch, and
turns each breach of the commit protocol into a sentence in `breaches`:
  * commit after abort, abort after commit, a vote asked after the outcome was delivered and another one then (I1, I4)
  * commit of a branch that never voted yes (I2)
Why in the test's process: it survives every kill of the coordinator, so nothing can be lost or forgotten with it.

The payload of a branch may steer it: {"vote": "no"}. hold() makes prepares wait until release(), so that
transactions are in flight exactly as long as a test wants.

Threads: the server's; every method may be called from any thread.
"""

from __future__ import annotations

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_TARGET = re.compile(r"^/(?P<name>[a-z0-9-]+)/v1/branches/(?P<xid>[A-Za-z0-9._-]+)/(?P<branch>\d+)/(?P<operation>[a-z-]+)$")
_BATCH = re.compile(r"^/(?P<name>[a-z0-9-]+)/v1/branches:batch$")
HOLD_SECONDS = 120


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512  # a leader connects for all its transactions at once


class Witness:
    """Participants `names`; base_url(name) is what the coordinator calls."""

    def __init__(self, names=("left", "right")) -> None:
        self.names = names
        self.breaches: list[str] = []
        self.prepares = 0
        self._lock = threading.Lock()
        self._branches: dict[tuple[str, int], str] = {}  # prepared, refused, committed, aborted
        self._epochs: dict[str, int] = {}
        self._failures_left = 0
        self._failed_at: dict[tuple[str, int], float | None] = {}
        self._retry_gaps: list[float] = []
        self._released = threading.Event()
        self._released.set()
        self._server = _Server(("127.0.0.1", 0), _handler_for(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def base_url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"

    def close(self) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def hold(self) -> None:
        """From now on prepares wait."""
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    def fail_first_prepares(self, count: int) -> None:
        """The first prepare of branch 0 of the next `count` transactions is answered 500, without effect."""
        with self._lock:
            self._failures_left = count

    def retry_gaps(self) -> list[float]:
        """Seconds between each such 500 and the next attempt."""
        with self._lock:
            return list(self._retry_gaps)

    def waiting(self) -> int:
        with self._lock:
            return self.prepares

    def states(self, xid: str) -> list[str]:
        """States of the branches of one transaction that reached us, in branch order."""
        with self._lock:
            return [state for (owner, _), state in sorted(self._branches.items()) if owner == xid]

    def undecided(self) -> list[str]:
        """Transactions with a branch that voted yes and knows no outcome (I5: none after faults heal)."""
        with self._lock:
            return sorted({xid for (xid, _), state in self._branches.items() if state == "prepared"})

    def torn(self) -> list[str]:
        """Transactions that committed at one branch and aborted at another (I1)."""
        with self._lock:
            outcomes: dict[str, set[str]] = {}
            for (xid, _), state in self._branches.items():
                outcomes.setdefault(xid, set()).add(state)
        return sorted(xid for xid, states in outcomes.items() if {"committed", "aborted"} <= states)

    def learn(self, xid: str, outcome: str) -> None:
        """Ends the prepared branches of a transaction as an inquiry answered."""
        with self._lock:
            for key, state in self._branches.items():
                if key[0] == xid and state == "prepared":
                    self._branches[key] = outcome

    # ------------------------------------------------------------------------------------- operations

    def execute(self, xid: str, branch: int, operation: str, body: dict) -> dict:
        if operation == "prepare":
            with self._lock:
                self.prepares += 1
            self._released.wait(HOLD_SECONDS)
        with self._lock:
            return self._execute((xid, branch), operation, body)

    def _execute(self, key: tuple[str, int], operation: str, body: dict) -> dict:
        state = self._branches.get(key)
        if operation == "prepare":
            return self._fails_now(key) or self._prepare(key, state, body)
        if operation == "commit":
            if state in ("prepared", "committed"):
                self._branches[key] = "committed"
                return {"status": 200}
            self._breach(key, f"commit reached a branch that is {state or 'unknown'}")
            return {"status": 409, "reason": "no yes vote"}
        if operation == "abort":
            if state == "committed":
                self._breach(key, "abort reached a committed branch")
                return {"status": 409, "reason": "committed"}
            self._branches[key] = "aborted"
            return {"status": 200}
        return {"status": 409, "reason": f"no such operation here: {operation}"}

    def _fails_now(self, key: tuple[str, int]) -> dict | None:
        failed_at = self._failed_at.get(key)
        if failed_at is not None:
            self._retry_gaps.append(time.monotonic() - failed_at)
            self._failed_at[key] = None
        elif key not in self._failed_at and key[1] == 0 and self._failures_left > 0:
            self._failures_left -= 1
            self._failed_at[key] = time.monotonic()
            return {"status": 500, "reason": "asked to fail once"}
        return None

    def _prepare(self, key: tuple[str, int], state: str | None, body: dict) -> dict:
        epoch = body["epoch"]
        highest = self._epochs.get(key[0], 0)
        if epoch < highest:
            return {"status": 409, "vote": "no", "reason": "an older leader asks"}
        self._epochs[key[0]] = epoch
        if state in ("aborted", "refused"):
            return {"status": 200, "vote": "no", "reason": "aborted before"}
        if state == "committed":
            return {"status": 200, "vote": "yes"}
        payload = body.get("payload") or {}
        if isinstance(payload, dict) and payload.get("vote") == "no":
            self._branches[key] = "refused"
            return {"status": 200, "vote": "no", "reason": "asked to refuse"}
        self._branches[key] = "prepared"
        return {"status": 200, "vote": "yes"}

    def _breach(self, key: tuple[str, int], what: str) -> None:
        self.breaches.append(f"{key[0]}, branch {key[1]}: {what}")


def _handler_for(witness: Witness):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            single, batch = _TARGET.match(self.path), _BATCH.match(self.path)
            if single:
                answer = witness.execute(single["xid"], int(single["branch"]), single["operation"], body)
                self.answer(answer["status"], answer)
            elif batch:
                answers = [witness.execute(item["xid"], item["branch"], item["operation"], item)
                           for item in body["operations"]]
                self.answer(200, {"answers": answers})
            else:
                self.answer(404, {"status": 404, "reason": self.path})

        def answer(self, status: int, body: dict) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            try:
                self.wfile.write(data)
            except OSError:
                self.close_connection = True  # the coordinator was killed

        def log_message(self, *_) -> None:
            """Requests are not logged."""

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                pass  # the same, while reading

    return Handler
