"""Clients of the coordinator as the fault tests use them: they insist until they know an outcome."""

from __future__ import annotations

import threading
import time

from stack import Answer, Cluster, StackFailure, call, wait_until

# Elections are quick so that a test is short; heartbeats leave a busy machine room.
FAST = {"log.election_timeout": "500ms", "log.heartbeat_interval": "50ms", "logging.format": "json"}
GIVE_UP_SECONDS = 120


def transaction(*votes: str) -> dict:
    """A body with one branch per vote, alternating between the witness's two participants."""
    names = ("left", "right")
    return {"branches": [{"participant": names[index % 2], "payload": {"vote": vote}}
                         for index, vote in enumerate(votes)]}


COMMITTING = transaction("yes", "yes")
ABORTING = transaction("yes", "no")


def submit_once(url: str, xid: str, body: dict, timeout: float = 10) -> Answer:
    return call("PUT", f"{url}/v1/transactions/{xid}", body, timeout=timeout)


def submit(cluster: Cluster, xid: str, body: dict, first: int = 0, stop: threading.Event | None = None) -> str | None:
    """Submits under the same xid, node after node, until one says the outcome. None when stopped before."""
    end = time.monotonic() + GIVE_UP_SECONDS
    position = first
    while time.monotonic() < end:
        node = cluster.nodes[position % len(cluster.nodes)]
        answer = submit_once(node.url, xid, body)
        if answer.status == 200:
            return answer.json["outcome"]
        if answer.status not in (0, 202, 429, 500, 503, 504):
            raise StackFailure(f"{xid}: unexpected answer {answer.status} {answer.text}")
        if stop is not None and stop.is_set():
            return None
        position += 1
        time.sleep(0.05)
    raise StackFailure(f"{xid}: no outcome within {GIVE_UP_SECONDS} s\n{cluster.log_tails()}")


def outcome_at(url: str, xid: str, stale: bool = False) -> str | None:
    """What one node says became of a transaction; None when it does not know or cannot say."""
    query = "?consistency=stale" if stale else ""
    answer = call("GET", f"{url}/v1/transactions/{xid}{query}", timeout=10)
    return answer.member("outcome") if answer.status == 200 else None


def wait_for_outcome(url: str, xid: str, wanted: str, cluster: Cluster, stale: bool = False) -> None:
    wait_until(lambda: outcome_at(url, xid, stale) == wanted, f"{url} says {xid} is {wanted}",
               explain=cluster.log_tails)


def settle(cluster: Cluster, witness) -> None:
    """I5: every branch learns its outcome. As the SDK does, the witness asks about what nobody tells it: a transaction
    whose BEGIN never became durable is known to no leader, and only the inquiry makes it aborted for good."""

    def resolved() -> bool:
        for xid in witness.undecided():
            answer = call("GET", f"{cluster.nodes[0].url}/v1/inquiry/{xid}", timeout=10)
            if answer.status == 200 and answer.member("outcome") in ("committed", "aborted"):
                witness.learn(xid, answer.json["outcome"])
        return not witness.undecided()

    wait_until(resolved, "no branch is in doubt", explain=lambda: f"{witness.undecided()}\n{cluster.log_tails()}")


class Background:
    """A transaction submitted in a thread of its own; result() joins it."""

    def __init__(self, cluster: Cluster, xid: str, body: dict, first: int = 0) -> None:
        self.xid = xid
        self._outcome: str | None = None
        self._error: BaseException | None = None

        def run() -> None:
            try:
                self._outcome = submit(cluster, xid, body, first)
            except BaseException as error:  # handed to the thread that asks for the result
                self._error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def result(self) -> str:
        self._thread.join(GIVE_UP_SECONDS + 30)
        if self._error:
            raise self._error
        assert self._outcome is not None, f"{self.xid}: the client is still waiting"
        return self._outcome
