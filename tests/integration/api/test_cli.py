"""The command line: data on stdout, talk on stderr, exit codes that scripts can rely on."""

import json
import socket
import subprocess
import threading

import pytest
from api_client import transaction
from fake_participant import answer, hang
from stack import free_ports, program, wait_until

OK, REFUSED, USAGE, UNREACHABLE, NOT_FOUND, CONFLICT, OUTCOME_UNKNOWN, UNHEALTHY = range(8)


@pytest.fixture
def concordat(cluster):
    """concordat(*arguments): runs the command against the node."""

    def run(*arguments, server=None, text=None):
        command = [str(program("concordat")), "--server", server or cluster.nodes[0].url, *map(str, arguments)]
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=90, check=False)

    return run


def branch(participant):
    return f'--branch={participant.name}={{"n": 1}}'


def test_submit_get_list(concordat, make_participant, xid):
    """A transaction from the command line and back, as a table and as JSON."""
    one, two = make_participant(), make_participant()
    done = concordat("txn", "submit", "--xid", xid, branch(one), branch(two))
    assert done.returncode == OK, done.stderr
    assert "committed" in done.stdout and done.stderr == ""
    shown = concordat("-o", "json", "txn", "get", xid)
    assert json.loads(shown.stdout)["outcome"] == "committed"
    listed = concordat("txn", "list", "--xid-prefix", xid)
    assert listed.stdout.splitlines()[0].startswith("XID") and xid in listed.stdout


def test_submit_from_a_file(concordat, make_participant, tmp_path):
    """The body may come from a file or from standard input."""
    one, two = make_participant(), make_participant()
    text = json.dumps(transaction(one, two))
    file = tmp_path / "body.json"
    file.write_text(text)
    assert concordat("txn", "submit", file).returncode == OK
    assert concordat("txn", "submit", "-", text=text).returncode == OK
    assert concordat("txn", "submit", tmp_path / "missing.json").returncode == USAGE


def test_aborted_is_exit_code_1(concordat, make_participant):
    """An aborted transaction is no success, and the reason is on stderr."""
    one, two = make_participant(), make_participant()
    one.script("prepare", answer(200, vote="no", reason="out of stock"))
    done = concordat("txn", "submit", branch(one), branch(two))
    assert done.returncode == REFUSED
    assert "out of stock" in done.stderr


def test_undecided_is_exit_code_6_and_can_be_watched(concordat, make_participant, xid):
    """What is not decided in time is unknown, not failed; watch follows it to its end."""
    slow, other = make_participant(call_timeout="20s"), make_participant()
    slow.script("prepare", hang())
    done = concordat("txn", "submit", "--xid", xid, "--wait", "1", "--txn-timeout", "3s", branch(slow), branch(other))
    assert done.returncode == OUTCOME_UNKNOWN
    assert f"txn watch {xid}" in done.stderr
    slow.script("abort", answer(200, outcome="aborted"))
    watched = concordat("txn", "watch", xid)
    assert watched.returncode == REFUSED
    assert watched.stdout.strip().endswith("aborted")


@pytest.mark.parametrize(("arguments", "code"), [
    ((), USAGE),
    (("txn", "frobnicate"), USAGE),
    (("txn", "get"), USAGE),
    (("txn", "submit"), USAGE),
    (("txn", "submit", "--branch", "nonsense"), USAGE),
    (("-o", "xml", "txn", "list"), USAGE),
    (("outbox",), USAGE),
    (("outbox", "drop"), USAGE),
    (("inbox", "status"), USAGE),
    (("--curl", "inbox", "status", "--database", "dbname=none"), USAGE),
    (("txn", "get", "never-seen"), NOT_FOUND),
    (("txn", "retry", "never-seen"), NOT_FOUND),
    (("txn", "submit", "--branch", "nobody=1"), REFUSED),
    (("txn", "submit", "--branch", "nobody={"), REFUSED),
    (("cluster", "transfer", "--yes", "--reason", "test"), CONFLICT),
    (("participant", "list"), OK),
    (("cluster", "status"), OK),
    (("--help",), OK),
    (("--version",), OK),
])
def test_exit_codes(concordat, arguments, code):
    """Every class of failure has its code."""
    done = concordat(*arguments)
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize("arguments", [
    ("txn", "abort", "some-xid"), ("participant", "remove", "some-name"), ("cluster", "transfer"), ("node", "drain")])
def test_dangerous_verbs_need_consent(concordat, arguments):
    """Without --yes or without --reason nothing is sent."""
    assert concordat(*arguments, "--yes").returncode == USAGE
    assert concordat(*arguments, "--reason", "because").returncode == USAGE


def test_unreachable_and_fall_back(concordat, cluster):
    """No server is exit code 3; a second server is asked when the first is gone."""
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
    assert concordat("txn", "list", server=nowhere).returncode == UNREACHABLE
    assert concordat("--server", cluster.nodes[0].url, "txn", "list", server=nowhere).returncode == OK


