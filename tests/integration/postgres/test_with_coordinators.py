"""Quorum 3PC with real coordinators that disappear: participants and coordinators must tell the same story."""

import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

from branch_process import wait_until  # noqa: E402
from stack import Cluster, call, register_participant  # noqa: E402


@pytest.fixture
def coordinators(tmp_path):
    with Cluster(1, tmp_path) as cluster:
        cluster.start()
        yield cluster


def submit(cluster, xid, names, protocol="3pc"):
    payload = {"steps": [f"INSERT INTO item VALUES ('{xid}', 1)", "SELECT pg_sleep(0.02)"]}
    body = {
        "protocol": protocol,
        "branches": [{"participant": name, "payload": payload} for name in names],
        "timeout": "5s",
    }
    return call("PUT", f"{cluster.nodes[0].url}/v1/transactions/{xid}", body, timeout=10)


def start_participants(cluster, databases):
    names = []
    for number, database in enumerate(databases):
        service = database.service(interval_ms=200, grace_ms=1000)
        names.append(f"p{number}")
        register_participant(cluster, names[-1], service.base_url)
    return names


def test_three_phase_transaction_commits_everywhere(coordinators, databases):
    """With everybody alive quorum 3PC must commit, and abort when one participant refuses."""
    names = start_participants(coordinators, databases)
    assert submit(coordinators, "x", names).member("outcome") == "committed"
    databases[2].execute("ALTER TABLE item ADD CHECK (name <> 'y')")
    assert submit(coordinators, "y", names).member("outcome") == "aborted"
    for database in databases:
        wait_until(lambda database=database: not database.prepared(), "the branches to end")
        assert (database.count("x"), database.count("y")) == (1, 0)


def applied_at(databases, xids):
    """xid → how often it is applied at each participant"""
    present = [dict(database.execute("SELECT name, count(*) FROM item GROUP BY name")) for database in databases]
    return {xid: [rows.get(xid, 0) for rows in present] for xid in xids}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("participants", [2, 3])
def test_participants_end_what_dead_coordinators_left_and_agree_with_them_later(
    coordinators, databases, participants
):
    """Killed in the middle of a stream, the coordinators must come back to the outcomes that were reached."""
    databases = databases[:participants]
    names = start_participants(coordinators, databases)
    told = {}
    stop = threading.Event()

    def stream(worker):
        number = 0
        while not stop.is_set():
            xid = f"w{worker}-{number}"
            told[xid] = None
            try:
                told[xid] = submit(coordinators, xid, names).member("outcome")
            except Exception:  # noqa: BLE001 - the coordinator died: the outcome stays unknown
                return
            number += 1

    workers = [threading.Thread(target=stream, args=(worker,)) for worker in range(6)]
    for worker in workers:
        worker.start()
    wait_until(lambda: sum(outcome is not None for outcome in told.values()) > 30, "a stream of transactions")
    coordinators.nodes[0].kill()
    stop.set()
    for worker in workers:
        worker.join()
    for database in databases:
        wait_until(lambda database=database: not database.prepared(), "all branches to end without coordinators")
    decided = [dict(database.execute("SELECT xid, outcome FROM concordat_outcome")) for database in databases]
    for xid, applied in applied_at(databases, told).items():
        assert len(set(applied)) == 1, f"{xid} is applied at some participants only: {applied}"
        if told[xid] == "committed":
            assert applied[0] == 1, f"{xid} was told committed and is not there"

    coordinators.restart_the_dead()
    outcomes = {}
    for xid in told:
        def known(xid=xid):
            answer = call("GET", f"{coordinators.nodes[0].url}/v1/transactions/{xid}")
            if answer.status == 404 and told[xid] is None:
                return "aborted"  # presumed: they died before BEGIN was in the log, which PREPARE does not wait for
            return answer.member("outcome") if answer.status == 200 else None

        outcomes[xid] = wait_until(known, f"the coordinators to know {xid}")
    # A PREPARE that was on its way when they died may have been carried out after the look above: nothing was decided
    # then, and such a transaction goes on. What a participant had decided stays.
    for database, outcome_rows in zip(databases, decided, strict=True):
        wait_until(lambda database=database: not database.prepared(), "all branches to end with coordinators")
        for xid, outcome in outcome_rows.items():
            assert outcomes[xid] == outcome, f"{xid} was {outcome} at a participant"
    for xid, applied in applied_at(databases, told).items():
        expected = [int(outcomes[xid] == "committed")] * participants
        assert applied == expected, f"{xid}: {outcomes[xid]}, applied {applied}"
