"""Runs spin on one entry of the catalogue and judges what it found."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from catalogue import Run

HERE = Path(__file__).resolve().parent
MAXIMUM_DEPTH = 2_000_000
MAXIMUM_MEGABYTES = 6_000
TIMEOUT_SECONDS = 900


@dataclass(frozen=True)
class Verdict:
    run: Run
    states: int
    seconds: float
    problem: str  # empty: as expected


def _step(command: list[str], folder: Path, seconds: int = TIMEOUT_SECONDS) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False)
    return done.stdout + done.stderr


def _judge(run: Run, output: str) -> tuple[int, str]:
    errors = re.search(r"errors: (\d+)", output)
    stored = re.search(r"(\d+) states, stored", output)
    if errors is None or stored is None:
        return 0, "spin did not finish: " + " | ".join(output.strip().splitlines()[-3:])
    states = int(stored[1])
    violated = "assertion violated" in output
    complete = "max search depth too small" not in output and "Search not completed" not in output
    if run.holds and errors[1] != "0":
        return states, "an error was found"
    if run.holds and not complete:
        return states, "the search was cut short"
    if run.holds and states < run.least_states:
        return states, f"fewer than {run.least_states} states: the model shrank"
    if not run.holds and not violated:
        return states, "the mutant survived"
    if run.violation not in output:
        return states, f"another assertion was violated, not {run.violation}"
    return states, ""


def explore(before: str, model: Path, defines: tuple[str, ...], level: str = "-O2", options: tuple[str, ...] = (),
            seconds: int = TIMEOUT_SECONDS) -> str:
    """What the checker of a model says, with `before` in front of the model; or why there is none."""
    with tempfile.TemporaryDirectory(prefix="concordat-model-") as name:
        folder = Path(name)
        (folder / model.name).write_text(before + model.read_text(encoding="utf-8"), encoding="utf-8")
        output = _step(["spin", "-a", *(f"-D{define}" for define in defines), model.name], folder)
        if not (folder / "pan.c").exists():
            return "spin refused it: " + output.strip()
        output = _step(
            ["cc", level, "-w", "-DSAFETY", *options, f"-DMEMLIM={MAXIMUM_MEGABYTES}", "-o", "pan", "pan.c"], folder)
        if not (folder / "pan").exists():
            return "the checker did not compile: " + output.strip()
        try:
            return _step(["./pan", f"-m{MAXIMUM_DEPTH}"], folder, seconds)
        except subprocess.TimeoutExpired:
            return f"timed out after {seconds} s"


def check(run: Run) -> Verdict:
    started = time.monotonic()
    # Mutants fail within a few thousand states; optimising their checker would cost more than it saves.
    output = explore("", HERE / run.model, run.defines, "-O2" if run.holds else "-O0", run.compiler,
                     60 * run.minutes)
    states, problem = _judge(run, output)
    return Verdict(run, states, time.monotonic() - started, problem)


def check_all(runs: list[Run]) -> list[Verdict]:
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        return list(pool.map(check, runs))


def table(verdicts: list[Verdict]) -> str:
    lines = [f"{'states':>10} {'seconds':>8}  {'expected':<9} {'result':<8} run"]
    for verdict in verdicts:
        expected = "holds" if verdict.run.holds else "fails"
        result = "ok" if verdict.problem == "" else "WRONG"
        lines.append(
            f"{verdict.states:>10,} {verdict.seconds:>8.1f}  {expected:<9} {result:<8} "
            f"{verdict.run.name} ({verdict.run.rule})")
        if verdict.problem:
            lines.append(f"{'':>10} {'':>8}  {verdict.problem}")
    lines.append(f"{sum(verdict.states for verdict in verdicts):>10,} states in all")
    return "\n".join(lines)
