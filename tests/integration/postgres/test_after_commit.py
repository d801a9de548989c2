"""What a service has done after a commit, such as waking the relay of its outbox (O9)."""

import psycopg
import pytest

from branch_process import wait_until

PUBLISH = "INSERT INTO concordat_outbox (topic, payload) VALUES ('t', 'x')"


class Relay:
    """Listens as concordat-relay does, and counts the rows that are visible when it is woken."""

    def __init__(self, database):
        self.database = database
        self.connection = psycopg.connect(database.url, autocommit=True)
        self.connection.execute("LISTEN concordat_outbox")

    def wake_ups(self, seconds):
        return [self.database.execute("SELECT count(*) FROM concordat_outbox")[0][0]
                for _ in self.connection.notifies(timeout=seconds, stop_after=1)]


@pytest.fixture
def relay(database):
    """relay(): listens from then on; the service has made the tables before."""
    listening = []

    def listen():
        listening.append(Relay(database))
        return listening[-1]

    yield listen
    for one in listening:
        one.connection.close()


def test_a_prepared_branch_wakes_the_relay_when_it_commits(database, relay):
    """After COMMIT PREPARED, when the row can be seen, and by whichever replica is told to commit."""
    preparing, committing = (database.service(after_commit="wake") for _ in range(2))
    listener = relay()
    assert preparing.prepare("x", PUBLISH).vote == "yes"
    assert committing.commit("x").status == 200
    assert listener.wake_ups(10) == [1]


def test_one_phase_and_reservations_wake_the_relay_too(database, relay):
    """The other two ways in which a branch commits."""
    service = database.service(after_commit="wake")
    listener = relay()
    assert service.operation("commit-one-phase", "x", payload={"steps": [PUBLISH]}).outcome == "committed"
    assert listener.wake_ups(10) == [1]
    reserving = database.service(style="reservation", after_commit="wake")
    assert reserving.prepare("y", "SELECT 1", confirm=[PUBLISH]).vote == "yes"
    assert reserving.commit("y").status == 200
    assert listener.wake_ups(10) == [2]


def test_nothing_wakes_the_relay_before_the_decision_or_after_an_abort(database, relay):
    """A NOTIFY in the branch itself would make PREPARE TRANSACTION fail, and commits wait for each other."""
    service = database.service(after_commit="wake")
    listener = relay()
    assert service.prepare("x", PUBLISH).vote == "yes"
    assert service.abort("x").status == 200
    assert service.prepare("y", PUBLISH, {"throw": "no"}).vote == "no"
    assert service.operation("commit-one-phase", "z", payload={"steps": [{"throw": "no"}]}).outcome == "aborted"
    assert listener.wake_ups(0.5) == []


def test_what_it_throws_changes_nothing(database):
    """The branch is committed: an error of the hook may neither hide that nor spoil the connection."""
    service = database.service(after_commit="throw", connections=1)
    for xid in ("x", "y"):
        assert service.prepare(xid, "INSERT INTO item VALUES ('a', 1)").vote == "yes"
        assert service.commit(xid).status == 200
    wait_until(lambda: service.lines.count("after commit\n") == 2, "the hook was called")
    assert database.count() == 2
