"""The traps of prepared transactions on a real server, one test each; P numbers as in docs/sdk/participant.md."""

from concurrent.futures import as_completed
from contextlib import contextmanager

import pytest
from branch_process import Database, exchange, wait_until
from postgres import PostgresCluster

INSERT = "INSERT INTO item VALUES ('a', 1)"
# exchange() gives up after half of it: an operation that waits for such a lock is not answered in time.
LONGER_THAN_ANY_CALL_MS = 60_000


def sleeping(database):
    """True while a branch's work sleeps in the database."""
    return database.execute(
        f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database.name}' "
        "AND state = 'active' AND query LIKE 'SELECT pg_sleep%'"
    )[0][0]


@contextmanager
def closed_gate(database):
    """Gives a statement that a branch's work waits in until the block ends."""
    database.execute("CREATE TABLE gate (opened boolean)")
    try:
        yield "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM gate) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$"
    finally:
        database.execute("INSERT INTO gate VALUES (true)")


def at_gate(database):
    """True while a branch's work waits at the gate."""
    return database.execute(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database.name}' "
                            "AND state = 'active' AND query LIKE 'DO %gate%' AND pid <> pg_backend_pid()")[0][0]


def test_p1_crash_before_prepare_leaves_nothing_and_the_retry_runs_again(database, pool):
    """A process that dies in the middle of its work must leave no effect, and a retry must succeed."""
    first = database.service()
    pool.submit(first.prepare, "x", INSERT, "SELECT pg_sleep(60)")
    wait_until(lambda: sleeping(database), "the work to run")
    first.kill()
    database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' "
        "AND pid <> pg_backend_pid()"
    )
    second = database.service()
    assert second.until_done(lambda: second.prepare("x", INSERT)).vote == "yes"
    assert second.commit("x").status == 200
    assert database.count() == 1


def test_p2_crash_after_prepare_votes_again_without_running_the_work_again(database):
    """A vote that was lost with its process must be given again from the database."""
    first = database.service()
    assert first.prepare("x", INSERT).vote == "yes"
    first.kill()
    second = database.service()
    assert second.prepare("x", INSERT).vote == "yes"
    assert second.commit("x").status == 200
    assert database.count() == 1


def test_p3_repeated_commit_succeeds_and_commit_of_an_aborted_branch_is_refused(database):
    """Success must be told only for a branch that really committed."""
    service = database.service()
    service.prepare("x", INSERT)
    assert [service.commit("x").status for _ in range(3)] == [200, 200, 200]
    assert database.count() == 1
    service.prepare("y", INSERT)
    service.abort("y")
    refused = service.commit("y")
    assert (refused.status, refused.outcome) == (409, "aborted")
    assert database.alarms() == [("y", "heuristic_outcome")]


def test_p3_commit_of_a_lost_branch_raises_an_alarm_and_never_succeeds(database):
    """A prepared transaction that is gone without a trace must never be acknowledged as committed."""
    service = database.service()
    service.prepare("x", INSERT)
    database.execute("ROLLBACK PREPARED 'concordat:x:0'")
    for _ in range(2):
        refused = service.commit("x")
        assert (refused.status, refused.outcome) == (409, None)
    assert database.alarms() == [("x", "prepared_branch_lost")]
    wait_until(lambda: any("prepared_branch_lost" in line for line in service.lines), "the alarm")


def test_p4_abort_before_prepare_refuses_the_late_prepare(database):
    """A prepare that the network delivers after the abort must not lock anything."""
    service = database.service()
    assert service.abort("x").status == 200
    assert service.abort("x").status == 200
    late = service.prepare("x", INSERT)
    assert (late.status, late.vote) == (200, "no")
    assert database.prepared() == []
    assert database.count() == 0


def test_p4_abort_meets_a_branch_that_is_still_running_elsewhere(database, pool):
    """The tombstone must neither be lost nor wait for ever behind a branch that another replica runs."""
    one, other = database.service(), database.service()
    with closed_gate(database) as wait_for_gate:
        running = pool.submit(one.prepare, "x", INSERT, wait_for_gate)
        wait_until(lambda: at_gate(database), "the work to run")
        assert other.abort("x").status == 503, "it is answered although the branch goes on running"
        assert at_gate(database)
    assert other.until_done(lambda: other.abort("x")).status == 200
    assert running.result().vote in ("yes", None)
    assert one.prepare("x", INSERT).vote == "no"
    assert database.prepared() == []
    assert database.count() == 0


