#!/usr/bin/env python3
"""Measures concordat-relay and prints tables: everything that docs/performance.md says about it, in four minutes.

    build/venv/bin/python tests/bench/relay/run.py [--only drain|latency|poll|handover] [--rows 1000000]
        [--seconds 15] [--json FILE] [--build build/release]

drain     a backlog of rows of 200 bytes, against librdkafka's mock cluster and against a real Kafka broker, each
          beside two ceilings measured in the same run: the database alone (read and delete, no Kafka) and the
          producer alone (no database)
latency   from INSERT to the broker's acknowledgement, at steady rates against the real broker, from the relay's
          own histogram
poll      with as many dead rows as --rows that a pinned snapshot keeps, while a few rows come in
handover  from kill -9, and from SIGTERM, of one of two relays until the other has all buckets

Everything runs on this machine: database, broker, writer and relay share its cores. Exit code 0 says that the run
was complete, not that the figures are good: "missed" marks those beyond their target.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(SOURCE / "tests" / "integration" / "harness"))
sys.path.insert(0, str(SOURCE / "tests" / "integration" / "relay"))

PARTITIONS = 4
TOPIC = "bench"
KAFKA_TOPIC = f"outbox.event.{TOPIC}"
PARTS = ("drain", "latency", "poll", "handover")
FILL = ("INSERT INTO concordat_outbox (topic, key, type, payload) SELECT 'bench', "
        "convert_to('key-' || i % 1000, 'UTF8'), 'bench', convert_to(repeat('x', 200), 'UTF8') "
        "FROM generate_series(1, {}) i")
LATENCY_TARGETS_MS = {1000: 10, 20_000: 25}
PATIENCE_SECONDS = 900


class Bench:
    """The database, the folder and the figures of one run."""

    def __init__(self, postgres, folder, chosen):
        self.postgres = postgres
        self.folder = folder
        self.rows = chosen.rows
        self.seconds = chosen.seconds
        self.figures = {}
        postgres.create_database("bench")
        self.url = postgres.url("bench")
        for script in sorted((SOURCE / "migrations" / "participant").glob("*.up.sql")):
            postgres.execute("bench", script.read_text(encoding="utf-8"))

    def fill(self, rows):
        self.postgres.execute("bench", "TRUNCATE concordat_outbox")
        self.postgres.execute("bench", FILL.format(rows))
        self.postgres.execute("bench", "VACUUM ANALYZE concordat_outbox")
        self.postgres.execute("bench", "CHECKPOINT")

    def note(self, part, name, value, target=None):
        """`target`: (comparison, bound). Returns the words for the table."""
        entry = {"value": round(value, 4)}
        words = ""
        if target:
            comparison, bound = target
            met = value >= bound if comparison == ">=" else value <= bound
            entry |= {"target": f"{comparison} {bound:g}", "met": met}
            words = f"{comparison} {bound:,g}{'' if met else ': missed'}"
        self.figures.setdefault(part, {})[name] = entry
        return words


@contextmanager
def real_kafka():
    from kafka import KafkaBroker
    from relay_process import probe
    with KafkaBroker(measured=True) as kafka:
        probe("create", kafka.bootstrap, f"{KAFKA_TOPIC}:{PARTITIONS}")
        yield kafka


def ceiling(*arguments):
    import subprocess
    from relay_process import PROGRAMS
    done = subprocess.run([PROGRAMS / "relay_ceiling", *map(str, arguments)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def drain(bench, bootstrap, rows):
    """(rows per second from the first to the last deletion, peak memory in MiB)"""
    from relay_process import Relay, wait_until
    with Relay(bench.folder, bench.url, bootstrap) as relay:
        wait_until(lambda: relay.metric("deleted_total") > 0, relay.log)
        started, at_start = time.monotonic(), relay.metric("deleted_total")
        wait_until(lambda: relay.metric("deleted_total") >= rows, relay.log, PATIENCE_SECONDS)
        rate = (rows - at_start) / (time.monotonic() - started)
        return rate, relay.memory_bytes() / 2**20


def measure_drain(bench, kafka):
    from relay_process import MockCluster

    rows = bench.rows
    print(f"\n| {rows:,} rows of 200 bytes | rows/s | share of the lower ceiling | wanted |\n|---|---|---|---|")

    def row(name, value, share=None, target=None):
        words = bench.note("drain", name, value, target)
        print(f"| {name} | {value:,.0f} | {'' if share is None else f'{share:.0%}'} | {words} |", flush=True)

    bench.fill(rows)
    database = ceiling("database", bench.url)
    row("database alone, read and delete", database)
    with MockCluster(PARTITIONS, KAFKA_TOPIC) as mock:
        alone = ceiling("kafka", mock.bootstrap, KAFKA_TOPIC, min(rows, 200_000))
    row("producer alone, mock cluster", alone)
    bench.fill(rows)
    with MockCluster(PARTITIONS, KAFKA_TOPIC) as mock:
        rate, memory = drain(bench, mock.bootstrap, rows)
    row("relay, mock cluster", rate, rate / min(database, alone), (">=", 120_000))
    alone = ceiling("kafka", kafka.bootstrap, KAFKA_TOPIC, rows)
    row("producer alone, Kafka 3.9.1", alone)
    bench.fill(rows)
    rate, real_memory = drain(bench, kafka.bootstrap, rows)
    row("relay, Kafka 3.9.1", rate, rate / min(database, alone))
    peak = max(memory, real_memory)
    print(f"\npeak memory of the relay: {peak:.0f} MiB ({bench.note('drain', 'peak memory MiB', peak, ('<=', 64))})",
          flush=True)


def write_steadily(url, rate, seconds):
    """One transaction every two milliseconds on each of two connections."""
    import psycopg
    per_transaction = max(1, rate // 1000)
    errors = []

    def run(offset):
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                # The disk's share of a commit is not the relay's: without it INSERT and commit coincide.
                connection.execute("SET synchronous_commit = off")
                started = time.monotonic() + offset
                for turn in range(seconds * 500):
                    delay = started + turn / 500 - time.monotonic()
                    if delay > 0:
                        time.sleep(delay)
                    connection.execute(FILL.format(per_transaction), prepare=True)
        except Exception as error:  # pylint: disable=broad-except
            errors.append(error)

    threads = [threading.Thread(target=run, args=(offset,)) for offset in (0, 0.001)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def latency(bench, relay, rate):
    """[(bound in ms, share within)] and the rate that was reached."""
    from relay_process import wait_until
    write_steadily(bench.url, rate, 3)  # plans, and the pace of the polls
    wait_until(lambda: relay.metric("rows_in_memory") == 0, relay.log, PATIENCE_SECONDS)
    before = relay.metrics()
    started = time.monotonic()
    write_steadily(bench.url, rate, bench.seconds)
    elapsed = time.monotonic() - started
    wait_until(lambda: relay.metric("rows_in_memory") == 0, relay.log, PATIENCE_SECONDS)
    after = relay.metrics()
    assert relay.metric("swept_total") == 0, "rows were missed and found by the sweep"
    prefix = 'concordat_outbox_age_seconds_bucket{le="'
    counts = {name[len(prefix):-2]: after[name] - before.get(name, 0) for name in after if name.startswith(prefix)}
    total = counts["+Inf"]
    shares = [(float(bound) * 1000, count / total) for bound, count in counts.items() if bound != "+Inf"]
    return shares, total / elapsed


def percentile(shares, wanted):
    """By linear interpolation within the histogram's bounds, in ms."""
    lower, below = 0.0, 0.0
    for bound, share in shares:
        if share >= wanted:
            return lower + (bound - lower) * (wanted - below) / max(share - below, 1e-9)
        lower, below = bound, share
    return float("inf")


