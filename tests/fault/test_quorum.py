"""Too few nodes are left to decide: work is refused at once, nothing is lost, and it goes on by itself."""

import itertools
import time

from clients import COMMITTING, Background, settle, submit, submit_once
from stack import call, wait_until

# A refusal may take the leader's own time to notice plus one round on a busy machine.
FAST_REFUSAL_SECONDS = 5


_numbers = itertools.count(1)


def refused_fast(node):
    """(xid, answer) of a transaction that was refused quickly; every try has an xid of its own, because one that met
    the leader before it noticed may have been begun, and its client is told 504, effect unknown."""
    xid = f"during-{next(_numbers)}"
    began = time.monotonic()
    answer = submit_once(node.url, xid, COMMITTING, timeout=30)
    return (xid, answer) if answer.status == 503 and time.monotonic() - began < FAST_REFUSAL_SECONDS else None


def test_new_work_is_refused_fast_when_the_quorum_is_lost(make_cluster, witness):
    """C12: with two of three nodes gone the last one answers 503 with Retry-After, quickly, and stays alive."""
    cluster = make_cluster(3)
    assert submit(cluster, "before", COMMITTING) == "committed"
    survivor = cluster.wait_for_leader()
    for node in cluster.nodes:
        if node is not survivor:
            node.kill()
    xid, answer = wait_until(lambda: refused_fast(survivor), "a fast 503", explain=cluster.log_tails)
    assert answer.json["code"] in ("no-leader", "no-quorum")
    assert answer.json["effect"] == "none"
    assert answer.json["retryable"] is True
    assert int(answer.headers["retry-after"]) >= 0
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert call("GET", f"{survivor.url}/livez").status == 200
    assert witness.states(xid) == [], "a refused transaction reached a participant"

    cluster.restart_the_dead()
    cluster.wait_for_leader()
    assert submit(cluster, "after", COMMITTING) == "committed"
    settle(cluster, witness)


def test_a_stale_read_is_still_answered_when_the_quorum_is_lost(make_cluster):
    """A reader who asked for staleness gets it from the survivor; a linearizable read is refused, not guessed."""
    cluster = make_cluster(3)
    assert submit(cluster, "known", COMMITTING) == "committed"
    survivor = cluster.wait_for_leader()
    for node in cluster.nodes:
        if node is not survivor:
            node.kill()
    target = f"{survivor.url}/v1/transactions/known"
    wait_until(lambda: call("GET", target, timeout=30).status == 503, "a linearizable read is refused",
               explain=cluster.log_tails)
    assert call("GET", f"{target}?consistency=stale").json["outcome"] == "committed"


def test_prepared_transactions_wait_when_the_quorum_is_lost(make_cluster, witness):
    """C12: branches stay prepared while nobody can decide, and commit once the quorum is back."""
    cluster = make_cluster(3)
    leader = cluster.wait_for_leader()
    witness.hold()
    client = Background(cluster, "waiting", COMMITTING, cluster.nodes.index(leader))
    wait_until(lambda: witness.waiting() >= 2, "both prepares have arrived", explain=cluster.log_tails)
    for node in cluster.nodes:
        if node is not leader:
            node.kill()
    witness.release()
    wait_until(lambda: witness.states("waiting") == ["prepared", "prepared"], "both branches are prepared",
               explain=cluster.log_tails)
    wait_until(lambda: refused_fast(leader), "new work is refused", explain=cluster.log_tails)
    assert witness.states("waiting") == ["prepared", "prepared"]

    cluster.restart_the_dead()
    assert client.result() == "committed"
    wait_until(lambda: witness.states("waiting") == ["committed", "committed"], "both branches have committed",
               explain=cluster.log_tails)
