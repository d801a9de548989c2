"""The whole coordinator group is killed: what quorum 3PC and two-phase commit do then, with real processes.

The termination time-out is RecoveryOptions::grace + RecoveryOptions::interval: after it every branch whose
coordinators are silent has been taken up by its participant. CONCORDAT_IN_FLIGHT sets how many transactions are in
doubt when the group is killed.
"""

import os
import time

import pytest
from postgres import PostgresCluster
from stack import metric, wait_until
from three_phase_stage import Stage, Watch, percentile

IN_FLIGHT = int(os.environ.get("CONCORDAT_IN_FLIGHT", "1000"))
# More than the SDK's defaults of 5 s and 1 s, because a thousand ballots on a machine that is busy with other things
# take their time: a server with 1,000 prepared transactions reads all of them to look one up.
GRACE_MS, INTERVAL_MS = 8000, 1000
QUICK = {"grace_ms": 1500, "interval_ms": 500}
PREPARED, RESERVED = "prepared", "reservation"


@pytest.fixture(scope="module")
def postgres():
    """One server; what kill -9 of other processes takes away does not depend on its fsync."""
    with PostgresCluster(max_prepared_transactions=2 * IN_FLIGHT + 200, settings={"fsync": "off"}) as server:
        yield server


@pytest.fixture
def make_stage(tmp_path, postgres):
    stages = []

    def make(styles, **recovery):
        stages.append(Stage(tmp_path, postgres, styles, **recovery))
        return stages[-1]

    yield make
    for stage in stages:
        stage.close()


def xids_of(prefix, count):
    return [f"{prefix}-{number}" for number in range(count)]


def decided_so_far(stage):
    return metric(stage.group.wait_for_leader().url, "concordat_transactions_decided_total") or 0


def report(what, ordered, timeout):
    print(f"{what}: {len(ordered)} of {len(ordered)} decided; seconds from kill to decision: "
          f"p50 {percentile(ordered, 0.5):.2f}, p99 {percentile(ordered, 0.99):.2f}, max {ordered[-1]:.2f}; "
          f"termination time-out {timeout:.2f}")


