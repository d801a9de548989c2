"""Submitting, reading and listing transactions: what the API promises to clients."""

import threading

from api_client import transaction
from stack import call, wait_until


def test_submission_is_answered_with_the_decision(api, make_participant):
    """POST waits for the decision and answers 200 with it; the payload reaches the participants byte for byte."""
    first, second = make_participant(), make_participant()
    got = api("POST", "/v1/transactions", transaction(first, second))
    assert got.status == 200
    assert got.json["outcome"] == "committed"
    assert got.json["reason"] == "all_voted_yes"
    xid = got.json["xid"]
    for participant in (first, second):
        wait_until(lambda: participant.of(xid, "commit"), "the commit is delivered")
        assert b'"payload":{"n": 1}' in participant.of(xid, "prepare")[0].raw


def test_one_no_aborts(api, make_participant, xid):
    """One refusal aborts everywhere, and the answer says who refused and why."""
    from fake_participant import answer

    willing, refusing = make_participant(), make_participant()
    refusing.script("prepare", answer(200, vote="no", reason="out of stock"))
    got = api("PUT", f"/v1/transactions/{xid}", transaction(willing, refusing))
    assert got.status == 200
    assert got.json["outcome"] == "aborted"
    assert got.json["reason"] == "participant_refused"
    assert "out of stock" in got.json["detail"]
    wait_until(lambda: willing.of(xid, "abort"), "the abort is delivered")
    assert not willing.of(xid, "commit") and not refusing.of(xid, "commit")


def test_same_xid_and_body_is_the_same_transaction(api, make_participant, xid):
    """A repeated PUT gets the recorded outcome; with another body it is refused and nothing happens."""
    first, second = make_participant(), make_participant()
    body = transaction(first, second)
    assert api("PUT", f"/v1/transactions/{xid}", body).json["outcome"] == "committed"
    again = api("PUT", f"/v1/transactions/{xid}", body)
    assert again.status == 200
    assert again.headers["idempotency-replayed"] == "true"
    assert len(first.of(xid, "prepare")) == 1
    api.problem("PUT", f"/v1/transactions/{xid}", 422, "xid-reused", transaction(first, second, timeout="7s"))


def test_idempotency_key(api, make_participant, xid):
    """The same key and body give the same transaction; the same key with another body is refused."""
    one, two = make_participant(), make_participant()
    key = {"Idempotency-Key": f"key-{xid}"}
    body = transaction(one, two)
    first = api("POST", "/v1/transactions", body, key).json["xid"]
    assert api("POST", "/v1/transactions", body, key).json["xid"] == first
    api.problem("POST", "/v1/transactions", 422, "idempotency-key-reused", transaction(one), key)


def test_respond_async_and_wait(api, make_participant, xid):
    """Undecided is never 200: 202 with Location and Retry-After, and the long poll sees the decision."""
    from fake_participant import answer, hang

    slow, quick = make_participant(call_timeout="300ms"), make_participant()
    slow.script("prepare", hang(), answer(200, vote="yes"))
    got = api("PUT", f"/v1/transactions/{xid}", transaction(slow, quick), {"Prefer": "respond-async"})
    assert got.status == 202
    assert got.headers["location"] == f"/v1/transactions/{xid}"
    state = api("GET", got.headers["location"])
    while "outcome" not in state.json:
        state = api("GET", f"/v1/transactions/{xid}?wait=20s&wait_index={state.json['log_index']}")
    assert state.json["outcome"] == "committed"
    assert [event["event"] for event in state.json["timeline"]][0] == "begun"


def test_wait_is_limited_by_the_client(api, make_participant, xid):
    """Prefer: wait=1 gives up waiting after a second; the transaction goes on."""
    from fake_participant import hang

    slow, quick = make_participant(call_timeout="5s"), make_participant()
    slow.script("prepare", hang())
    got = api("PUT", f"/v1/transactions/{xid}", transaction(slow, quick, timeout="3s"), {"Prefer": "wait=1"})
    assert got.status == 202
    assert "outcome" not in got.json
    done = api("GET", f"/v1/transactions/{xid}?wait=20s&wait_index={got.json['log_index']}")
    assert done.json["outcome"] == "aborted"
    assert done.json["reason"] == "deadline_passed"


def test_wait_for_completion(api, make_participant, xid):
    """wait_for: completion answers only after every participant has acknowledged."""
    first, second = make_participant(), make_participant()
    got = api("PUT", f"/v1/transactions/{xid}", transaction(first, second, wait_for="completion"))
    assert (got.status, got.json["state"]) == (200, "committed")
    assert first.of(xid, "commit") and second.of(xid, "commit")


