"""The leader dies or stops for a while: what was promised holds, what was in flight is finished by the next one."""

from clients import ABORTING, COMMITTING, Background, outcome_at, settle, submit, wait_for_outcome
from stack import call, metric, wait_until

IN_FLIGHT = 20


def start_in_flight(cluster, witness, prefix, node):
    """Transactions whose prepares are held at the witness, submitted to one node."""
    witness.hold()
    already = witness.waiting()
    position = cluster.nodes.index(node)
    clients = [Background(cluster, f"{prefix}-{number}", COMMITTING, position) for number in range(IN_FLIGHT)]
    wait_until(lambda: witness.waiting() >= already + 2 * IN_FLIGHT, "all prepares have arrived",
               explain=cluster.log_tails)
    return clients


def another_leader(cluster, old):
    def other():
        serving = [node for node in cluster.nodes if node is not old and node.is_serving_leader()]
        return serving[0] if serving else None

    return wait_until(other, f"another leader than {old.name}", explain=cluster.log_tails)


def test_transactions_in_flight_are_decided_when_the_leader_is_killed(make_cluster, witness):
    """C2, C3: prepares are out and nothing is decided when the leader dies; the next leader resumes, none aborts."""
    cluster = make_cluster(3)
    leader = cluster.wait_for_leader()
    clients = start_in_flight(cluster, witness, "inflight", leader)
    leader.kill()
    another_leader(cluster, leader)
    witness.release()
    assert [client.result() for client in clients] == ["committed"] * IN_FLIGHT
    settle(cluster, witness)
    leader.start()
    leader.wait_until_ready()
    for client in clients:
        wait_for_outcome(leader.url, client.xid, "committed", cluster, stale=True)


def test_a_paused_leader_does_no_harm_when_it_wakes_up(make_cluster, witness):
    """C10: a leader that is stopped for longer than an election wakes up, and everything it still sends is harmless."""
    cluster = make_cluster(3)
    leader = cluster.wait_for_leader()
    clients = start_in_flight(cluster, witness, "paused", leader)
    leader.pause()
    another_leader(cluster, leader)
    leader.resume()
    # The held answers now reach both: the old leader, as answers to its own calls, and the new one.
    witness.release()
    outcomes = {client.xid: client.result() for client in clients}
    assert set(outcomes.values()) == {"committed"}
    assert submit(cluster, "afterwards", ABORTING, cluster.nodes.index(leader)) == "aborted"
    settle(cluster, witness)
    wait_until(lambda: metric(leader.url, "concordat_serving") == 0 or leader is cluster.leader(),
               "the old leader knows its place", explain=cluster.log_tails)
    for xid, outcome in outcomes.items():
        assert {outcome_at(node.url, xid) for node in cluster.nodes} == {outcome}


def test_a_paused_leader_never_answers_from_its_own_past(make_cluster, witness):
    """C11, I8: a transaction decided by the successor is never unknown at the old leader once that wakes up."""
    cluster = make_cluster(3)
    leader = cluster.wait_for_leader()
    leader.pause()
    successor = another_leader(cluster, leader)
    assert submit(cluster, "new", COMMITTING, cluster.nodes.index(successor)) == "committed"
    leader.resume()
    first = wait_until(
        lambda: (answer := call("GET", f"{leader.url}/v1/transactions/new", timeout=10)).status in (200, 404) and answer,
        "the old leader answers a read", explain=cluster.log_tails)
    assert first.status == 200, f"a linearizable read missed an acknowledged transaction: {first.text}"
    assert first.json["outcome"] == "committed"


def test_work_goes_on_when_a_follower_is_killed(make_cluster):
    """One of three nodes is gone: transactions commit, and the node has all of them after its return."""
    cluster = make_cluster(3)
    follower = cluster.follower()
    follower.kill()
    for number in range(10):
        assert submit(cluster, f"without-{number}", COMMITTING) == "committed"
    follower.start()
    follower.wait_until_ready()
    for number in range(10):
        wait_for_outcome(follower.url, f"without-{number}", "committed", cluster, stale=True)


def test_no_acknowledged_decision_is_lost_when_all_nodes_are_killed(make_cluster, witness):
    """C7, I3: every node dies at once; what a client was told is still so, and branches in doubt are resolved."""
    cluster = make_cluster(3)
    told = {f"before-{number}": submit(cluster, f"before-{number}", COMMITTING if number % 3 else ABORTING)
            for number in range(12)}
    clients = start_in_flight(cluster, witness, "between", cluster.wait_for_leader())
    for node in cluster.nodes:
        node.kill()
    witness.release()
    cluster.restart_the_dead()
    cluster.wait_for_leader()
    for xid, outcome in told.items():
        wait_for_outcome(cluster.nodes[0].url, xid, outcome, cluster)
    for client in clients:
        assert client.result() in ("committed", "aborted")
    settle(cluster, witness)
