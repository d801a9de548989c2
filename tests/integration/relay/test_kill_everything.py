"""kill -9 of relay, broker and PostgreSQL at random times: nothing lost, invented or out of order.

CONCORDAT_RELAY_EVENTS (default 4000), CONCORDAT_RELAY_KILLS (default 6) and CONCORDAT_RELAY_SEED choose the size:
CONCORDAT_RELAY_EVENTS=100000 CONCORDAT_RELAY_KILLS=200 is the long campaign (scripts/campaign relay-kills), by
its own pace at least ten minutes.
"""

import collections
import json
import os
import random
import subprocess
import time

from conftest import first_deliveries, values_by_key
from relay_process import PROGRAMS, wait_until

EVENTS = int(os.environ.get("CONCORDAT_RELAY_EVENTS", "4000"))
KILLS = int(os.environ.get("CONCORDAT_RELAY_KILLS", "6"))
SEED = int(os.environ.get("CONCORDAT_RELAY_SEED", str(int(time.time()))))
KEYS = 50
WINDOW_ROWS = 16_000  # pipeline.window_rows
# A kill, the restart and the pause before it take about three seconds. The writers go on until both are through.
RATE = max(100, EVENTS // (3 * KILLS))
LEASES = {"lease__duration": "2s", "lease__margin": "500ms", "lease__heartbeat": "100ms"}


def out_of_order(delivered, found):
    """First deliveries of each key are 1, 2, 3, ... without a gap; of each key that breaks this, what lies around it."""
    evidence = {}
    for key, values in values_by_key(delivered.values()).items():
        numbers = [int(value.split(":")[1]) for value in values]
        wrong = next((at for at, number in enumerate(numbers, 1) if number != at), None)
        if wrong is None:
            continue
        near = {f"{key}:{number}" for number in range(wrong - 3, wrong + 6)}
        evidence[key] = [record for record in sorted(found, key=lambda entry: entry["offset"])
                         if record["key"] == key and record["value"] in near]
    return evidence


def test_nothing_is_lost_invented_or_reordered_when_everything_is_killed(outbox):
    """Two relays, one broker, one database, writers that prepare, commit and abort; then the books are compared."""
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    topic = outbox.topic("stress")
    outbox.execute("CREATE TABLE relay_key (key text PRIMARY KEY, seq bigint NOT NULL DEFAULT 0)")
    outbox.execute("CREATE TABLE relay_ledger (event_id uuid PRIMARY KEY, key text, seq bigint)")
    outbox.execute("INSERT INTO relay_key (key) SELECT 'key-' || n FROM generate_series(0, %s) n", (KEYS - 1,))
    outbox.make_effect_table()
    through = outbox.folder / "killing-is-through"
    relays = [outbox.relay(**LEASES) for _ in range(2)]
    worker = outbox.worker(topic)
    writer = subprocess.Popen(
        [PROGRAMS / "outbox_writer", "--url", outbox.url, "--topic", topic, "--events", str(EVENTS), "--keys", str(KEYS),
         "--rate", str(RATE), "--seed", str(SEED), "--until", through],
        stdout=subprocess.PIPE, text=True)
    victims = (["relay", "broker", "database"] * (KILLS // 3 + 1))[:KILLS]
    chance.shuffle(victims)
    killed = collections.Counter()
    try:
        for victim in victims:
            assert writer.poll() is None, "the writers were through before the killing was"
            killed[victim] += 1
            pause = time.monotonic() + chance.uniform(0.2, 2.0)
            wait_until(lambda until=pause: time.monotonic() > until, "pause")
            if victim == "relay":
                index = chance.randrange(len(relays))
                relays[index].kill()
                relays[index] = outbox.relay(**LEASES)
            elif victim == "broker":
                outbox.kafka.kill()
                outbox.kafka.start()
            else:
                outbox.postgres.kill()
                outbox.postgres.start()
        through.touch()
        output, _ = writer.communicate(timeout=300 + EVENTS / 50)
        counts = json.loads(output)
        assert outbox.postgres.prepared_transactions(outbox.database) == []
        outbox.wait_empty(seconds=60)
        ledger = {str(event): (key, seq) for event, key, seq in
                  outbox.execute("SELECT event_id, key, seq FROM relay_ledger")}
        found = outbox.records(topic)
        delivered = first_deliveries(found)
        repeats = len(found) - len(delivered)
        lost = set(ledger) - set(delivered)
        ghosts = set(delivered) - set(ledger)
        print(f"killed {dict(killed)}; writers {counts}; {len(ledger)} committed, {len(lost)} lost, {len(ghosts)} ghosts, "
              f"{repeats} repeats", flush=True)
        disorder = out_of_order(delivered, found)
        if disorder:
            # Every delivery of these rows, and the relays' logs beside them: the topic is gone when this is read.
            kept = outbox.folder / "out-of-order.json"
            kept.write_text(json.dumps(disorder, indent=1), encoding="utf-8")
            raise AssertionError(f"{sorted(disorder)} are out of order: {kept}")
        # Each death of the database interrupted it: it has its own pace to catch up at.
        wait_until(lambda: outbox.execute("SELECT count(*) FROM effect")[0][0] >= len(ledger),
                   lambda: worker.log()[-2000:], 60 + EVENTS / 200)
        print(f"inbox {worker.terminate()}")
    finally:
        writer.kill()
        worker.kill()
        for relay in relays:
            relay.kill()
    assert (lost, ghosts) == (set(), set())
    assert repeats <= killed.total() * WINDOW_ROWS
    assert len(ledger) >= EVENTS and counts["aborted"] > 0 and counts["prepared"] > 0
    effects = outbox.execute("SELECT count(*), count(DISTINCT message_id) FROM effect")
    assert effects == [(len(ledger), len(ledger))], "the inbox let a repeat through, or lost one"
