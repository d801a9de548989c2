"""kill -9 of relay, broker and PostgreSQL at random times, and stalls: nothing lost, invented or out of order.

CONCORDAT_RELAY_EVENTS (default 4000), CONCORDAT_RELAY_KILLS (default 6) and CONCORDAT_RELAY_SEED choose the size:
CONCORDAT_RELAY_EVENTS=100000 CONCORDAT_RELAY_KILLS=200 is the long campaign (scripts/campaign relay-kills), by
its own pace at least ten minutes. During every other kill and the restart after it, one of the others stands still (SIGSTOP).
"""

import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import time

import pytest

from conftest import Outbox, first_deliveries, values_by_key
from kafka import KafkaBroker
from relay_process import PROGRAMS, wait_until

EVENTS = int(os.environ.get("CONCORDAT_RELAY_EVENTS", "4000"))
KILLS = int(os.environ.get("CONCORDAT_RELAY_KILLS", "6"))
SEED = int(os.environ.get("CONCORDAT_RELAY_SEED", str(int(time.time()))))
KEYS = 50
WINDOW_ROWS = 16_000  # pipeline.window_rows
# A kill, the restart and the pause before it take about three seconds. The writers go on until both are through.
RATE = max(100, EVENTS // (3 * KILLS))
SETTINGS = {"lease__duration": "2s", "lease__margin": "500ms", "lease__heartbeat": "100ms",
            # What the producers thought, for the day on which an order is wrong.
            "log__level": "debug", "kafka__properties.debug": "eos"}


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


@pytest.fixture
def outbox(postgres, tmp_path):
    """Of a broker that is back soon: the cluster does not wait for the dead one's session to end."""
    with KafkaBroker({"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "300"}) as kafka:
        made = Outbox(postgres, kafka, tmp_path)
        yield made
        postgres.drop_database(made.database)


@contextlib.contextmanager
def standing_still(pids):
    """SIGSTOP: connections stay open, nothing is answered, clocks go on."""
    def tell_all(number):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # a backend that has just ended
                os.kill(pid, number)

    try:
        tell_all(signal.SIGSTOP)
        yield
    finally:
        tell_all(signal.SIGCONT)


class Victims:
    """The processes, and what happens to them."""

    def __init__(self, outbox, chance):
        self.outbox = outbox
        self.chance = chance
        self.relays = [outbox.relay(**SETTINGS) for _ in range(2)]
        self.dead_relays = []

    def kill(self, name):
        if name == "relay":
            index = self.chance.randrange(len(self.relays))
            self.relays[index].kill()
            self.dead_relays.append(self.relays[index])
            self.relays[index] = self.outbox.relay(**SETTINGS)
        else:
            server = {"broker": self.outbox.kafka, "database": self.outbox.postgres}[name]
            server.kill()
            server.start()

    def pids(self, name):
        if name == "relay":
            return [self.chance.choice(self.relays).process.pid]
        return [self.outbox.kafka.process.pid] if name == "broker" else self.outbox.postgres.pids()

    def events(self, name):
        return [event for relay in self.dead_relays + self.relays for event in relay.events(name)]


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
    victims = Victims(outbox, chance)
    worker = outbox.worker(topic)
    writer = subprocess.Popen(
        [PROGRAMS / "outbox_writer", "--url", outbox.url, "--topic", topic, "--events", str(EVENTS), "--keys", str(KEYS),
         "--rate", str(RATE), "--seed", str(SEED), "--until", through],
        stdout=subprocess.PIPE, text=True)
    names = ["relay", "broker", "database"]
    order = (names * (KILLS // 3 + 1))[:KILLS]
    chance.shuffle(order)
    killed = collections.Counter()
    stalled = collections.Counter()
    try:
        for turn, victim in enumerate(order):
            assert writer.poll() is None, "the writers were through before the killing was"
            pause = time.monotonic() + chance.uniform(0.2, 2.0)
            wait_until(lambda until=pause: time.monotonic() > until, "pause")
            other = chance.choice([name for name in names if name != victim]) if turn % 2 else None
            with standing_still(victims.pids(other) if other else []):
                victims.kill(victim)
            killed[victim] += 1
            if other:
                stalled[other] += 1
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
        print(f"killed {dict(killed)}, stalled {dict(stalled)}; writers {counts}; {len(ledger)} committed, "
              f"{len(lost)} lost, {len(ghosts)} ghosts, {repeats} repeats", flush=True)
        disorder = out_of_order(delivered, found)
        if disorder:
            # Every delivery of these rows, and the relays' logs beside them: the topic is gone when this is read.
            kept = outbox.folder / "out-of-order.json"
            kept.write_text(json.dumps(disorder, indent=1), encoding="utf-8")
            raise AssertionError(f"{sorted(disorder)} are out of order: {kept}")
        # Each death of the database interrupted it: it has its own pace to catch up at.
        wait_until(lambda: outbox.execute("SELECT count(*) FROM effect")[0][0] >= len(ledger),
                   lambda: f"{outbox.execute('SELECT count(*) FROM effect')} of {len(ledger)} effects, {worker.log()[-2000:]}",
                   60 + EVENTS / 200)
        print(f"inbox {worker.terminate()}")
    finally:
        writer.kill()
        worker.kill()
        for relay in victims.relays:
            relay.kill()
    assert (lost, ghosts) == (set(), set())
    # What the sweep finds was passed by: it comes too late for the order of its key.
    assert victims.events("row_found_by_sweep") == []
    assert repeats <= killed.total() * WINDOW_ROWS
    assert len(ledger) >= EVENTS and counts["aborted"] > 0 and counts["prepared"] > 0
    effects = outbox.execute("SELECT count(*), count(DISTINCT message_id) FROM effect")
    assert effects == [(len(ledger), len(ledger))], "the inbox let a repeat through, or lost one"