def test_abort_by_an_operator(concordat, api, make_participant, xid):
    """An operator's abort decides and is shown with its reason."""
    slow, other = make_participant(call_timeout="20s"), make_participant()
    slow.script("prepare", hang())
    api("PUT", f"/v1/transactions/{xid}", transaction(slow, other), {"Prefer": "respond-async"})
    done = concordat("txn", "abort", xid, "--yes", "--reason", "stuck in a test")
    assert done.returncode == OK, done.stderr
    assert api("GET", f"/v1/transactions/{xid}").json["reason"] == "operator_aborted"
    finished = api("PUT", f"/v1/transactions/{xid}-2", transaction(other, other))
    assert finished.json["outcome"] == "committed"
    assert concordat("txn", "abort", f"{xid}-2", "--yes", "--reason", "too late").returncode == CONFLICT


def test_participants(concordat, make_participant):
    """A registration is set, listed and removed."""
    one = make_participant()
    assert concordat("participant", "set", f"{one.name}-x", "--url", one.url, "--call-timeout", "3s").returncode == OK
    listed = concordat("-o", "json", "participant", "list")
    entry = next(item for item in json.loads(listed.stdout)["participants"] if item["name"] == f"{one.name}-x")
    assert (entry["base_url"], entry["call_timeout"]) == (one.url, "3s")
    assert concordat("participant", "remove", f"{one.name}-x", "--yes", "--reason", "test").returncode == OK
    assert concordat("participant", "set", "x", "--url", "nonsense").returncode == REFUSED


def test_retry_makes_waiting_calls_due(concordat, api, make_participant, xid):
    """txn retry: a call that would wait for a minute is made now."""
    busy, other = make_participant(), make_participant()
    busy.script("commit", answer(503, retry_after_ms=60000), answer(200, outcome="committed"))
    api("PUT", f"/v1/transactions/{xid}", transaction(busy, other))
    wait_until(lambda: busy.of(xid, "commit"), "the first commit call")
    assert concordat("txn", "retry", xid, "--reason", "it is back").returncode == OK
    wait_until(lambda: api("GET", f"/v1/transactions/{xid}").json["state"] == "committed", "it is finished", 20)


def test_curl_prints_the_request(concordat, make_participant, xid):
    """--curl sends nothing and prints what a shell can run."""
    one, two = make_participant(), make_participant()
    printed = concordat("--curl", "txn", "submit", "--xid", xid, branch(one), branch(two))
    assert printed.returncode == OK
    assert not one.calls
    ran = subprocess.run(["bash", "-c", printed.stdout], capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(ran.stdout)["outcome"] == "committed"


def test_selftest(concordat):
    """selftest runs the write path; against nobody it says so."""
    done = concordat("selftest")
    assert done.returncode == OK, done.stdout + done.stderr
    assert "write" in done.stdout and "FAILED" not in done.stdout
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
    assert concordat("selftest", server=nowhere).returncode == UNREACHABLE


def test_drain_takes_one_node_out(concordat, tmp_path):
    """node drain works on exactly one server, which is not ready afterwards."""
    from stack import Cluster, call

    with Cluster(1, tmp_path) as one:
        one.start()
        url = one.nodes[0].url
        assert concordat("--server", url, "node", "drain", "--yes", "--reason", "test").returncode == USAGE
        done = concordat("node", "drain", "--yes", "--reason", "test", server=url)
        assert done.returncode == OK, done.stderr
        assert call("GET", f"{url}/readyz").status == 503


@pytest.mark.parametrize(("typed", "offered"), [
    (("txn", "su"), "submit"), (("outbox", "sk"), "skip"), (("outbox", "dead", "dr"), "drop"),
    (("inbox", "status", "--da"), "--database")])
def test_completion_completes(concordat, typed, offered):
    """The script is valid bash and offers the subcommands of where the cursor is."""
    script = concordat("completion", "bash").stdout
    probe = script + (
        f'\nCOMP_WORDS=(concordat {" ".join(typed)})\nCOMP_CWORD={len(typed)}\n_concordat\necho "${{COMPREPLY[*]}}"\n')
    ran = subprocess.run(["bash", "-c", probe], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout.strip() == offered


def test_a_relay_does_not_see_the_coordinators_token(concordat, tmp_path):
    """The token opens the cluster; the relay's endpoint has no authentication and may be anybody's."""
    token = tmp_path / "token"
    token.write_text("secret-of-the-cluster\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard = []

        def answer_once():
            with listener.accept()[0] as connection:
                heard.append(connection.recv(65536).decode())
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{\"parked\":[]}")

        thread = threading.Thread(target=answer_once, daemon=True)
        thread.start()
        relay = f"http://127.0.0.1:{listener.getsockname()[1]}"
        done = concordat("--token-file", token, "--relay", relay, "outbox", "parked")
        thread.join(30)
    assert done.returncode == OK, done.stderr
    assert heard[0].startswith("GET /v1/outbox/parked?after=0&limit=100 HTTP/1.1")
    assert "authorization" not in heard[0].lower() and "secret" not in heard[0]
