#!/usr/bin/env python3
"""Replays traces of the simulator against the table of steps.

    tests/models/check_traces.py FILE...        each file is the trace of one run; "-" reads standard input
    tests/models/check_traces.py --runs FILE    one file with many runs; a line "# …" begins the next one

A line is `<milliseconds> <xid> <actor> <event> <detail>`, separated by tabs. Every step of every transaction must be
allowed by a row of transitions.txt. Prints how often each row was taken; exits with 1 at the first step that is not
allowed, or when --complete is given and a row was never taken.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

import transitions  # noqa: E402

SERVER_XID = re.compile(r"g\d+-\d+-\d+")
NOT_A_STEP = {"world"}  # faults: they explain a trace, they are no part of the protocol


class Forbidden(Exception):
    """A step that no row allows."""


@dataclass(frozen=True)
class Step:
    line: str
    actor: str
    event: str
    detail: str


class Table:
    def __init__(self) -> None:
        self.rows = transitions.read()
        self.words = {protocol: transitions.constants(protocol) for protocol in transitions.MODELS}
        self.by_event = defaultdict(list)
        for row in self.rows:
            for event in row.events:
                self.by_event[row.protocol, row.actor, event].append((row.name, *transitions.compiled(row)))


class Replay:
    """All runs so far; only the counts remain of a run that has ended."""

    def __init__(self, table: Table | None = None) -> None:
        self.table = table or Table()
        self.taken: Counter[str] = Counter()
        self.runs = 0
        self.transactions = 0
        self.steps = 0

    def run(self, lines: Iterable[str]) -> None:
        stories = defaultdict(list)
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            if len(fields) != 5:
                raise Forbidden(f"not a line of a trace: {line!r}")
            _, xid, actor, event, detail = fields
            if xid != "-" and actor not in NOT_A_STEP:
                stories[xid].append(Step(line.rstrip("\n"), actor, event, detail))
        for xid, story in stories.items():
            self._replay(xid, story)
        self.runs += 1
        self.transactions += len(stories)

    def _replay(self, xid: str, story: list[Step]) -> None:
        protocol, participants = _identity(story)
        transaction = transitions.Transaction(
            participants, self.table.words[protocol], CLOSED=SERVER_XID.fullmatch(xid) is not None)
        for position, step in enumerate(story):
            row = self._take(protocol, transaction, step)
            if row is None:
                before = "\n".join(f"    {one.line}" for one in story[max(0, position - 20):position])
                raise Forbidden(f"{xid} ({protocol}): no row allows\n  > {step.line}\n  after\n{before}")
            self.taken[row] += 1
            self.steps += 1
            if row.endswith("_enlist"):
                transaction.participants.append(step.detail)
                transaction.resize()

    def _take(self, protocol: str, transaction: transitions.Transaction, step: Step) -> str | None:
        kind = step.actor if step.actor in ("log", "client") else "participant"
        me = None
        if kind == "participant":
            if step.actor not in transaction.participants:
                return None
            me = transaction.participants.index(step.actor)
        ballot, value = _ballot_and_value(step, transaction.words)
        for name, condition, effect in self.table.by_event[protocol, kind, step.event]:
            if condition(transaction, me, ballot, value):
                effect(transaction, me, ballot, value)
                return name
        return None

    def missing(self) -> list[str]:
        """Rows that change something, are not rare, and were never taken."""
        return [row.name for row in self.table.rows if row.then and not row.rare and row.name not in self.taken]

    def summary(self) -> str:
        lines = [f"{self.runs:,} runs, {self.transactions:,} transactions, {self.steps:,} steps; taken:"]
        lines += [f"{self.taken[row.name]:>10,}  {row.name}" for row in self.table.rows]
        return "\n".join(lines)


def _identity(story: list[Step]) -> tuple[str, list[str]]:
    """Protocol and participants, as the BEGIN in the log says; without one, as the steps show."""
    for step in story:
        if step.actor == "log" and step.event == "begin":
            protocol, _, names = step.detail.partition(" ")
            return protocol, [name for name in names.split(",") if name]
    names = sorted({step.actor for step in story} - {"log", "client"})
    return "3pc" if any(step.event in ("promise", "accept") for step in story) else "2pc", names


def _ballot_and_value(step: Step, words: dict[str, int]):
    if step.event not in ("promise", "accept"):
        return None, None
    ballot, _, value = step.detail.partition(" ")
    round_, _, proposer = ballot.partition(".")
    return (int(round_), int(proposer)), words.get(value.upper())


def split_runs(lines: Iterable[str]) -> Iterator[list[str]]:
    run: list[str] = []
    for line in lines:
        if line.startswith("#"):
            if run:
                yield run
            run = []
        else:
            run.append(line)
    if run:
        yield run


def main(arguments: list[str]) -> int:
    many = "--runs" in arguments
    complete = "--complete" in arguments
    replay = Replay()
    try:
        for name in (argument for argument in arguments if not argument.startswith("--")):
            with sys.stdin if name == "-" else open(name, encoding="utf-8") as lines:
                for run in split_runs(lines) if many else [lines]:
                    replay.run(run)
    except Forbidden as problem:
        print(problem)
        return 1
    print(replay.summary())
    missing = replay.missing()
    if complete and missing:
        print("never taken: " + ", ".join(missing))
    return 1 if complete and missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