def measure_latency(bench, kafka):
    from relay_process import Relay

    # A broker that has just started compiles its code for half a minute: let it, with a backlog of its own.
    bench.fill(min(bench.rows, 500_000))
    drain(bench, kafka.bootstrap, min(bench.rows, 500_000))
    bench.postgres.execute("bench", "TRUNCATE concordat_outbox")
    with Relay(bench.folder, bench.url, kafka.bootstrap) as relay:
        relay.wait_ready()
        write_steadily(bench.url, 20_000, 5)
        print("\n| steady rate | reached | p50 ms | p99 ms | wanted | within |\n|---|---|---|---|---|---|")
        for rate, target in LATENCY_TARGETS_MS.items():
            shares, reached = latency(bench, relay, rate)
            p50, p99 = percentile(shares, 0.5), percentile(shares, 0.99)
            bench.note("latency", f"p50 ms at {rate}", p50)
            words = bench.note("latency", f"p99 ms at {rate}", p99, ("<=", target))
            within = next(share for bound, share in shares if bound == target)
            print(f"| {rate:,} rows/s | {reached:,.0f} | {p50:.1f} | {p99:.1f} | {words} | {within:.2%} |", flush=True)


def measure_poll(bench):
    import psycopg
    from relay_process import MockCluster, Relay, wait_until

    bench.postgres.execute("bench", "TRUNCATE concordat_outbox")
    with psycopg.connect(bench.url) as pin, MockCluster(PARTITIONS, KAFKA_TOPIC) as mock:
        pin.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        pin.execute("SELECT pg_current_xact_id()")
        with Relay(bench.folder, bench.url, mock.bootstrap) as relay, \
                psycopg.connect(bench.url, autocommit=True) as writer:
            writer.execute(FILL.format(bench.rows))
            wait_until(lambda: relay.metric("deleted_total") == bench.rows, relay.log, PATIENCE_SECONDS)
            before = relay.metrics()
            polls = []
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                writer.execute(FILL.format(10))
                time.sleep(0.02)
                polls.append(relay.metric("last_poll_seconds") * 1000)
            after = relay.metrics()
            visible = writer.execute("SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'concordat_outbox' "
                                     "AND n_dead_tup >= %s", (bench.rows // 2,)).fetchone()[0]
    count = after["concordat_outbox_polls_total"] - before["concordat_outbox_polls_total"]
    spent = after["concordat_outbox_poll_seconds_total"] - before["concordat_outbox_poll_seconds_total"]
    mean, median = spent / count * 1000, statistics.median(polls)
    print(f"\n| polls over {bench.rows:,} dead rows, pinned xmin | mean ms | median ms | wanted |\n|---|---|---|---|")
    bench.note("poll", "median ms", median)
    words = bench.note("poll", "mean ms", mean, ("<=", 2))
    print(f"| {count:.0f}{'' if visible else ' (statistics do not show the dead rows)'} | {mean:.2f} | {median:.2f} | "
          f"{words} |", flush=True)


def owners(bench):
    return dict(bench.postgres.execute(
        "bench", "SELECT owner, count(*) FROM concordat_outbox_lease WHERE owner IS NOT NULL "
        "AND expires_at > clock_timestamp() GROUP BY owner"))


def hand_over(bench, bootstrap, how):
    """Seconds from `how` (kill or terminate) of one relay until the other has all buckets; default leases."""
    from relay_process import Relay, wait_until
    with Relay(bench.folder, bench.url, bootstrap, lease__instance="one") as one, \
            Relay(bench.folder, bench.url, bootstrap, lease__instance="two") as two:
        wait_until(lambda: owners(bench) == {"one": 32, "two": 32}, lambda: str(owners(bench)))
        started = time.monotonic()
        one.kill() if how == "kill" else one.terminate()
        wait_until(lambda: owners(bench).get("two") == 64, two.log)
        return time.monotonic() - started


def measure_handover(bench):
    from relay_process import MockCluster
    bench.postgres.execute("bench", "TRUNCATE concordat_outbox")
    print("\n| one of two relays ends | s, three times | wanted |\n|---|---|---|")
    with MockCluster(PARTITIONS, KAFKA_TOPIC) as mock:
        # lease.duration is 5 s.
        for how, name, bound in (("kill", "kill -9", 5), ("terminate", "SIGTERM", 1)):
            times = [hand_over(bench, mock.bootstrap, how) for _ in range(3)]
            words = bench.note("handover", f"{name} s", max(times), ("<=", bound))
            print(f"| {name} | {', '.join(f'{each:.2f}' for each in times)} | {words} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--build", default=str(SOURCE / "build" / "release"))
    chosen = parser.parse_args()
    os.environ["CONCORDAT_BUILD_DIR"] = chosen.build
    parts = (chosen.only,) if chosen.only else PARTS

    from postgres import PostgresCluster

    started = time.monotonic()
    settings = {"shared_buffers": "1GB", "max_wal_size": "4GB"}
    with PostgresCluster(settings=settings) as postgres, tempfile.TemporaryDirectory() as folder:
        bench = Bench(postgres, Path(folder), chosen)
        if "handover" in parts:
            measure_handover(bench)
        if "poll" in parts:
            measure_poll(bench)
        if {"drain", "latency"} & set(parts):
            with real_kafka() as kafka:
                if "drain" in parts:
                    measure_drain(bench, kafka)
                if "latency" in parts:
                    measure_latency(bench, kafka)
    print(f"\n{time.monotonic() - started:.0f} s, load of the machine {os.getloadavg()[0]:.1f}")
    if chosen.json:
        chosen.json.write_text(json.dumps(bench.figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