def test_p5_abort_of_a_prepared_branch_does_not_wait_for_its_locks(database):
    """The outcome key is held by the prepared branch itself: it must be rolled back, not waited for."""
    one, other = database.service(), database.service(lock_timeout_ms=LONGER_THAN_ANY_CALL_MS)
    one.prepare("x", INSERT)
    assert other.abort("x").status == 200
    assert (database.prepared(), database.count()) == ([], 0)


def test_p6_concurrent_duplicates_at_two_replicas_take_effect_once(database, pool):
    """Duplicates of every delivery, at the same time at both replicas, must act like one."""
    replicas = [database.service(), database.service()]
    votes = list(pool.map(lambda i: replicas[i % 2].prepare("x", INSERT, "SELECT pg_sleep(0.05)"), range(24)))
    assert {vote.status for vote in votes} <= {200, 503}
    assert {vote.vote for vote in votes if vote.status == 200} == {"yes"}
    assert database.prepared() == ["concordat:x:0"]
    commits = list(pool.map(lambda i: replicas[i % 2].commit("x"), range(24)))
    assert {commit.status for commit in commits} <= {200, 503}
    assert replicas[0].commit("x").status == 200
    assert database.count() == 1


def test_p6_duplicate_prepare_of_a_prepared_branch_answers_at_once(database):
    """A repetition must look into the database instead of waiting for its own branch's row."""
    service = database.service(lock_timeout_ms=LONGER_THAN_ANY_CALL_MS)
    service.prepare("x", INSERT)
    assert service.prepare("x", INSERT).vote == "yes"


def test_p6_prepare_and_abort_race_ends_in_one_outcome(database, pool):
    """Whoever wins, a branch must end as aborted everywhere and leave nothing prepared."""
    replicas = [database.service(), database.service()]
    for number in range(20):
        xid = f"race{number}"
        prepare = pool.submit(replicas[0].prepare, xid, INSERT)
        abort = pool.submit(replicas[1].until_done, lambda xid=xid: replicas[1].abort(xid))
        prepare.result()
        assert abort.result().status == 200
    assert database.prepared() == []
    assert database.count() == 0


def test_p7_prepare_in_a_failed_transaction_votes_no(database):
    """PREPARE TRANSACTION succeeds as a ROLLBACK when a statement had failed and its error was dropped."""
    service = database.service()
    answer = service.prepare("x", INSERT, {"swallow": "SELECT 1/0"})
    assert answer.vote == "no"
    assert (database.prepared(), database.count()) == ([], 0)
    assert service.operation(
        "commit-one-phase", "y", payload={"steps": [INSERT, {"swallow": "SELECT 1/0"}]}
    ).outcome == "aborted"
    assert database.count() == 0


@pytest.mark.parametrize("room", [0, 2])
def test_p8_no_room_for_prepared_transactions_votes_no(room):
    """A server that cannot prepare must cause a no with its reason, and must not look ready."""
    with PostgresCluster(max_prepared_transactions=room) as small:
        database = Database(small)
        try:
            service = database.service()
            for number in range(room):
                assert service.prepare(f"fits{number}", INSERT).vote == "yes"
            refused = service.prepare("x", INSERT)
            assert refused.vote == "no"
            assert "resource" in refused.reason
            ready = exchange(service.port, "GET", "/readyz")
            assert ready.status == 503
            assert "max_prepared_transactions" in ready.text
            for number in range(room):
                assert service.commit(f"fits{number}").status == 200
        finally:
            database.close()


def test_p9_prepared_branches_survive_a_crash_of_the_server(database):
    """After kill -9 of the server the branch must still be prepared, hold its locks, and be committable."""
    database.execute("INSERT INTO item VALUES ('row', 1)")
    service = database.service(lock_timeout_ms=200)
    assert service.prepare("x", "UPDATE item SET value = 2 WHERE name = 'row'").vote == "yes"
    database.cluster.kill()
    database.cluster.start()
    assert database.prepared() == ["concordat:x:0"]
    blocked = service.until_done(lambda: service.prepare("y", "UPDATE item SET value = 3 WHERE name = 'row'"))
    assert blocked.vote == "no"
    assert "55P03" in blocked.reason
    assert service.until_done(lambda: service.commit("x")).status == 200
    assert database.execute("SELECT value FROM item WHERE name = 'row'") == [(2,)]


