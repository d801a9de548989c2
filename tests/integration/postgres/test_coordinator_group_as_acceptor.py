"""An even number of participants: the coordinator group is one more acceptor, with real nodes behind every door.

The other participant is a fake one that votes and is then as good as dead, so that the real one can finish only
with the group.
"""

import json
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

from branch_process import wait_until  # noqa: E402
from fake_participant import FakeParticipant, answer  # noqa: E402
from stack import Cluster, call, register_participant  # noqa: E402

NOT_YET = answer(503, retry_after_ms=50)
DEAD = answer(500)
QUICK = {"log.election_timeout": "500ms", "log.heartbeat_interval": "50ms"}


@pytest.fixture
def group(tmp_path):
    with Cluster(3, tmp_path, QUICK) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture
def dying():
    """A participant that votes when it is told to, and does nothing afterwards."""
    with FakeParticipant() as participant:
        participant.script("prepare", NOT_YET)
        for operation in ("pre-commit", "learn", "commit", "abort"):
            participant.script(operation, DEAD)
        yield participant


class Pair:
    """A transaction of the real participant `alive` and the fake one `dying`, submitted and waited for in a thread."""

    def __init__(self, group, database, dying, **recovery):
        self.group, self.database, self.dying = group, database, dying
        self.service = database.service(**recovery)
        register_participant(group, "alive", self.service.base_url)
        register_participant(group, "dying", dying.url)
        self.told = None
        self.client = threading.Thread(target=self._submit, daemon=True)
        self.client.start()
        wait_until(database.prepared, "the real participant to vote")
        self.capability = json.loads(
            database.execute("SELECT context::text FROM concordat_branch")[0][0])["capability"]

    def _submit(self):
        branches = [{"participant": "alive", "payload": {"steps": ["INSERT INTO item VALUES ('a', 1)"]}},
                    {"participant": "dying", "payload": {}}]
        body = {"protocol": "3pc", "timeout": "30s", "branches": branches}
        self.told = call("PUT", f"{self.group.nodes[0].url}/v1/transactions/x", body, timeout=60)

    def promise_at_the_living(self, ballot):
        """As the other participant does that starts a ballot before it dies."""
        granted = self.service.ballot("promise", "x", 0, ballot, self.capability)
        assert granted.body["granted"] is True, granted

    def precommit(self):
        self.dying.script("prepare", answer(200, vote="yes"))
        wait_until(lambda: self.at_the_group().member("state") == "precommitted", "PRECOMMIT to be logged")

    def at_the_group(self, path="", body=None):
        url = f"{self.group.nodes[0].url}/v1/transactions/x{path}"
        return call("POST" if body else "GET", url, body)

    def ballot_at(self, node, step, ballot, **members):
        body = {"ballot": {"round": ballot[0], "proposer": ballot[1]}, "capability": self.capability, **members}
        return call("POST", f"{node.url}/v1/transactions/x/ballots/{step}", body)

    def answered_by(self, node, *ballot, **members):
        """The same, insisting: just after an election a node may not know yet whom to forward to."""

        def answered():
            found = self.ballot_at(node, *ballot, **members)
            return found if found.status == 200 else None

        return wait_until(answered, f"{node.name} to answer for the group")


def test_a_participant_whose_only_peer_is_dead_finishes_with_the_group(group, database, dying):
    """The group answers no inquiry while participants decide; as an acceptor it must answer, and hold to PRECOMMIT."""
    pair = Pair(group, database, dying, interval_ms=200, grace_ms=2000)
    pair.promise_at_the_living((1, 2))
    pair.precommit()
    inquiry = f"{group.nodes[0].url}/v1/inquiry/x"
    wait_until(lambda: call("GET", inquiry).status in (503, 200), "ballot 0 to meet the promise")
    wait_until(lambda: not database.prepared(), "the branch to end")
    assert database.count() == 1
    pair.client.join(60)
    assert pair.told.member("outcome") == "committed"
    found = pair.at_the_group().json
    assert (found["outcome"], found["reason"]) == ("committed", "participants_terminated")
    dying.script("commit", answer(200, outcome="committed"))
    wait_until(lambda: pair.at_the_group().member("state") == "committed", "the other participant to be told")


def test_every_node_speaks_for_the_group_and_remembers_after_a_change_of_leaders(group, database, dying):
    """A promise and an accepted value are in the log, so the next leader must stand by what the last one said."""
    pair = Pair(group, database, dying)
    pair.promise_at_the_living((1, 2))
    pair.precommit()
    first = pair.ballot_at(group.follower(), "promise", (5, 2))
    assert first.json == {"status": 200, "granted": True, "promised": {"round": 5, "proposer": 2},
                          "accepted_ballot": {"round": 0, "proposer": 0}, "accepted_value": "committed"}
    leader = group.wait_for_leader()
    leader.kill()
    group.wait_for_leader()
    survivors = [node for node in group.nodes if node is not leader]
    lower = [pair.answered_by(node, "promise", (4, 1)).json for node in survivors]
    assert [(one["granted"], one["promised"], one["reason"]) for one in lower] \
        == [(False, {"round": 5, "proposer": 2}, "ballot")] * 2
    accepted = pair.answered_by(survivors[0], "accept", (5, 2), value="committed")
    assert accepted.json["granted"] is True
    assert pair.answered_by(survivors[1], "promise", (6, 1)).json["accepted_ballot"] == {"round": 5, "proposer": 2}


def test_the_group_aborts_before_precommit_and_lets_nobody_in_without_the_capability(group, database, dying):
    """Whoever terminates before all have voted must find the group on its side, and a guess must change nothing."""
    pair = Pair(group, database, dying)
    right = pair.capability
    pair.capability = "guessed"
    assert pair.ballot_at(group.nodes[0], "promise", (1, 1)).status == 404
    assert pair.ballot_at(group.nodes[1], "accept", (1, 1), value="aborted").status == 404
    assert pair.at_the_group().member("state") == "active"
    pair.capability = right
    settled = pair.ballot_at(group.nodes[2], "promise", (1, 1)).json
    assert (settled["granted"], settled["outcome"]) == (False, "aborted")
    wait_until(lambda: not database.prepared(), "the branch to be rolled back")
    assert database.count() == 0
    pair.client.join(60)
    assert pair.told.member("outcome") == "aborted"
