"""Quorum 3PC and cooperative termination among participants, with no coordinator alive; rules Q1-Q11."""

import itertools

import pytest
from branch_process import wait_until

INSERT = "INSERT INTO item VALUES ('a', 1)"
SECRET = "capability-of-x"
NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens there


def participants(databases, **options):
    """One service per database; recovery is slow unless a test asks for more."""
    return [database.service(coordinator=NOBODY, **options) for database in databases]


def context(services, protocol="3pc", quorum=None):
    peers = [
        {"branch": number, "participant": f"p{number}", "base_url": service.base_url}
        for number, service in enumerate(services)
    ]
    return {
        "protocol": protocol,
        "participants": peers,
        "quorum": quorum or len(services) // 2 + 1,
        "capability": SECRET,
        "coordinators": [NOBODY],
    }


def prepare_all(services, xid="x", **options):
    for number, service in enumerate(services):
        answer = service.prepare(xid, INSERT, branch=number, context=context(services, **options))
        assert answer.vote == "yes", answer


def restart_eager(service):
    """The same participant with recovery that looks at once and often."""
    service.stop()
    service.options.update(interval_ms=100, grace_ms=100)
    service.start()


def test_q6_q7_participants_commit_what_a_quorum_accepted(databases):
    """A commit that the coordinator may have told its client must be found by every quorum that is left."""
    services = participants(databases)
    prepare_all(services)
    for number in (1, 2):
        assert services[number].operation("pre-commit", "x", number).status == 200
    services[1].kill()
    for number in (0, 2):
        restart_eager(services[number])
    for number in (0, 2):
        wait_until(lambda number=number: not databases[number].prepared(), "the branch to end")
        assert databases[number].count() == 1
    services[1].options.update(interval_ms=100, grace_ms=100)
    services[1].start()
    wait_until(lambda: not databases[1].prepared(), "the last branch to end")
    assert databases[1].count() == 1


def test_q7_participants_abort_when_nobody_accepted_pre_commit(databases):
    """Without any accepted value the coordinator cannot have committed, so abort is the free choice."""
    services = participants(databases)
    prepare_all(services)
    for service in services:
        restart_eager(service)
    for database in databases:
        wait_until(lambda database=database: not database.prepared(), "the branch to end")
        assert database.count() == 0
        wait_until(
            lambda database=database: database.execute("SELECT outcome FROM concordat_outcome")
            == [("aborted",)],
            "the tombstone",
        )


def test_q10_minority_never_decides(databases):
    """One participant of three must stay prepared for ever, and finish when a second one returns."""
    services = participants(databases)
    prepare_all(services)
    services[1].kill()
    services[2].kill()
    services[0].options["alarm_age_ms"] = 200
    restart_eager(services[0])
    wait_until(lambda: any("in_doubt_too_long" in line for line in services[0].lines), "the alarm")
    promised = databases[0].execute("SELECT promised_round FROM concordat_branch")[0][0]
    wait_until(
        lambda: databases[0].execute("SELECT promised_round FROM concordat_branch")[0][0] > promised + 1,
        "more ballots",
    )
    assert databases[0].prepared() == ["concordat:x:0"]
    services[1].start()
    wait_until(lambda: not databases[0].prepared(), "a quorum to decide")


def test_q2_branch_that_was_never_prepared_refuses_for_ever(databases):
    """A ballot that reaches an unprepared branch must settle the transaction with its tombstone (Q8)."""
    services = participants(databases)
    for number in (0, 1):
        services[number].prepare("x", INSERT, branch=number, context=context(services))
    for number in (0, 1):
        restart_eager(services[number])
    for database in databases[:2]:
        wait_until(lambda database=database: not database.prepared(), "the branch to end")
        assert database.count() == 0
    late = services[2].prepare("x", INSERT, branch=2, context=context(services))
    assert late.vote == "no"


def test_q1_promises_and_accepted_values_survive_kill_of_the_server(databases):
    """An acceptor that forgets after a crash could help two different values to win."""
    database = databases[0]
    service = participants(databases)[0]
    service.prepare("x", INSERT, context=context([service]))
    assert service.operation("pre-commit", "x", 0).status == 200
    granted = service.ballot("promise", "x", 0, (3, 2), SECRET)
    assert granted.body["granted"] is True
    assert granted.body["accepted_value"] == "committed"
    database.cluster.kill()
    database.cluster.start()
    lower = service.until_done(lambda: service.ballot("promise", "x", 0, (3, 1), SECRET))
    assert lower.body["granted"] is False
    assert lower.body["promised"] == {"round": 3, "proposer": 2}
    assert lower.body["accepted_ballot"] == {"round": 0, "proposer": 0}


def test_q5_pre_commit_is_refused_after_a_promise(databases):
    """Ballot 0 must not be accepted behind the back of a proposer that was promised otherwise."""
    service = participants(databases)[0]
    service.prepare("x", INSERT, context=context([service]))
    assert service.ballot("promise", "x", 0, (1, 1), SECRET).body["granted"] is True
    refused = service.operation("pre-commit", "x", 0)
    assert (refused.status, refused.reason) == (409, "ballot")