def test_p10_orphans_are_inquired_about_and_never_decided_by_age(database, coordinator):
    """However old a branch in doubt is, only an outcome may end it; until then it raises an alarm."""
    service = database.service(
        interval_ms=50, grace_ms=100, alarm_age_ms=300, coordinator=coordinator.url
    )
    for xid in ("c", "d", "u"):
        service.prepare(xid, INSERT)
    coordinator.outcomes.update(c="committed", d="aborted")
    wait_until(lambda: database.prepared() == ["concordat:u:0"], "the decided branches to end")
    assert database.count() == 1
    wait_until(lambda: any("in_doubt_too_long: u/0" in line for line in service.lines), "the alarm")
    assert database.prepared() == ["concordat:u:0"]
    coordinator.outcomes["u"] = "committed"
    wait_until(lambda: not database.prepared(), "the last branch to end")
    assert database.count() == 2


def test_p10_young_branches_are_left_to_the_coordinator(database, coordinator):
    """Within the grace period nobody inquires: an inquiry makes an undecided transaction abort."""
    service = database.service(interval_ms=20, grace_ms=60_000, coordinator=coordinator.url)
    service.prepare("x", INSERT)
    coordinator.outcomes["x"] = "committed"
    service.prepare("y", INSERT)
    service.abort("y")
    assert coordinator.inquiries == []
    assert database.prepared() == ["concordat:x:0"]


def test_p11_branches_of_another_role_are_not_finished_and_make_the_service_unready(database):
    """A service under the wrong role must say so and must not claim success."""
    owner = database.service()
    owner.prepare("x", INSERT)
    database.execute("DROP ROLE IF EXISTS stranger")
    database.execute("CREATE ROLE stranger LOGIN")
    database.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO stranger")
    database.execute("GRANT CREATE ON SCHEMA public TO stranger")
    stranger = database.service(url=database.url.replace("concordat@", "stranger@"))
    answer = stranger.commit("x")
    assert answer.status == 500
    assert "42501" in answer.reason
    ready = exchange(stranger.port, "GET", "/readyz")
    assert ready.status == 503
    assert "stranger" in ready.text
    assert owner.commit("x").status == 200
    stranger.stop()
    database.execute("DROP OWNED BY stranger")
    database.execute("DROP ROLE stranger")


def test_p13_serialization_failure_and_deadlock_vote_no_as_retryable(database, pool):
    """Losing against another transaction must be a clean no that tells the client to try again."""
    database.execute("INSERT INTO item VALUES ('p', 1), ('q', 1)")
    service = database.service(isolation="serializable")
    read = "SELECT sum(value) FROM item"
    sleep = "SELECT pg_sleep(0.2)"
    answers = list(
        pool.map(
            lambda pair: service.prepare(
                pair[0], read, sleep, f"UPDATE item SET value = 0 WHERE name = '{pair[1]}'", sleep
            ),
            [("s1", "p"), ("s2", "q")],
        )
    )
    losers = [answer for answer in answers if answer.vote == "no"]
    assert len(losers) == 1, answers
    assert "40001" in losers[0].reason
    for xid in ("s1", "s2"):
        service.abort(xid)

    plain = database.service()
    update = "UPDATE item SET value = 5 WHERE name = '{}'"
    answers = list(
        pool.map(
            lambda pair: plain.prepare(pair[0], update.format(pair[1]), sleep, update.format(pair[2])),
            [("d1", "p", "q"), ("d2", "q", "p")],
        )
    )
    losers = [answer for answer in answers if answer.vote == "no"]
    assert len(losers) == 1, answers
    assert losers[0].reason.startswith("retryable")
    assert "40P01" in losers[0].reason


def test_p15_outcomes_made_by_hand_are_detected_and_left_alone(database):
    """A DBA's COMMIT PREPARED against a decided abort is heuristic: reported, never repaired."""
    service = database.service()
    service.prepare("x", INSERT)
    database.execute("COMMIT PREPARED 'concordat:x:0'")
    refused = service.abort("x")
    assert (refused.status, refused.outcome) == (409, "committed")
    assert database.alarms() == [("x", "heuristic_outcome")]
    assert database.count() == 1
    assert service.commit("x").status == 200


