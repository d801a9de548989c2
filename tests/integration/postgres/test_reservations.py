"""Branches in the reservation style: no prepared transactions, the same promises."""

from branch_process import wait_until

RESERVE = "INSERT INTO item VALUES ('reserved', 1)"
CONFIRM = ["DELETE FROM item WHERE name = 'reserved'", "INSERT INTO item VALUES ('a', 1)"]
RELEASE = ["DELETE FROM item WHERE name = 'reserved'"]


def prepare(service, xid="x", steps=(RESERVE,), **members):
    return service.prepare(xid, *steps, confirm=CONFIRM, release=RELEASE, **members)


def test_commit_confirms_and_abort_releases(database):
    """Each branch must end with exactly the effect of its outcome, also when deliveries repeat."""
    service = database.service(style="reservation")
    assert prepare(service, "x").vote == "yes"
    assert prepare(service, "x").vote == "yes"
    assert database.count("reserved") == 1
    assert [service.commit("x").status for _ in range(2)] == [200, 200]
    assert (database.count("reserved"), database.count("a")) == (0, 1)
    prepare(service, "y")
    assert [service.abort("y").status for _ in range(2)] == [200, 200]
    assert (database.count("reserved"), database.count("a")) == (0, 1)
    assert service.abort("x").status == 409
    assert service.commit("y").status == 409
    assert database.prepared() == []


def test_read_only_vote_does_not_change_when_its_prepare_is_repeated(database):
    """A no after the vote has left would be taken for the outcome by peers of a transaction that commits."""
    service = database.service(style="reservation")
    assert prepare(service, steps=["SELECT 1"], vote="read_only").vote == "read_only"
    assert prepare(service, vote="no").vote == "read_only"
    assert prepare(service).vote == "read_only"
    assert [service.commit("x").status, service.abort("x").status] == [200, 200]
    assert database.count("reserved") == 0


def test_abort_before_prepare_refuses_the_late_prepare(database):
    """A reservation that comes after its release would stay for ever."""
    service = database.service(style="reservation")
    assert service.abort("x").status == 200
    assert prepare(service).vote == "no"
    assert database.count("reserved") == 0


def test_concurrent_duplicates_take_effect_once(database, pool):
    """Duplicates at two replicas must reserve once and confirm once."""
    replicas = [database.service(style="reservation") for _ in range(2)]
    votes = list(pool.map(lambda i: prepare(replicas[i % 2]), range(16)))
    assert {vote.vote for vote in votes if vote.status == 200} == {"yes"}
    assert database.count("reserved") == 1
    commits = list(pool.map(lambda i: replicas[i % 2].commit("x"), range(16)))
    assert {commit.status for commit in commits} == {200}
    assert (database.count("reserved"), database.count("a")) == (0, 1)


def test_confirm_that_fails_is_retried_and_never_half_done(database):
    """After the vote there is no way back: a confirm that throws must be tried again as a whole."""
    service = database.service(style="reservation")
    steps = ["INSERT INTO item VALUES ('a', 1)", "INSERT INTO missing VALUES (1)"]
    service.prepare("x", RESERVE, confirm=steps, release=RELEASE)
    assert service.commit("x").status == 503
    assert database.count() == 0
    database.execute("CREATE TABLE missing (number integer)")
    assert service.commit("x").status == 200
    assert database.count() == 1


def test_reservations_survive_a_crash_and_are_found_in_doubt(database, coordinator):
    """A reserved branch must be finished by inquiry after server and process were killed."""
    first = database.service(style="reservation")
    prepare(first, "x")
    prepare(first, "y")
    first.kill()
    database.cluster.kill()
    database.cluster.start()
    coordinator.outcomes.update(x="committed", y="aborted")
    database.service(style="reservation", interval_ms=50, grace_ms=50, coordinator=coordinator.url)
    wait_until(lambda: database.count("reserved") == 0, "both branches to end")
    assert database.count() == 1


def test_reserve_that_throws_votes_no_for_ever(database):
    """A no must leave a tombstone in this style too."""
    service = database.service(style="reservation")
    assert prepare(service, "x", (RESERVE, {"throw": "sold out"})).reason == "sold out"
    assert prepare(service, "x").vote == "no"
    assert database.count("reserved") == 0
    assert service.operation(
        "commit-one-phase", "y", payload={"steps": [RESERVE], "confirm": CONFIRM}
    ).outcome == "committed"
    assert database.count() == 1
