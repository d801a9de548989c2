"""Participants that misbehave: their answers are untrusted, and they harm nobody else."""

import threading

import pytest
from api_client import transaction
from fake_participant import answer, hang, reset
from stack import wait_until


@pytest.mark.parametrize(("name", "behaviour"), [
    ("words", answer(200, raw=b"yes")),
    ("empty", answer(200, raw=b"")),
    ("no-vote", answer(200)),
    ("other-status", answer(200, raw=b'{"status":409,"vote":"yes"}')),
    ("unknown-vote", answer(200, vote="YES")),
    ("redirect", answer(307, {"Location": "http://127.0.0.1:1/"})),
    ("rubbish", answer(200, raw=b"x" * (10 << 20))),
    ("failure", answer(500)),
    ("reset", reset()),
])
def test_nonsense_is_asked_again(api, make_participant, xid, name, behaviour):
    """Nothing but a vote is a vote: the call is repeated until there is one."""
    odd, sane = make_participant(), make_participant()
    odd.script("prepare", behaviour, answer(200, vote="yes"))
    got = api("PUT", f"/v1/transactions/{xid}", transaction(odd, sane))
    assert (got.status, got.json["outcome"]) == (200, "committed")
    attempts = [one.body["attempt"] for one in odd.of(xid, "prepare")]
    assert len(attempts) == 2 and attempts[0] < attempts[1]


def test_nonsense_without_end_aborts_at_the_deadline(api, make_participant, xid):
    """A participant that never votes cannot hold the others for longer than the transaction's timeout."""
    odd, sane = make_participant(), make_participant()
    odd.script("prepare", answer(200, raw=b"yes"))
    got = api("PUT", f"/v1/transactions/{xid}", transaction(odd, sane, timeout="500ms"))
    assert (got.json["outcome"], got.json["reason"]) == ("aborted", "deadline_passed")
    wait_until(lambda: sane.of(xid, "abort"), "the sane one is told")


def test_transient_failure_is_retried_quickly(api, make_participant, xid):
    """After one 500 the next attempt comes within 300 ms; the best of three, as the machine may be busy."""
    flaky, sane = make_participant(), make_participant()
    gaps = []
    for number in range(3):
        flaky.script("prepare", answer(500), answer(200, vote="yes"))
        api("PUT", f"/v1/transactions/{xid}-{number}", transaction(flaky, sane))
        first, second = flaky.of(f"{xid}-{number}", "prepare")
        gaps.append(second.at - first.at)
    assert min(gaps) < 0.3, gaps


@pytest.mark.parametrize(("behaviour", "least"), [
    (answer(503, {"Retry-After": "1"}, raw=b"busy"), 1.0),
    (answer(429, retry_after_ms=700), 0.7),
])
def test_retry_after_is_honoured(api, make_participant, xid, behaviour, least):
    """A participant that says when is not asked earlier."""
    busy, sane = make_participant(), make_participant()
    busy.script("prepare", behaviour, answer(200, vote="yes"))
    got = api("PUT", f"/v1/transactions/{xid}", transaction(busy, sane))
    assert got.json["outcome"] == "committed"
    first, second = busy.of(xid, "prepare")
    assert second.at - first.at >= least


def test_commit_is_repeated_until_acknowledged(api, make_participant, xid):
    """The second phase never gives up."""
    flaky, sane = make_participant(), make_participant()
    flaky.script("commit", answer(500), reset(), answer(200, raw=b"ok"), answer(200, outcome="committed"))
    got = api("PUT", f"/v1/transactions/{xid}", transaction(flaky, sane, wait_for="completion"))
    assert got.json["state"] == "committed"
    assert len(flaky.of(xid, "commit")) == 4
    assert len(sane.of(xid, "commit")) == 1


def test_hung_participant_delays_nobody(api, make_participant, xid):
    """40 transactions that hang at one participant keep no other waiting until they end."""
    hung, first, second = make_participant(call_timeout="60s"), make_participant(), make_participant()
    hung.script("prepare", hang())
    for number in range(40):
        api("PUT", f"/v1/transactions/{xid}-hung-{number}", transaction(hung, first, timeout="60s"),
            {"Prefer": "respond-async"})
    for number in range(10):
        got = api("PUT", f"/v1/transactions/{xid}-{number}", transaction(first, second))
        assert got.json["outcome"] == "committed"
    for number in range(40):
        assert api("GET", f"/v1/transactions/{xid}-hung-{number}").json["state"] == "active"


def test_unreachable_participant_aborts(api, make_participant, xid, cluster):
    """Nobody listens: the transaction aborts at its deadline and says who did not answer."""
    from stack import free_ports, register_participant

    sane = make_participant()
    register_participant(cluster, "nobody-home", f"http://127.0.0.1:{free_ports(1)[0]}")
    body = transaction(sane, timeout="500ms")
    body["branches"].append({"participant": "nobody-home", "payload": None})
    got = api("PUT", f"/v1/transactions/{xid}", body)
    assert got.json["outcome"] == "aborted"
    assert "nobody-home" in got.json["detail"]


def test_unreachable_single_participant_aborts(api, cluster, xid):
    """One-phase commit too: what was never sent can be aborted at the deadline."""
    from stack import free_ports, register_participant

    register_participant(cluster, "nobody-alone", f"http://127.0.0.1:{free_ports(1)[0]}")
    got = api("PUT", f"/v1/transactions/{xid}",
              {"branches": [{"participant": "nobody-alone", "payload": 1}], "timeout": "500ms"})
    assert (got.json["outcome"], got.json["reason"]) == ("aborted", "deadline_passed")


def test_concurrency_limit_is_kept(api, make_participant, xid):
    """A participant never sees more calls at a time than its registration allows."""
    limited, sane = make_participant(max_concurrent_calls=2), make_participant()
    running, most = [0], [0]
    lock = threading.Lock()
    serve = limited._serve

    def counting(request):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        try:
            threading.Event().wait(0.02)
            serve(request)
        finally:
            with lock:
                running[0] -= 1

    limited._serve = counting
    workers = [threading.Thread(target=api, args=(
        "PUT", f"/v1/transactions/{xid}-{number}", transaction(limited, sane))) for number in range(12)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert 1 <= most[0] <= 2
    assert len([one for one in limited.calls if one.operation == "prepare"]) == 12


def test_registered_participant_in_use_stays(api, make_participant, xid):
    """A participant cannot be removed while an unfinished transaction names it; afterwards it can."""
    slow, sane = make_participant(call_timeout="20s"), make_participant()
    slow.script("prepare", hang())
    api("PUT", f"/v1/transactions/{xid}", transaction(slow, sane, timeout="1s"), {"Prefer": "respond-async"})
    api.problem("DELETE", f"/v1/participants/{slow.name}", 409, "participant-in-use")
    slow.script("abort", answer(200, outcome="aborted"))
    wait_until(lambda: api("DELETE", f"/v1/participants/{slow.name}?reason=gone").status == 204,
               "the participant is free", seconds=30)
    api.problem("GET", f"/v1/participants/{slow.name}", 404, "participant-not-found")
