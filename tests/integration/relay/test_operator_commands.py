"""`concordat outbox` and `concordat inbox` against a real relay, PostgreSQL and Kafka: what an operator sees and does."""

import json
import subprocess

import pytest

from relay_process import PROGRAMS, probe, wait_until
from stack import free_ports

OK, REFUSED, USAGE, UNREACHABLE, NOT_FOUND = range(5)
UNHEALTHY = 7
TOO_LARGE = "x" * 5000  # for topics with max.message.bytes=3000


def concordat(*arguments, relay=None, port=None):
    address = f"http://127.0.0.1:{port or relay.port}" if relay or port else None
    command = [PROGRAMS / "concordat", *(["--relay", address] if address else []), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def as_json(*arguments, relay):
    done = concordat("-o", "json", *arguments, relay=relay)
    assert done.returncode == OK, done.stderr
    return json.loads(done.stdout)


def park(outbox, relay, topic, key="bad"):
    """A key with a refused row and one that waits behind it."""
    outbox.publish(topic, key, TOO_LARGE)
    outbox.publish(topic, key, "behind")
    parked = relay.metric("parked_total")
    wait_until(lambda: relay.metric("parked_total") > parked or
               outbox.execute("SELECT 1 FROM concordat_outbox_parked WHERE key = %s", (key.encode(),)), relay.log)


def test_status_shows_backlog_lag_rate_leases_and_troubles(outbox):
    """Everything that an operator looks at first, as a table and as JSON."""
    topic = outbox.topic()
    with outbox.relay(lease__instance="one") as relay:
        relay.wait_ready()
        outbox.publish_many(topic, 1000)
        outbox.wait_empty()
        wait_until(lambda: as_json("outbox", "status", relay=relay)["published_per_second"] > 0, "a rate")
        outbox.publish(f"t{outbox.number}.missing", "k", "held")
        seen = wait_until(
            lambda: (status := as_json("outbox", "status", relay=relay))["pending_rows"] == 1 and status, relay.log)
        assert (seen["rows_published"], seen["parked_keys"], seen["dead_rows"]) == (1000, 0, 0)
        assert seen["oldest_pending_ms"] > 0
        [lease] = seen["leases"]["instances"]
        assert (lease["instance"], lease["buckets"], seen["leases"]["free_buckets"]) == ("one", 64, 0)
        assert 0 < lease["expires_in_ms"] <= 5000
        table = concordat("outbox", "status", relay=relay)
        assert table.returncode == OK and table.stderr == ""
        facts = {line[:16].strip(): line[17:] for line in table.stdout.splitlines() if line}
        assert facts["pending rows"] == "1"
        assert facts["lag"].endswith(" s")
        assert "Unknown topic" in table.stdout and "missing" in table.stdout


def test_status_shows_how_two_instances_share(outbox):
    """Both leases are told by either instance; a dead one's buckets are free until they are taken over."""
    with outbox.relay(lease__instance="one") as one, outbox.relay(lease__instance="two"):
        def shares():
            return {entry["instance"]: entry["buckets"]
                    for entry in as_json("outbox", "status", relay=one)["leases"]["instances"]}
        wait_until(lambda: shares() == {"one": 32, "two": 32}, shares)


def test_status_without_a_database_says_so(outbox):
    """The relay still answers, with the trouble in words; the exit code tells a script."""
    with outbox.relay() as relay:
        relay.wait_ready()
        outbox.postgres.kill()
        try:
            done = wait_until(
                lambda: (ran := concordat("outbox", "status", relay=relay)).returncode == UNHEALTHY and ran, relay.log)
            assert "database" in done.stderr
            assert "pending rows" in done.stdout
            assert concordat("outbox", "parked", relay=relay).returncode == UNHEALTHY
        finally:
            outbox.postgres.start()
        wait_until(lambda: concordat("outbox", "status", relay=relay).returncode == OK, relay.log)


def test_a_parked_key_is_listed_and_replayed(outbox):
    """Parked, cured at the topic, replayed with a reason that the relay's log keeps."""
    topic = outbox.topic(max_message_bytes=3000)
    with outbox.relay() as relay:
        park(outbox, relay, topic)
        [entry] = as_json("outbox", "parked", relay=relay)["parked"]
        assert (entry["topic"], entry["rows_waiting"], entry["reason"]) == (topic, 2, "MSG_SIZE_TOO_LARGE")
        line = concordat("outbox", "parked", relay=relay).stdout.splitlines()[1].split()
        assert line[:3] == [topic, "bad", "2"]
        probe("alter", outbox.kafka.bootstrap, f"outbox.event.{topic}", "max.message.bytes=20000")
        replay = ("outbox", "replay", "--topic", topic, "--key", "bad")
        assert concordat(*replay, relay=relay).returncode == USAGE
        done = concordat(*replay, "--reason", "topic takes it now", relay=relay)
        assert done.returncode == OK, done.stderr
        outbox.wait_empty()
        [change] = relay.events("operator_change")
        assert (change["action"], change["topic"], change["row"]) == ("replay_parked", topic, entry["row_id"])
        assert (change["event_id"], change["reason"]) == (entry["event_id"], "topic takes it now")
        assert "@" in change["by"]
        again = concordat(*replay, "--reason", "twice", relay=relay)
        assert again.returncode == NOT_FOUND and "no such entry" in again.stderr
    assert [record["value"][:6] for record in outbox.records(topic)] == ["xxxxxx", "behind"]


def test_a_parked_key_goes_on_without_the_refused_row(outbox):
    """skip needs consent; the row is then a dead row, which is shown, replayed, or dropped with consent."""
    topic = outbox.topic(max_message_bytes=3000)
    with outbox.relay() as relay:
        park(outbox, relay, topic)
        skip = ("outbox", "skip", "--topic", topic, "--key-hex", b"bad".hex())
        assert concordat(*skip, "--reason", "lost anyway", relay=relay).returncode == USAGE
        assert concordat(*skip, "--yes", relay=relay).returncode == USAGE
        assert outbox.outstanding() == 2
        assert concordat(*skip, "--yes", "--reason", "lost anyway", relay=relay).returncode == OK
        outbox.wait_empty()
        [row] = as_json("outbox", "dead", relay=relay)["dead"]
        assert "payload_hex" not in row and row["payload_bytes"] == 5000
        shown = concordat("outbox", "dead", "show", row["id"], relay=relay)
        assert shown.returncode == OK and shown.stdout.rstrip().endswith(TOO_LARGE)
        assert concordat("outbox", "dead", "show", row["id"] + 1, relay=relay).returncode == NOT_FOUND
        drop = ("outbox", "dead", "drop", row["id"])
        assert concordat(*drop, "--reason", "agreed with the shop", relay=relay).returncode == USAGE
        assert outbox.execute("SELECT count(*) FROM concordat_outbox_dead") == [(1,)]
        assert concordat(*drop, "--yes", "--reason", "agreed with the shop", relay=relay).returncode == OK
        assert outbox.execute("SELECT count(*) FROM concordat_outbox_dead") == [(0,)]
        assert [entry["action"] for entry in relay.events("operator_change")] == ["skip_parked", "drop_dead"]
    assert [record["value"] for record in outbox.records(topic)] == ["behind"]


def test_a_dead_row_is_replayed(outbox):
    """With its event id, at the end of its key."""
    topic = outbox.topic(max_message_bytes=3000)
    with outbox.relay(policy__on_refused="skip") as relay:
        outbox.publish(topic, "k", TOO_LARGE)
        outbox.wait_empty()
        [row] = as_json("outbox", "dead", relay=relay)["dead"]
        probe("alter", outbox.kafka.bootstrap, f"outbox.event.{topic}", "max.message.bytes=20000")
        done = concordat("outbox", "replay", "--dead", row["id"], "--reason", "topic takes it now", relay=relay)
        assert done.returncode == OK, done.stderr
        outbox.wait_empty()
        [record] = outbox.records(topic)
        assert dict(record["headers"])["id"] == row["event_id"]


def test_a_dead_tombstone_is_shown(outbox):
    """A row without payload, which deletes its key on a compacted topic, may be refused like any other."""
    [(row,)] = outbox.execute("INSERT INTO concordat_outbox_dead (row_id, event_id, created_at, topic, type, reason) "
                              "VALUES (1, gen_random_uuid(), now(), 't', '', 'test') RETURNING id")
    with outbox.relay() as relay:
        relay.wait_ready()
        shown = concordat("outbox", "dead", "show", row, relay=relay)
        assert (shown.returncode, shown.stderr) == (OK, "")


def test_of_a_large_dead_row_the_beginning_is_shown(outbox):
    """A relay's memory is not the place for two hundred megabytes; the operator reads where the rest is."""
    [(row,)] = outbox.execute(
        "INSERT INTO concordat_outbox_dead (row_id, event_id, created_at, topic, type, reason, payload) VALUES "
        "(1, gen_random_uuid(), now(), 't', '', 'test', decode(repeat('61', 200 * 1000 * 1000), 'hex')) RETURNING id")
    with outbox.relay() as relay:
        relay.wait_ready()
        shown = concordat("outbox", "dead", "show", row, relay=relay)
        assert shown.returncode == OK and shown.stdout.rstrip().endswith("\n" + "a" * (1 << 20))
        assert f"1048576 of 200000000 bytes; the whole payload: SELECT payload FROM concordat_outbox_dead " \
               f"WHERE id = {row}" in shown.stderr
        assert relay.memory_bytes() < 128 << 20  # a sanitizer has its share of it


def test_lists_have_pages(outbox):
    """A full page says where the next one begins; keys that are no text are shown in hexadecimal digits."""
    keys = [b"a", b"b\n", b"\xff\x00", "ü".encode()]
    for number, key in enumerate(keys):
        outbox.execute("INSERT INTO concordat_outbox_parked (topic, key, row_id, event_id, reason) "
                       "VALUES ('t', %s, %s, gen_random_uuid(), 'test')", (key, number + 1))
        outbox.execute("INSERT INTO concordat_outbox_dead (row_id, event_id, created_at, topic, key, type, reason) "
                       "VALUES (%s, gen_random_uuid(), now(), 't', %s, '', 'test')", (number + 1, key))
    with outbox.relay() as relay:
        relay.wait_ready()
        for verb, column in (("parked", 1), ("dead", 2)):
            shown = []
            page = concordat("outbox", verb, "--limit", 3, relay=relay)
            assert page.stderr.strip() == "more: --after 3"
            shown += [line.split()[column] for line in page.stdout.splitlines()[1:]]
            page = concordat("outbox", verb, "--limit", 3, "--after", 3, relay=relay)
            assert page.stderr == ""
            shown += [line.split()[column] for line in page.stdout.splitlines()[1:]]
            assert shown == ["a", "\\x620a", "\\xff00", "ü"]
        assert concordat("outbox", "dead", "--limit", 0, relay=relay).returncode == USAGE


def test_without_admin_a_relay_only_shows(outbox):
    """http.admin off: lists work, changes and payloads are refused with the name of the setting."""
    outbox.execute("INSERT INTO concordat_outbox_dead (row_id, event_id, created_at, topic, type, payload, reason) "
                   "VALUES (1, gen_random_uuid(), now(), 't', '', 'secret', 'test')")
    with outbox.relay(http__admin="false") as relay:
        relay.wait_ready()
        assert concordat("outbox", "dead", relay=relay).returncode == OK
        for arguments in (("replay", "--dead", 1, "--reason", "r"), ("dead", "show", 1),
                          ("dead", "drop", 1, "--yes", "--reason", "r"),
                          ("skip", "--topic", "t", "--key", "k", "--yes", "--reason", "r")):
            done = concordat("outbox", *arguments, relay=relay)
            assert done.returncode == REFUSED, arguments
            assert "http.admin" in done.stderr and "secret" not in done.stdout + done.stderr
    assert outbox.execute("SELECT count(*) FROM concordat_outbox_dead") == [(1,)]


def test_relays_that_are_gone_are_told_apart_from_wrong_arguments(outbox):
    """Nobody there is exit code 3, the next relay is asked; an incomplete command sends nothing."""
    nowhere = free_ports(1)[0]
    assert concordat("outbox", "status", port=nowhere).returncode == UNREACHABLE
    with outbox.relay() as relay:
        relay.wait_ready()
        assert concordat("--relay", f"http://127.0.0.1:{relay.port}", "outbox", "status", port=nowhere).returncode == OK
        for arguments in (("replay", "--reason", "r"), ("replay", "--topic", "t", "--reason", "r"),
                          ("replay", "--key", "k", "--reason", "r"), ("replay", "--dead", "x", "--reason", "r"),
                          ("replay", "--topic", "t", "--key-hex", "0", "--reason", "r"),
                          ("replay", "--dead", 1, "--topic", "t", "--key", "k", "--reason", "r")):
            assert concordat("outbox", *arguments, relay=relay).returncode == USAGE, arguments
        printed = concordat("--curl", "outbox", "replay", "--dead", 7, "--reason", "r", relay=relay)
        assert printed.returncode == OK and "/v1/outbox/dead/replay" in printed.stdout
        assert relay.events("operator_change") == []


@pytest.mark.parametrize("body", [
    {"id": 1, "more": 2}, {"id": "1"}, {"id": 1, "reason": 5}, {"id": 1, "by": "x" * 1001}, {"reason": "r"}, [1]])
def test_changes_with_unknown_members_are_refused(outbox, body):
    """The relay's own check: what it does not understand it does not half do."""
    with outbox.relay() as relay:
        relay.wait_ready()
        assert relay.post("/v1/outbox/dead/drop", body)[0] == 400


def test_the_reason_cannot_forge_a_log_line(outbox):
    """What an operator types stays inside its field."""
    outbox.execute("INSERT INTO concordat_outbox_dead (row_id, event_id, created_at, topic, type, reason) "
                   "VALUES (1, gen_random_uuid(), now(), 't', '', 'test')")
    with outbox.relay() as relay:
        relay.wait_ready()
        forged = 'x"}\n{"event":"operator_change","action":"forged"}'
        assert concordat("outbox", "dead", "drop", 1, "--yes", "--reason", forged, relay=relay).returncode == OK
        [change] = relay.events("operator_change")
        assert (change["action"], change["reason"]) == ("drop_dead", forged)


def test_inbox_status_shows_consumers_and_partitions(outbox):
    """Read in the consumer's database: ids by consumer and day, and whether somebody maintains the partitions."""
    outbox.execute("INSERT INTO concordat_inbox SELECT (now() AT TIME ZONE 'UTC')::date - n % 2, 'billing', n::text "
                   "FROM generate_series(1, 10) n")
    outbox.execute("INSERT INTO concordat_inbox VALUES ((now() AT TIME ZONE 'UTC')::date, 'stock', 'a'), "
                   "('1970-01-01', 'stock', 'b')")
    seen = json.loads(concordat("-o", "json", "inbox", "status", "--database", outbox.url).stdout)
    billing, stock = seen["consumers"]
    assert (billing["consumer"], billing["ids"], billing["ids_today"], billing["ids_without_time"]) == ("billing", 10, 5, 0)
    assert (stock["consumer"], stock["ids"], stock["ids_today"], stock["ids_without_time"]) == ("stock", 2, 1, 1)
    assert billing["first_day"] < billing["last_day"] == stock["first_day"] == stock["last_day"]
    assert (seen["partitions"], seen["ids_in_default_partition"]) == (5, 1)
    table = concordat("inbox", "status", "--database", outbox.url)
    assert table.returncode == OK and table.stdout.splitlines()[1].split()[:3] == ["billing", "10", "5"]
    assert "no partition for tomorrow" not in table.stdout
    tomorrow = outbox.execute("SELECT to_char((now() AT TIME ZONE 'UTC')::date + 1, 'YYYYMMDD')")[0][0]
    outbox.execute(f"DROP TABLE concordat_inbox_{tomorrow}")
    assert "no partition for tomorrow" in concordat("inbox", "status", "--database", outbox.url).stdout


def test_inbox_status_says_why_it_cannot(outbox):
    """No such server, no such table, no database given: three different answers."""
    assert concordat("inbox", "status").returncode == USAGE
    nowhere = f"postgresql://nobody@127.0.0.1:{free_ports(1)[0]}/none"
    assert concordat("inbox", "status", "--database", nowhere).returncode == UNREACHABLE
    outbox.execute("DROP TABLE concordat_inbox")
    done = concordat("inbox", "status", "--database", outbox.url)
    assert done.returncode == NOT_FOUND and "concordat_inbox" in done.stderr
