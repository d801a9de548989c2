"""Route × role: what openapi.yaml says in x-roles is what the node enforces."""

import hashlib
import http.client

import pytest
from openapi import Specification
from stack import Cluster, StackFailure

ROLES = ("client", "participant", "operator", "viewer")
SPECIFICATION = Specification()


def operations():
    """(method, path, roles, or None for routes without credentials), the one that drains the node last."""
    found = [(method.upper(), path, operation.get("x-roles"))
             for path, item in SPECIFICATION.document["paths"].items() for method, operation in item.items()]
    return sorted(found, key=lambda one: one[1] == "/v1/node/drain")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A node with one token for each role, named like the role."""
    folder = tmp_path_factory.mktemp("access")
    access = folder / "callers"
    access.write_text("# test callers\n" + "".join(
        f"token {role} {role} {hashlib.sha256(role.encode()).hexdigest()}\n" for role in ROLES))
    with Cluster(1, folder, {"api.access_file": str(access)}) as cluster:
        node = cluster.nodes[0]
        node.start()
        node.wait_until_ready()
        yield node


def status_of(node, method, path, token):
    """Only the status: the body of an event stream has no end."""
    connection = http.client.HTTPConnection(node.url.removeprefix("http://"), timeout=30)
    headers = {"Prefer": "wait=0"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        target = path.replace("{xid}", "never-seen").replace("{name}", "never-seen")
        connection.request(method, target, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(("method", "path", "roles"), operations())
def test_every_route_for_every_role(guarded, method, path, roles):
    """A role outside the list gets 403, nobody and a wrong token get 401, the others get past the door."""
    if roles is None:
        assert status_of(guarded, method, path, None) == 200
        return
    assert status_of(guarded, method, path, None) == 401
    assert status_of(guarded, method, path, "wrong") == 401
    for role in ROLES:
        status = status_of(guarded, method, path, role)
        if role in roles:
            assert status not in (401, 403), role
        else:
            assert status == 403, role


@pytest.mark.parametrize(("text", "reason"), [
    ("token king shop 00\n", "line 1"), ("# nobody\n", "names no caller"), (None, "cannot be read")])
def test_unusable_access_file_stops_the_start(tmp_path, text, reason):
    """A node never starts with an access file that it cannot follow."""
    access = tmp_path / "callers"
    if text is not None:
        access.write_text(text)
    with Cluster(1, tmp_path, {"api.access_file": str(access)}) as cluster:
        cluster.nodes[0].start()
        with pytest.raises(StackFailure):
            cluster.nodes[0].wait_until_ready()
        assert reason in cluster.nodes[0].log_text()


def test_tokens_stay_out_of_the_log(guarded):
    """What callers send as credentials is nowhere in the log."""
    canary = "canary-7f3a91"
    assert status_of(guarded, "GET", "/v1/cluster", canary) == 401
    assert canary not in guarded.log_text()
