"""The runs of tests/bench/run: every figure beside the HTTP-only ceiling of the same minute.

Why in pairs: a shared machine is noisy, a ratio within one run much less so. The ceiling is a program that does the
five HTTP exchanges of a two-branch transaction and nothing else: no log, no protocol, no JSON. Participants that take
batches spare the coordinator most of its exchanges, so each load of 64 clients is measured without batches too: only
that row does what the ceiling does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(SOURCE / "tests" / "integration" / "harness"), str(SOURCE / "tests" / "fault")]

from clients import COMMITTING, submit  # noqa: E402
from stack import Cluster, StackFailure, program, register_participant  # noqa: E402
from witness import Witness  # noqa: E402

LOADS = ((1, True), (64, True), (64, False))  # clients, participants take batches
NODES = (1, 3)


@dataclass
class Row:
    nodes: int
    clients: int
    batch: bool
    load: dict
    ceiling_per_second: float = 0.0

    @property
    def ratio(self) -> float:
        return self.load["per_second"] / self.ceiling_per_second if self.ceiling_per_second else 0.0

    def of_leader(self, name: str) -> float | None:
        return self.load[name][0]  # the leader is named first


@dataclass
class Runs:
    seconds: float
    rounds: int
    folder: Path
    rows: list[Row] = field(default_factory=list)

    def ceiling(self, clients: int) -> float:
        output = self.json_of("concordat_http_ceiling", "--clients", clients, "--seconds", self.seconds)
        return float(output["per_second"])

    def json_of(self, name: str, *arguments) -> dict:
        done = subprocess.run(
            [str(program(name)), *map(str, arguments), "--json", "-"], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise StackFailure(f"{name} failed with code {done.returncode}:\n{done.stdout}")
        return json.loads(done.stdout)

    def measure(self, count: int) -> None:
        for clients, batch in LOADS:
            rounds = [self.one_round(count, clients, batch) for _ in range(self.rounds)]
            row = sorted(rounds, key=lambda each: each.ratio)[len(rounds) // 2]
            self.rows.append(row)
            print(table_row(row), flush=True)

    def one_round(self, count: int, clients: int, batch: bool) -> Row:
        """The load between two measurements of the ceiling, whose mean is the ceiling of the round."""
        before = self.ceiling(clients)
        load = self.load(count, clients, batch)
        return Row(count, clients, batch, load, (before + self.ceiling(clients)) / 2)

    def load(self, count: int, clients: int, batch: bool) -> dict:
        folder = Path(tempfile.mkdtemp(prefix=f"{count}-nodes-", dir=self.folder))
        with Cluster(count, folder) as cluster:
            cluster.start()
            leader = cluster.wait_for_leader()
            # Clients talk to the leader: what a forwarding follower adds is a figure of its own.
            nodes = [leader] + [node for node in cluster.nodes if node is not leader]
            arguments = ["--clients", clients, "--seconds", self.seconds, "--url", leader.url]
            for node in nodes:
                arguments += ["--pid", node.pid]
            arguments += [] if batch else ["--no-batch"]
            return self.json_of("concordat_load", "--label", f"{count} nodes", *arguments)


def time_to_retry(folder: Path, transactions: int = 40) -> list[float]:
    """Milliseconds from a participant's one 500 to the next attempt, sorted; one failure per transaction."""
    witness = Witness()
    try:
        with Cluster(1, Path(tempfile.mkdtemp(prefix="retry-", dir=folder))) as cluster:
            cluster.start()
            for name in witness.names:
                register_participant(cluster, name, witness.base_url(name))
            witness.fail_first_prepares(transactions)
            for number in range(transactions):
                if submit(cluster, f"retry-{number}", COMMITTING) != "committed":
                    raise StackFailure("a transaction aborted because of one transient 500")
        return sorted(1000 * gap for gap in witness.retry_gaps())
    finally:
        witness.close()


HEADER = ("nodes clients batch      tx/s  ceiling  ratio    p50 ms   p90 ms   p99 ms   max ms   CPU ms/tx  fsync/tx  "
          "calls/tx")


def table_row(row: Row) -> str:
    latency = row.load["latency_ms"]
    figures = [latency[name] for name in ("p50", "p90", "p99", "max")]
    cpu, fsyncs = row.of_leader("cpu_ms_per_transaction"), row.of_leader("fsyncs_per_transaction")
    return (f"{row.nodes:>5} {row.clients:>7} {'yes' if row.batch else 'no':>5} "
            f"{row.load['per_second']:>9.0f} {row.ceiling_per_second:>8.0f} "
            f"{row.ratio:>6.0%} " + "".join(f"{value:>9.2f}" for value in figures)
            + f"{text_of(cpu):>12}{text_of(fsyncs):>10}"
            + f"{row.load['participant_exchanges_per_transaction']:>10.2f}")


def text_of(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}"


def machine() -> str:
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{os.cpu_count()} x {model}, Linux {os.uname().release}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="measured window of each run")
    parser.add_argument("--rounds", type=int, default=1, help="of each load; the one with the median ratio counts")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    parser.add_argument("--directory", type=Path, help="where the logs live; decides which disk is measured")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="concordat-bench-", dir=options.directory))
    runs = Runs(options.seconds, max(1, options.rounds), folder)
    try:
        print(f"machine: {machine()}\n{HEADER}", flush=True)
        for count in NODES:
            runs.measure(count)
        gaps = time_to_retry(folder)
        print(f"a participant's transient 500 is retried after p50 {gaps[len(gaps) // 2]:.0f} ms, "
              f"max {gaps[-1]:.0f} ms")
    except StackFailure as failure:
        print(f"tests/bench/run: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        rows = [{"nodes": row.nodes, "clients": row.clients, "batch": row.batch,
                 "ceiling_per_second": row.ceiling_per_second, "ratio": row.ratio, "load": row.load} for row in runs.rows]
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