@pytest.mark.timeout(300)
def test_participants_decide_when_the_whole_group_is_killed(make_stage):
    """Every transaction in flight must be decided, alike everywhere, within twice the termination time-out, and the
    group must come back to the outcomes that were reached."""
    stage = make_stage([PREPARED, RESERVED, RESERVED], grace_ms=GRACE_MS, interval_ms=INTERVAL_MS)
    timeout = (GRACE_MS + INTERVAL_MS) / 1000
    xids = xids_of("flight", IN_FLIGHT * 12 // 10)
    with stage.closed_gate() as open_gate:
        stage.begin(xids)
        stage.wait_for_votes(xids)
        open_gate()
        wait_until(lambda: decided_so_far(stage) >= IN_FLIGHT // 10, "the first decisions",
                   explain=stage.group.log_tails)
        killed = stage.kill_group()
    watch = Watch(stage, [0, 1, 2])
    accepted = [stage.accepted(number) for number in range(3)]
    ended = watch.wait_until_empty(60)
    watch.stop()
    assert len(watch.at_first) >= IN_FLIGHT, "too few were in doubt when the group was killed"
    assert ended, f"in doubt for ever: {[len(stage.in_doubt(number)) for number in range(3)]}"
    durations = watch.durations(killed)
    report(f"group killed with {len(watch.at_first)} transactions in doubt, PRE-COMMIT accepted by {accepted}",
           durations, timeout)
    applied = stage.applied_alike()
    assert durations[-1] <= 2 * timeout

    stage.revive_group()
    views = stage.told_when_known(watch.at_first, "flight")
    wrong = [xid for xid, view in views.items() if (view["outcome"] == "committed") != (xid in applied)]
    assert wrong == [], "the group tells another outcome than the participants reached"
    print(f"the group came back and tells {len(views)} outcomes, {len(applied)} of them commits")
    for xid in [*sorted(watch.at_first)[:10], *sorted(applied & watch.at_first)[:10]]:
        again = stage.submit(xid)
        assert (again.status, again.member("outcome")) == (200, "committed" if xid in applied else "aborted")


@pytest.mark.timeout(180)
def test_a_quorum_decides_and_a_minority_waits(make_stage):
    """Q10: two of three participants go on without the third, one of three stays prepared and raises its alarm; both
    heal when the dead return."""
    stage = make_stage([PREPARED, PREPARED, PREPARED], alarm_age_ms=3000, **QUICK)
    timeout = (QUICK["grace_ms"] + QUICK["interval_ms"]) / 1000
    xids = xids_of("quorum", 30)
    with stage.closed_gate() as open_gate:
        stage.begin(xids)
        stage.wait_for_votes(xids)
        killed = stage.kill_group()
        stage.services[2].kill()
        open_gate()
    watch = Watch(stage, [0, 1])
    assert watch.wait_until_empty(60), "a quorum must decide"
    watch.stop()
    report("group and one participant of three killed", watch.durations(killed), timeout)
    assert stage.applied(0) == stage.applied(1)
    stage.services[2].start()
    wait_until(lambda: not stage.in_doubt(2), "the third participant to end")
    stage.applied_alike()
    stage.revive_group()
    stage.told_when_known(set(xids), "quorum")

    few = xids_of("minority", 10)
    with stage.closed_gate() as open_gate:
        stage.begin(few)
        stage.wait_for_votes(few)
        stage.kill_group()
        stage.services[1].kill()
        stage.services[2].kill()
        open_gate()
    alone = time.monotonic()
    wait_until(lambda: len(stage.alarms(0, "in_doubt_too_long")) > 2 * len(few), "its alarms, look after look")
    assert time.monotonic() - alone > timeout
    assert stage.in_doubt(0) == set(few), "a minority must decide nothing"
    stage.services[1].start()
    wait_until(lambda: not stage.in_doubt(0) and not stage.in_doubt(1), "a quorum to decide")
    stage.services[2].start()
    wait_until(lambda: not stage.in_doubt(2), "the third participant to end")
    stage.applied_alike()


@pytest.mark.timeout(180)
def test_two_phase_participants_ask_each_other_and_never_guess(make_stage):
    """Without the group one informed peer is enough for all; when all are uncertain they wait, and finish with it."""
    stage = make_stage([PREPARED, PREPARED, PREPARED], alarm_age_ms=3000, **QUICK)
    known = xids_of("known", 5)
    with stage.closed_gate() as open_gate:
        stage.begin(known, "2pc")
        stage.wait_for_votes(known)
        stage.services[0].kill()
        stage.services[1].kill()
        open_gate()
        wait_until(lambda: stage.applied(2) == set(known), "the last voter to be told to commit")
        stage.kill_group()
    for number in (0, 1):
        assert stage.in_doubt(number) == set(known)
        stage.services[number].start()
    for number in (0, 1):
        wait_until(lambda number=number: not stage.in_doubt(number), "the others to learn it from their peer")
    assert stage.applied_alike() == set(known)

    stage.revive_group()
    uncertain = xids_of("uncertain", 5)
    with stage.closed_gate() as open_gate:
        stage.begin(uncertain, "2pc")
        stage.wait_for_votes(uncertain)
        stage.kill_group()
        open_gate()
        wait_until(lambda: stage.in_doubt(2) == set(uncertain), "the last vote, which nobody hears")
    wait_until(lambda: all(len(stage.alarms(number, "in_doubt_too_long")) > len(uncertain) for number in range(3)),
               "every one's alarms")
    assert [stage.in_doubt(number) for number in range(3)] == [set(uncertain)] * 3
    stage.revive_group()
    for number in range(3):
        wait_until(lambda number=number: not stage.in_doubt(number), "the group to finish it")
    assert stage.applied_alike() == {*known, *uncertain}


OPERATIONS = ("prepare", "pre_commit", "commit", "abort", "commit_one_phase", "learn")


def counters(leader, decided):
    """Cumulative calls by operation, log entries, and fsyncs of the leader, once it has counted all decisions."""
    wait_until(lambda: metric(leader.url, "concordat_transactions_decided_total") == decided
               and metric(leader.url, "concordat_transactions_in_flight") == 0, "the figures to be published")
    calls = {name: metric(leader.url, f'concordat_branch_calls_total{{operation="{name}"}}') or 0
             for name in OPERATIONS}
    return {**calls, "log entries": metric(leader.url, "concordat_raft_last_index"),
            "fsyncs": metric(leader.url, "concordat_log_fsyncs_total")}


def test_three_phases_cost_one_more_round_and_one_more_entry(make_stage):
    """3PC costs PRE-COMMIT to each participant and the entry PRECOMMIT more than 2PC, and nothing else."""
    stage = make_stage([PREPARED, PREPARED, PREPARED])
    leader = stage.group.wait_for_leader()
    count, decided = 20, 1
    cost = {}
    assert stage.submit("first", "2pc", wait_for="completion").status == 200
    for protocol in ("2pc", "3pc"):
        # Alone and to the end, so that no entry is shared with another transaction.
        before = counters(leader, decided)
        decided += count
        for xid in xids_of(protocol, count):
            done = stage.submit(xid, protocol, wait_for="completion")
            assert (done.status, done.member("state")) == (200, "committed"), done
        after = counters(leader, decided)
        cost[protocol] = {name: (after[name] - before[name]) / count for name in after}
    print(f"{'per transaction':<18}{'2pc':>8}{'3pc':>8}")
    for name in cost["2pc"]:
        print(f"{name:<18}{cost['2pc'][name]:>8.2f}{cost['3pc'][name]:>8.2f}")
    assert leader.is_serving_leader()
    two, three = cost["2pc"], cost["3pc"]
    assert (two["prepare"], two["pre_commit"], two["commit"]) == (3, 0, 3)
    assert (three["prepare"], three["pre_commit"], three["commit"]) == (3, 3, 3)
    assert (two["log entries"], three["log entries"]) == (3, 4)
    assert three["fsyncs"] - two["fsyncs"] < 1.5
    for protocol in cost.values():
        assert protocol["abort"] == protocol["commit_one_phase"] == protocol["learn"] == 0
