"""Three nodes: any of them takes any request, and says plainly when it cannot."""

from api_client import Api, transaction
from stack import call, wait_until


def nodes(three_nodes, specification):
    leader = three_nodes.wait_for_leader()
    follower = three_nodes.follower()
    return leader, Api(leader.url, specification), Api(follower.url, specification)


def test_follower_forwards(three_nodes, specification, make_participant, xid):
    """A submission at a follower is decided by the leader and answered through the follower."""
    _, leader, follower = nodes(three_nodes, specification)
    one, two = make_participant(three_nodes), make_participant(three_nodes)
    got = follower("PUT", f"/v1/transactions/{xid}", transaction(one, two, wait_for="completion"))
    assert (got.status, got.json["outcome"]) == (200, "committed")
    assert got.headers["etag"]
    assert follower("GET", f"/v1/transactions/{xid}").json == leader("GET", f"/v1/transactions/{xid}").json
    assert follower("GET", f"/v1/inquiry/{xid}").json["outcome"] == "committed"


def test_problems_pass_through_a_follower(three_nodes, specification):
    """A refusal by the leader reaches the client as the leader wrote it."""
    _, _, follower = nodes(three_nodes, specification)
    follower.problem("GET", "/v1/transactions/never-seen", 404, "transaction-not-found")


def test_forwarded_request_is_not_forwarded_again(three_nodes, specification):
    """One hop only: a node that is not the leader refuses a forwarded request."""
    _, _, follower = nodes(three_nodes, specification)
    follower.problem("GET", "/v1/transactions/never-seen", 503, "no-leader",
                     headers={"Concordat-Forwarded": "9"})


def test_stale_read_is_answered_by_the_replica(three_nodes, specification, make_participant, xid):
    """consistency=stale needs no leader: the replica answers from its own state."""
    _, leader, follower = nodes(three_nodes, specification)
    one, two = make_participant(three_nodes), make_participant(three_nodes)
    leader("PUT", f"/v1/transactions/{xid}", transaction(one, two))
    wait_until(lambda: follower("GET", f"/v1/transactions/{xid}?consistency=stale",
                                headers={"Concordat-Forwarded": "9"}).status == 200, "the replica has applied it")


def test_leadership_is_handed_over(three_nodes, specification):
    """A transfer through a follower makes the named node leader."""
    leader, _, follower = nodes(three_nodes, specification)
    target = next(node for node in three_nodes.nodes if node is not leader)
    assert follower("POST", "/v1/cluster/transfer", {"to": target.number, "reason": "test"}).status == 202
    wait_until(lambda: three_nodes.leader() is target, "the named node leads", explain=three_nodes.log_tails)


def test_transfer_to_nobody_is_refused(three_nodes, specification):
    """An id that is no node is a mistake of the request."""
    _, leader, _ = nodes(three_nodes, specification)
    leader.problem("POST", "/v1/cluster/transfer", 400, "invalid-request", {"to": 99})


def test_single_node_has_nobody_to_hand_over_to(api):
    """A transfer in a cluster of one is refused, not ignored."""
    api.problem("POST", "/v1/cluster/transfer", 409, "transfer-refused", {})


def test_views_of_the_cluster(three_nodes, specification):
    """Every node tells the same leader, and only one says that it serves."""
    leader, _, _ = nodes(three_nodes, specification)
    views = [Api(node.url, specification)("GET", "/v1/cluster").json for node in three_nodes.nodes]
    assert {view["leader_id"] for view in views} == {leader.number}
    assert sum(view["serving"] for view in views) == 1
    assert all(len(view["nodes"]) == 3 for view in views)


def test_health_and_metrics(api):
    """Health answers are described; metrics count what was asked."""
    assert api("GET", "/livez").json == {"status": "alive"}
    assert api("GET", "/readyz").json == {"status": "ready"}
    text = call("GET", f"{api.url}/metrics").text
    assert 'concordat_http_responses_total{route="/livez",method="GET",code="200"}' in text


def test_without_quorum_work_is_refused_quickly(tmp_path, specification, make_participant, xid):
    """Two of three nodes gone: 503 with Retry-After, and work goes on when one is back."""
    from stack import Cluster

    with Cluster(3, tmp_path, {"log.election_timeout": "300ms", "log.heartbeat_interval": "30ms"}) as three:
        three.start()
        one, two = make_participant(three), make_participant(three)
        survivor = three.wait_for_leader()
        others = [node for node in three.nodes if node is not survivor]
        for node in others:
            node.kill()
        api = Api(survivor.url, specification)
        target = f"/v1/transactions/{xid}"

        def refused():
            got = api("PUT", target, transaction(one, two), {"Prefer": "wait=1"})
            assert got.status in (202, 503, 504), got.text
            return got.status == 503 and got.member("code") in ("no-leader", "no-quorum")

        wait_until(refused, "the survivor refuses work", explain=three.log_tails)
        others[0].start()
        wait_until(lambda: api("PUT", target, transaction(one, two)).member("outcome") == "committed",
                   "work goes on", explain=three.log_tails)


def test_drained_node_is_not_ready(tmp_path, specification):
    """A drained node says so on /readyz and stays alive."""
    from stack import Cluster

    with Cluster(1, tmp_path) as one:
        one.start()
        api = Api(one.nodes[0].url, specification)
        assert api("POST", "/v1/node/drain", {"reason": "test"}).json["draining"] is True
        assert api.problem("GET", "/readyz", 503, "not-ready")["retryable"] is True
        assert api("GET", "/livez").status == 200