def test_interactive_transaction(api, make_participant):
    """Open, enlist twice, commit; afterwards nothing more can be enlisted."""
    first, second = make_participant(), make_participant()
    opened = api("POST", "/v1/transactions", {"mode": "interactive"})
    assert opened.status == 201
    path = opened.headers["location"]
    for participant in (first, second):
        assert api("POST", f"{path}/branches", {"participant": participant.name, "payload": 7}).status == 201
    done = api("POST", f"{path}/commit", {})
    assert (done.status, done.json["outcome"], len(done.json["branches"])) == (200, "committed", 2)
    api.problem("POST", f"{path}/branches", 409, "registration-closed", {"participant": first.name, "payload": 1})
    api.problem("POST", f"{path}/abort", 409, "already-decided", {})


def test_entity_tag(api, make_participant, xid):
    """The ETag is the log index; an unchanged transaction is 304 without a body."""
    one, two = make_participant(), make_participant()
    api("PUT", f"/v1/transactions/{xid}", transaction(one, two, wait_for="completion"))
    got = api("GET", f"/v1/transactions/{xid}")
    assert got.headers["etag"] == f'"{got.json["log_index"]}"'
    assert api("GET", f"/v1/transactions/{xid}", headers={"If-None-Match": got.headers["etag"]}).status == 304


def test_list_pages_and_filters(api, make_participant, xid):
    """Pages are disjoint and complete; filters select."""
    one, two = make_participant(), make_participant()
    wanted = [f"{xid}-{number}" for number in range(5)]
    for name in wanted:
        api("PUT", f"/v1/transactions/{name}", transaction(one, two, wait_for="completion"))
    seen, cursor = [], ""
    while True:
        page = api("GET", f"/v1/transactions?limit=2&xid_prefix={xid}{cursor}").json
        seen += [item["xid"] for item in page["transactions"]]
        if "next_cursor" not in page:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert sorted(seen) == wanted
    found = api("GET", f"/v1/transactions?participant={one.name}&state=committed").json["transactions"]
    assert {item["xid"] for item in found} == set(wanted)
    assert api("GET", f"/v1/transactions?participant={one.name}&state=aborted").json["transactions"] == []


def test_inquiry_aborts_what_is_unknown(api, make_participant, xid):
    """An inquiry about an unknown xid is answered abort, and a late submission meets that decision."""
    first, second = make_participant(), make_participant()
    assert api("GET", f"/v1/inquiry/{xid}").json == {"xid": xid, "outcome": "aborted"}
    late = api("PUT", f"/v1/transactions/{xid}", transaction(first, second))
    assert late.json.get("outcome") != "committed"
    assert not first.of(xid, "commit")


def test_trace_is_continued(api, make_participant, xid):
    """Participants see the client's trace under a new span."""
    one, two = make_participant(), make_participant()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    api("PUT", f"/v1/transactions/{xid}", transaction(one, two),
        {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    seen = one.of(xid, "prepare")[0].headers["traceparent"]
    assert seen.startswith(f"00-{trace}-")
    assert "00f067aa0ba902b7" not in seen


def test_events_are_streamed(api, make_participant, xid):
    """A subscriber sees begin and decision of a transaction as server-sent events that match the schema."""
    import json
    import urllib.request

    one, two = make_participant(), make_participant()
    stream = urllib.request.urlopen(f"{api.url}/v1/events", timeout=20)
    assert stream.headers["Content-Type"] == "text/event-stream"
    assert stream.readline().startswith(b":")
    worker = threading.Thread(
        target=call, args=("PUT", f"{api.url}/v1/transactions/{xid}", transaction(one, two)))
    worker.start()
    seen = {}
    while "decided" not in seen:
        line = stream.readline()
        if line.startswith(b"data: "):
            event = json.loads(line[6:])
            api.specification.validate(event, {"$ref": "#/components/schemas/Event"})
            if event["xid"] == xid:
                seen[event["event"]] = event
    worker.join()
    stream.close()
    assert seen["decided"]["outcome"] == "committed"
    assert "begun" in seen


def test_three_phase_commit(api, make_participant, xid):
    """Quorum 3PC commits through pre-commit."""
    participants = [make_participant() for _ in range(3)]
    got = api("PUT", f"/v1/transactions/{xid}", transaction(*participants, protocol="3pc", wait_for="completion"))
    assert (got.status, got.json["outcome"]) == (200, "committed")
    operations = [one.operation for one in participants[0].of(xid)]
    assert operations.index("prepare") < operations.index("pre-commit") < operations.index("commit")


def test_one_branch_commits_in_one_phase(api, make_participant, xid):
    """A single branch needs no vote: one call does it all."""
    only = make_participant()
    got = api("PUT", f"/v1/transactions/{xid}", transaction(only, wait_for="completion"))
    assert got.json["outcome"] == "committed"
    assert [one.operation for one in only.of(xid)] == ["commit-one-phase"]