def test_pre_commit_needs_a_prepared_branch_and_tells_a_known_outcome(databases):
    """An acceptor that has nothing prepared must not add to a quorum for commit."""
    service = participants(databases)[0]
    assert service.operation("pre-commit", "x", 0).status == 409
    service.abort("x")
    assert service.operation("pre-commit", "x", 0).outcome == "aborted"
    assert service.operation("learn", "x", 0).outcome == "aborted"
    service.prepare("y", INSERT, context=context([service]))
    assert service.operation("learn", "y", 0).outcome is None


def test_peers_without_the_capability_are_refused(databases):
    """Whoever does not hold the transaction's secret must learn nothing and change nothing."""
    service = participants(databases)[0]
    service.prepare("x", INSERT, context=context([service]))
    assert service.ballot("promise", "x", 0, (9, 9), "wrong").status == 403
    assert service.ballot("accept", "x", 0, (9, 9), "wrong", "aborted").status == 403
    assert service.state("x", capability="wrong") == 403
    assert service.state("x", capability=SECRET) == "prepared"
    assert databases[0].execute("SELECT promised_round, accepted_round FROM concordat_branch") == [(0, None)]


def test_prepare_of_a_later_epoch_replaces_the_capability(databases):
    """A BEGIN can be lost with its leader; the capability of the one in the log must be the one that counts."""
    service = participants(databases)[0]
    lost = {**context([service]), "capability": "capability-of-a-lost-begin"}
    assert service.prepare("x", INSERT, epoch=3, context=lost).vote == "yes"
    assert service.prepare("x", INSERT, epoch=5, context=context([service])).vote == "yes"
    assert service.prepare("x", INSERT, epoch=4, context=lost).status == 409
    assert service.state("x", capability="capability-of-a-lost-begin") == 403
    assert service.state("x", capability=SECRET) == "prepared"


def test_two_replicas_never_share_a_ballot(databases, pool):
    """Replicas of one participant propose under the same proposer number, so the rounds must differ."""
    first = participants(databases)
    prepare_all(first)
    first[1].kill()
    first[2].kill()
    second = databases[0].service(coordinator=NOBODY, interval_ms=20, grace_ms=20)
    first[0].options.update(interval_ms=20, grace_ms=20)
    restart_eager(first[0])
    wait_until(
        lambda: databases[0].execute("SELECT promised_round FROM concordat_branch")[0][0] > 10, "ballots"
    )
    assert databases[0].prepared() == ["concordat:x:0"]
    assert second.process.poll() is None
    first[1].start()
    wait_until(lambda: not databases[0].prepared(), "a quorum to decide")


@pytest.mark.parametrize("accepted", list(itertools.product([False, True], repeat=3)))
def test_participants_agree_whatever_pre_commits_arrived(databases, accepted):
    """Every combination of delivered PRE-COMMITs must end in one outcome, commit if a quorum had it."""
    services = participants(databases, interval_ms=100, grace_ms=600)
    prepare_all(services)
    for number, service in enumerate(services):
        if accepted[number]:
            assert service.operation("pre-commit", "x", number).status in (200, 409)
    for database in databases:
        wait_until(lambda database=database: not database.prepared(), "the branch to end")
    counts = {database.count() for database in databases}
    assert len(counts) == 1
    if sum(accepted) >= 2:
        assert counts == {1}
    if not any(accepted):
        assert counts == {0}


def test_two_phase_peers_pass_the_outcome_on(databases):
    """A peer that knows the outcome must be enough; nobody may guess."""
    services = participants(databases)
    prepare_all(services, protocol="2pc")
    services[1].commit("x", 1)
    restart_eager(services[0])
    wait_until(lambda: not databases[0].prepared(), "the branch to end")
    assert databases[0].count() == 1


def test_two_phase_peers_that_are_all_uncertain_wait(databases):
    """Two-phase commit cannot end without its coordinator when all have voted yes: it must wait."""
    services = participants(databases)
    prepare_all(services, protocol="2pc")
    services[0].options["alarm_age_ms"] = 500
    restart_eager(services[0])
    wait_until(lambda: any("in_doubt_too_long" in line for line in services[0].lines), "the alarm")
    assert [len(database.prepared()) for database in databases] == [1, 1, 1]
    services[2].abort("x", 2)
    wait_until(lambda: not databases[0].prepared(), "the branch to end")
    assert databases[0].count() == 0


def test_decision_is_reached_within_two_termination_timeouts(databases):
    """With a quorum alive and the coordinator gone, doubt must end in bounded time."""
    timeout_seconds = 5
    services = participants(databases, interval_ms=500, grace_ms=4500)
    prepare_all(services)
    for database in databases:
        wait_until(lambda database=database: not database.prepared(), "the branch to end", 2 * timeout_seconds)
