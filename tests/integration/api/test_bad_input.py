"""Input that must be refused: with the right status, a problem document, and no effect."""

import socket

import pytest
from api_client import transaction

SUBMIT = "/v1/transactions"
BRANCH = {"participant": "nobody", "payload": 1}


def raw_call(api, data: bytes) -> bytes:
    """Sends bytes and reads until the server closes or has answered with Content-Length."""
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


@pytest.mark.parametrize(("body", "pointer"), [
    ({}, "/branches"),
    ({"branches": []}, "/branches"),
    ({"branches": {}}, "/branches"),
    ({"branches": [BRANCH], "protocol": "4pc"}, "/protocol"),
    ({"branches": [BRANCH], "protocol": 2}, "/protocol"),
    ({"branches": [BRANCH], "timeout": "soon"}, "/timeout"),
    ({"branches": [BRANCH], "timeout": 5}, "/timeout"),
    ({"branches": [BRANCH], "surprise": True}, "/surprise"),
    ({"branches": [{"participant": "nobody"}]}, "/branches/0/payload"),
    ({"branches": [{"payload": 1}]}, "/branches/0/participant"),
    ({"branches": [{**BRANCH, "participant": "No Body"}]}, "/branches/0/participant"),
    ({"branches": [{**BRANCH, "url": "http://elsewhere"}]}, "/branches/0/url"),
    ({"branches": [BRANCH], "metadata": {"k": 1}}, "/metadata/k"),
    ({"branches": [BRANCH], "wait_for": "ever"}, "/wait_for"),
])
def test_wrong_submissions_name_the_place(api, body, pointer):
    """Every mistake is told with a JSON pointer."""
    problem = api.problem("POST", SUBMIT, 400, "invalid-request", body)
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert problem["effect"] == "none"


@pytest.mark.parametrize("text", [
    b"", b"{", b"[]", b"nul", b'{"branches":[}', b'{"a":1,"a":2}', b'{"branches":[]} x', b"\xff\xfe", b"[" * 5000,
    b'{"branches":[{"participant":"a","payload":"\\ud800"}]}'])
def test_malformed_json_is_refused(api, text):
    """What is not JSON is 400, never 500, and never accepted in part."""
    head = f"POST {SUBMIT} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(text)}\r\n\r\n"
    received = raw_call(api, head.encode() + text)
    assert received.startswith(b"HTTP/1.1 400 "), received
    assert b"application/problem+json" in received and b'"code":"invalid-request"' in received


@pytest.mark.parametrize(("method", "target", "status", "code"), [
    ("GET", "/v2/transactions", 404, "route-not-found"),
    ("GET", "/v1/transactions/", 404, "route-not-found"),
    ("PATCH", "/v1/transactions", 405, "method-not-allowed"),
    ("GET", "/v1/transactions/no%20xid", 400, "invalid-request"),
    ("GET", "/v1/transactions/" + "x" * 65, 400, "invalid-request"),
    ("GET", "/v1/transactions/never-seen", 404, "transaction-not-found"),
    ("POST", "/v1/transactions/never-seen/commit", 404, "transaction-not-found"),
    ("POST", "/v1/transactions/never-seen/retry", 404, "transaction-not-found"),
    ("GET", "/v1/transactions?limit=0", 400, "invalid-request"),
    ("GET", "/v1/transactions?limit=201", 400, "invalid-request"),
    ("GET", "/v1/transactions?colour=red", 400, "invalid-request"),
    ("GET", "/v1/transactions?cursor=made-up", 400, "invalid-request"),
    ("GET", "/v1/transactions/x?consistency=eventual", 400, "invalid-request"),
    ("GET", "/v1/inquiry/x?force=true", 400, "invalid-request"),
    ("GET", "/v1/participants/nobody", 404, "participant-not-found"),
    ("DELETE", "/v1/participants/nobody", 404, "participant-not-found"),
    ("GET", "/v1/participants/NOBODY", 400, "invalid-request"),
])
def test_wrong_requests(api, method, target, status, code):
    """Paths, methods and parameters are checked strictly."""
    api.problem(method, target, status, code)


def test_unknown_participant(api):
    """Clients name registered participants only."""
    problem = api.problem("POST", SUBMIT, 422, "unknown-participant", {"branches": [BRANCH, BRANCH]})
    assert "nobody" in problem["detail"]


def test_too_many_branches(api, make_participant):
    """65 branches are refused, 64 are taken."""
    one = make_participant()
    api.problem("POST", SUBMIT, 422, "too-many-branches", transaction(*[one] * 65))
    assert api("POST", SUBMIT, transaction(*[one] * 64)).json["outcome"] == "committed"


def test_wrong_content_type(api):
    """Text is not JSON, whatever its bytes."""
    body = b'{"branches":[]}'
    head = (f"POST {SUBMIT} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {len(body)}\r\n\r\n")
    assert b" 415 " in raw_call(api, head.encode() + body).split(b"\r\n")[0]


def test_oversized_body(api):
    """A body above the limit is 413 before it is read."""
    head = f"POST {SUBMIT} HTTP/1.1\r\nHost: a\r\nContent-Length: {10 << 20}\r\n\r\n"
    received = raw_call(api, head.encode())
    assert received.startswith(b"HTTP/1.1 413 "), received
    assert b'"code":"payload-too-large"' in received


def test_oversized_header(api):
    """A header above the limit is 431."""
    received = raw_call(api, b"GET /livez HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9000 + b"\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 431 "), received
    assert b'"code":"header-too-large"' in received


@pytest.mark.parametrize("head", [
    b"GET /livez HTTP/1.1\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    b"POST /v1/transactions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /v1/transactions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    b"POST /v1/transactions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n",
    b"NONSENSE\r\n\r\n",
])
def test_ambiguous_framing(api, head):
    """Whatever another server on the way could read differently is 400 and the end of the connection."""
    received = raw_call(api, head)
    assert received.startswith(b"HTTP/1.1 400 "), received
    assert received.count(b"HTTP/1.1 ") == 1


def test_bad_idempotency_key(api, make_participant):
    """A key that could not be kept is refused instead of ignored."""
    one = make_participant()
    problem = api.problem("POST", SUBMIT, 400, "invalid-request", transaction(one, one),
                          {"Idempotency-Key": "x" * 256})
    assert problem["errors"][0]["header"] == "Idempotency-Key"


@pytest.mark.parametrize("definition", [
    {}, {"base_url": "orders"}, {"base_url": "ftp://orders"}, {"base_url": "http://user@orders"},
    {"base_url": "http://orders", "call_timeout": "1y"}, {"base_url": "http://orders", "max_concurrent_calls": 0},
    {"base_url": "http://orders", "nickname": "o"}])
def test_bad_registrations(api, definition):
    """A registration is checked before anybody depends on it."""
    api.problem("PUT", "/v1/participants/bad-one", 400, "invalid-request", definition)
