#!/usr/bin/env python3
"""Measures concordat-relay and prints a table.

    build/venv/bin/python tests/bench/relay/run.py [--rows 1000000] [--seconds 10] [--only drain|latency]
        [--build build/release]

Drain: a backlog of rows of 200 bytes, against librdkafka's mock cluster and against a real Kafka broker, each
beside two ceilings measured in the same run: the database alone (read and delete, no Kafka) and the producer
alone (no database). Latency: from commit to the broker's acknowledgement, at steady rates against the real
broker, from the relay's own histogram. Everything
runs on this machine: database, broker, writer and relay share its cores.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(SOURCE / "tests" / "integration" / "harness"))
sys.path.insert(0, str(SOURCE / "tests" / "integration" / "relay"))

PARTITIONS = 4
TOPIC = "bench"
FILL = ("INSERT INTO concordat_outbox (topic, key, type, payload) SELECT 'bench', "
        "convert_to('key-' || i % 1000, 'UTF8'), 'bench', convert_to(repeat('x', 200), 'UTF8') "
        "FROM generate_series(1, {}) i")


def fill(postgres, rows):
    postgres.execute("bench", "TRUNCATE concordat_outbox")
    postgres.execute("bench", FILL.format(rows))
    postgres.execute("bench", "VACUUM ANALYZE concordat_outbox")
    postgres.execute("bench", "CHECKPOINT")


def ceiling(*arguments):
    import subprocess
    from relay_process import PROGRAMS
    done = subprocess.run([PROGRAMS / "relay_ceiling", *map(str, arguments)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def drain(folder, url, bootstrap, rows, wait_until):
    """(rows per second from the first to the last deletion, peak memory in MiB)"""
    from relay_process import Relay
    with Relay(folder, url, bootstrap) as relay:
        wait_until(lambda: relay.metric("deleted_total") > 0, relay.log)
        started, at_start = time.monotonic(), relay.metric("deleted_total")
        wait_until(lambda: relay.metric("deleted_total") >= rows, relay.log, 600)
        rate = (rows - at_start) / (time.monotonic() - started)
        return rate, relay.memory_bytes() / 2**20


def write_steadily(url, rate, seconds, errors):
    """One transaction every two milliseconds on each of two connections."""
    import psycopg
    per_transaction = max(1, rate // 1000)

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


def latency(folder, url, bootstrap, rate, seconds):
    """[(bound in ms, share within)] and the rate that was reached."""
    from relay_process import Relay, wait_until
    errors = []
    with Relay(folder, url, bootstrap) as relay:
        relay.wait_ready()
        write_steadily(url, rate, 2, errors)  # warm caches, topic and plans
        before = relay.metrics()
        started = time.monotonic()
        write_steadily(url, rate, seconds, errors)
        elapsed = time.monotonic() - started
        wait_until(lambda: relay.metric("rows_in_memory") == 0, relay.log)
        after = relay.metrics()
        assert relay.metric("swept_total") == 0, "rows were missed and found by the sweep"
    if errors:
        raise errors[0]
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


def measure_drain(postgres, url, folder, rows):
    from kafka import KafkaBroker
    from relay_process import MockCluster, probe, wait_until

    topic = f"outbox.event.{TOPIC}"
    print(f"| {rows:,} rows of 200 bytes | rows/s | share of the lower ceiling |\n|---|---|---|")
    fill(postgres, rows)
    database = ceiling("database", url)
    print(f"| database alone, read and delete | {database:,.0f} | |", flush=True)
    with MockCluster(PARTITIONS, topic) as mock:
        alone = ceiling("kafka", mock.bootstrap, topic, min(rows, 200_000))
    print(f"| producer alone, mock cluster | {alone:,.0f} | |", flush=True)
    fill(postgres, rows)
    with MockCluster(PARTITIONS, topic) as mock:
        rate, memory = drain(folder, url, mock.bootstrap, rows, wait_until)
    print(f"| relay, mock cluster | {rate:,.0f} | {rate / min(database, alone):.0%} |", flush=True)
    with KafkaBroker() as kafka:
        probe("create", kafka.bootstrap, f"{topic}:{PARTITIONS}")
        alone = ceiling("kafka", kafka.bootstrap, topic, rows)
        print(f"| producer alone, Kafka 3.9.1 | {alone:,.0f} | |", flush=True)
        fill(postgres, rows)
        rate, real_memory = drain(folder, url, kafka.bootstrap, rows, wait_until)
        print(f"| relay, Kafka 3.9.1 | {rate:,.0f} | {rate / min(database, alone):.0%} |", flush=True)
    print(f"\npeak memory of the relay: {max(memory, real_memory):.0f} MiB\n")


def measure_latency(postgres, url, folder, seconds):
    from kafka import KafkaBroker
    from relay_process import probe

    postgres.execute("bench", "TRUNCATE concordat_outbox")
    with KafkaBroker() as kafka:
        probe("create", kafka.bootstrap, f"outbox.event.{TOPIC}:{PARTITIONS}")
        print("| steady rate | reached | p50 ms | p99 ms |\n|---|---|---|---|")
        for rate in (1000, 20_000):
            shares, reached = latency(folder, url, kafka.bootstrap, rate, seconds)
            print(f"| {rate:,} rows/s | {reached:,.0f} | {percentile(shares, 0.5):.1f} | "
                  f"{percentile(shares, 0.99):.1f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description="Measures concordat-relay.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--only", choices=["drain", "latency"])
    parser.add_argument("--build", default=str(SOURCE / "build" / "release"))
    chosen = parser.parse_args()
    os.environ["CONCORDAT_BUILD_DIR"] = chosen.build

    from postgres import PostgresCluster

    settings = {"shared_buffers": "1GB", "max_wal_size": "4GB"}
    with PostgresCluster(settings=settings) as postgres, tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        postgres.create_database("bench")
        url = postgres.url("bench")
        for name in ("000002_outbox.up.sql", "000003_inbox.up.sql"):
            postgres.execute("bench", (SOURCE / "migrations" / "participant" / name).read_text(encoding="utf-8"))
        if chosen.only != "latency":
            measure_drain(postgres, url, folder, chosen.rows)
        if chosen.only != "drain":
            measure_latency(postgres, url, folder, chosen.seconds)


if __name__ == "__main__":
    main()