def test_p16_connection_lost_during_prepare_is_resolved_by_looking(database, pool):
    """When the answer to PREPARE TRANSACTION is lost, the branch may be prepared: look, then vote."""
    service = database.service()
    assert service.prepare("warm", INSERT).vote == "yes"
    # A standby that does not exist holds PREPARE back after it became durable here.
    database.cluster.reload(synchronous_standby_names="nobody")
    try:
        vote = pool.submit(service.prepare, "x", INSERT)
        victims = (
            f"FROM pg_stat_activity WHERE datname = '{database.name}' "
            "AND wait_event = 'SyncRep' AND query LIKE 'PREPARE%'"
        )
        wait_until(lambda: database.execute(f"SELECT pid {victims}"), "PREPARE to wait")
        database.execute(f"SELECT pg_terminate_backend(pid) {victims}")
        assert vote.result().vote == "yes"
    finally:
        database.cluster.reload(synchronous_standby_names="")
    assert "concordat:x:0" in database.prepared()
    assert service.commit("x").status == 200
    assert database.count() == 1


def test_work_that_loses_its_connection_is_not_continued_outside_its_transaction(database):
    """A connection that came back by itself would commit the rest of the work at once, statement by statement."""
    service = database.service()
    answer = service.prepare(
        "x", {"swallow": "SELECT pg_terminate_backend(pg_backend_pid())"}, {"swallow": INSERT}
    )
    assert answer.vote != "yes"
    assert database.count() == 0
    assert database.prepared() == []


def test_work_that_throws_votes_no_for_ever(database):
    """An exception is a no with its text; the branch can never be prepared afterwards."""
    service = database.service()
    answer = service.prepare("x", INSERT, {"throw": "no such article"})
    assert (answer.vote, answer.reason) == ("no", "no such article")
    assert service.prepare("x", INSERT).vote == "no"
    assert database.count() == 0


def test_reason_that_is_no_text_still_leaves_a_tombstone(database):
    """A message in another encoding, with quotes and zero bytes, must not keep the no from being written."""
    service = database.service()
    answer = service.prepare("x", INSERT, {"throw_bytes": [39, 255, 0, 59, 195]})
    assert answer.vote == "no", answer
    assert database.execute("SELECT outcome FROM concordat_outcome") == [("aborted",)]
    assert service.prepare("x", INSERT).vote == "no"


def test_read_only_branch_holds_nothing(database):
    """A read-only branch takes no part in the second phase, so it must hold nothing and claim no outcome."""
    service = database.service()
    assert service.prepare("x", "SELECT 1", vote="read_only").vote == "read_only"
    assert database.prepared() == []
    assert database.execute("SELECT outcome FROM concordat_outcome") == [("read_only",)]
    assert service.state("x") == "unknown"
    assert [service.commit("x").status, service.abort("x").status] == [200, 200]


def test_read_only_vote_does_not_change_when_its_prepare_is_repeated(database):
    """A no after the vote has left would be taken for the outcome by peers of a transaction that commits."""
    one, other = database.service(), database.service()
    assert one.prepare("x", "SELECT 1", vote="read_only").vote == "read_only"
    assert other.prepare("x", "SELECT 1", vote="no").vote == "read_only"
    assert other.prepare("x", INSERT).vote == "read_only"
    assert other.state("x") == "unknown"
    assert database.prepared() == []
    assert database.count() == 0


def test_stale_epoch_is_refused_and_a_later_one_accepted(database):
    """A leader that was deposed must not get a vote from a branch that its successor has prepared."""
    one, other = database.service(), database.service()
    assert one.prepare("x", INSERT, epoch=7).vote == "yes"
    stale = other.prepare("x", INSERT, epoch=6)
    assert (stale.status, stale.vote) == (409, None)
    assert other.prepare("x", INSERT, epoch=8).vote == "yes"
    assert one.prepare("x", INSERT, epoch=7).status == 409
    assert one.commit("x").status == 200


def test_tombstone_survives_a_crash_although_the_role_commits_asynchronously(database):
    """An acknowledged abort must be durable whatever synchronous_commit the role defaults to."""
    database.execute(f"ALTER DATABASE {database.name} SET synchronous_commit = off")
    service = database.service()
    assert service.abort("x").status == 200
    database.cluster.kill()
    database.cluster.start()
    assert service.until_done(lambda: service.prepare("x", INSERT)).vote == "no"


def test_context_is_durable_with_the_vote(database):
    """Peers and capability are written without a flush of their own; the vote's flush must cover them."""
    service = database.service()
    service.prepare("x", INSERT, context={"capability": "secret", "participant": "me"})
    database.cluster.kill()
    database.cluster.start()
    rows = database.execute("SELECT context FROM concordat_branch WHERE xid = 'x'")
    assert len(rows) == 1
    assert "secret" in rows[0][0]
    service.until_done(lambda: service.commit("x"))


def test_one_phase_commit_is_idempotent_and_refuses_after_an_abort(database):
    """The only branch of a transaction decides by itself, once."""
    service = database.service()
    body = {"steps": [INSERT]}
    for _ in range(3):
        assert service.operation("commit-one-phase", "x", payload=body).outcome == "committed"
    assert database.count() == 1
    service.abort("y")
    assert service.operation("commit-one-phase", "y", payload=body).outcome == "aborted"
    failed = service.operation("commit-one-phase", "z", payload={"steps": [INSERT, {"throw": "no"}]})
    assert failed.outcome == "aborted"
    assert database.count() == 1


def test_one_phase_commit_that_runs_elsewhere_is_unknown_and_not_later(database, pool):
    """Told "nothing was done", the coordinator could abort what another replica is about to commit."""
    one, other = database.service(), database.service()
    body = {"steps": [INSERT, "SELECT pg_sleep(1)"]}
    running = pool.submit(one.operation, "commit-one-phase", "x", payload=body)
    wait_until(lambda: sleeping(database), "the work to run")
    assert other.operation("commit-one-phase", "x", payload=body).status == 500
    batch = {"xid": "y", "branch": 0, "operation": "commit-one-phase", "epoch": 1, "attempt": 1, "payload": body}
    answer = exchange(other.port, "POST", "/v1/branches:batch", {"operations": [batch]})
    assert answer.body["answers"][0]["status"] == 500, answer
    assert running.result().outcome == "committed"
    assert other.until_done(lambda: other.operation("commit-one-phase", "y", payload=body)).outcome == "committed"
    assert database.count() == 2


def test_batch_is_answered_although_one_of_its_branches_waits_for_another(database):
    """A prepare that waits for a row of its own batch must not hold back the vote that would free it."""
    database.execute("INSERT INTO item VALUES ('row', 1)")
    service = database.service(lock_timeout_ms=LONGER_THAN_ANY_CALL_MS)
    update = {"steps": ["UPDATE item SET value = value + 1 WHERE name = 'row'"]}
    operations = [
        {"xid": xid, "branch": 0, "operation": "prepare", "epoch": 1, "attempt": 1, "payload": update}
        for xid in ("x", "y")
    ]
    answer = exchange(service.port, "POST", "/v1/branches:batch", {"operations": operations})
    first = {one.get("vote") or one["status"] for one in answer.body["answers"]}
    assert 503 in first and first <= {"yes", 503}, answer

    def vote(xid):
        return service.prepare(xid, *update["steps"]).vote == "yes"

    done = wait_until(lambda: next((xid for xid in ("x", "y") if vote(xid)), None), "the first vote")
    waiting = "y" if done == "x" else "x"
    assert service.commit(done).status == 200
    wait_until(lambda: vote(waiting), "the second vote")
    assert service.commit(waiting).status == 200
    assert database.execute("SELECT value FROM item WHERE name = 'row'") == [(3,)]


def test_second_phase_is_not_kept_waiting_by_prepares_that_wait_for_its_locks(database, pool):
    """With every preparing thread blocked on one row, the commit that frees the row must still run."""
    database.execute("INSERT INTO item VALUES ('row', 1)")
    service = database.service(lock_timeout_ms=LONGER_THAN_ANY_CALL_MS)
    update = "UPDATE item SET value = value + 1 WHERE name = 'row'"
    service.prepare("first", update)
    waiting = {pool.submit(service.prepare, f"w{number}", update): f"w{number}" for number in range(12)}
    wait_until(
        lambda: database.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            f"AND datname = '{database.name}'"
        )[0][0] >= 8,
        "all preparing threads to wait",
    )
    assert service.commit("first").status == 200
    for one in as_completed(waiting):
        assert one.result().vote == "yes"
        assert service.commit(waiting[one]).status == 200
    assert database.execute("SELECT value FROM item WHERE name = 'row'") == [(14,)]
