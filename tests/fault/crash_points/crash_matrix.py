"""The matrix: which point is hit in which role at which passage while which story is told, and what may come of it.

A point is written here exactly as in the sources; a family as '*' and the kinds that this matrix asks for. What the
sources contain and this file does not, and the other way round, is found by test_crash_coverage.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from crash_stage import PARTICIPANTS

COMMITTED, ABORTED = frozenset({"committed"}), frozenset({"aborted"})
EITHER = COMMITTED | ABORTED
TWO, THREE = PARTICIPANTS[:2], PARTICIPANTS
BEFORE_AND_AFTER = (".before", ".after")


@dataclass(frozen=True)
class Case:
    """One process that dies once. `role` says which, `k` at which passage, or how many followers at once."""

    story: str
    role: str
    point: str  # as in the sources, '*' for the kind
    kind: str | None
    k: int
    protocol: str
    branches: tuple[str, ...]
    outcomes: frozenset[str]

    @property
    def name(self) -> str:
        return self.point.replace("*", self.kind) if self.kind else self.point

    @property
    def label(self) -> str:
        return f"{self.protocol}x{len(self.branches)}-{self.story}-{self.role}-{self.name}-{self.k}"


class Matrix:
    """Collects cases under one protocol and number of branches."""

    def __init__(self, protocol: str, branches: tuple[str, ...]) -> None:
        self.protocol, self.branches = protocol, branches
        self.cases: list[Case] = []
        self.story = "commit"

    def add(self, role: str, point: str, kind: str | None = None, passages=(1,), outcomes=EITHER,
            moments=BEFORE_AND_AFTER) -> None:
        for moment in moments:
            for k in passages:
                self.cases.append(
                    Case(self.story, role, point + moment, kind, k, self.protocol, self.branches, outcomes))

    def leader_entry(self, kind: str, outcomes: frozenset[str], told: frozenset[str]) -> None:
        """One log entry at the leader: until a quorum has it nothing is said; `told`: from when it is applied."""
        self.add("leader", "leader.append.*", kind, outcomes=outcomes)
        self.add("leader", "log.persist.*", kind, outcomes=outcomes)
        self.add("leader", "log.durable.*", kind, outcomes=outcomes)
        self.add("leader", "log.replicate.*", kind, (1, 2), outcomes, moments=(".before",))
        self.add("leader", "log.apply.*", kind, outcomes=told)

    def follower_entry(self, kind: str, outcomes: frozenset[str]) -> None:
        """The same entry at one follower, and at both at the same time."""
        self.add("follower", "log.receive.*", kind, (1, 2), outcomes, moments=(".before",))
        for point in ("log.persist.*", "log.durable.*", "log.apply.*"):
            self.add("follower", point, kind, (1, 2), outcomes)

    def leader_calls(self, kind: str, count: int, outcomes: frozenset[str]) -> None:
        """Delivery to each branch, and each answer."""
        passages = range(1, count + 1)
        self.add("leader", "leader.send.*", kind, passages, outcomes)
        self.add("leader", "leader.result.*", kind, passages, outcomes)


def of_commit(matrix: Matrix) -> None:
    matrix.story = "commit"
    count = len(matrix.branches)
    is_three_phase = matrix.protocol == "3pc"
    before_decision = COMMITTED if is_three_phase else EITHER  # a quorum has accepted: nothing else can come
    matrix.add("leader", "leader.request.*", "begin")
    matrix.leader_entry("begin", EITHER, EITHER)
    matrix.leader_calls("prepare", count, EITHER)
    if is_three_phase:
        matrix.leader_entry("precommit", EITHER, EITHER)
        matrix.leader_calls("pre_commit", count, EITHER)
    matrix.leader_entry("decide_commit", before_decision, COMMITTED)
    matrix.add("leader", "leader.reply.*", "transaction", (1, 2), COMMITTED)
    matrix.leader_calls("commit", count, COMMITTED)
    matrix.leader_entry("end", COMMITTED, COMMITTED)
    for kind in ("begin", "precommit", "decide_commit", "end"):
        if kind != "precommit" or is_three_phase:
            matrix.follower_entry(kind, EITHER)
    matrix.story = "alone"
    for kind in ("begin", "precommit", "decide_commit"):
        if kind != "precommit" or is_three_phase:
            matrix.add("leader", "log.persist.*", kind, moments=(".after",))


def of_refusal(matrix: Matrix) -> None:
    matrix.story = "refuse"
    matrix.leader_entry("decide_abort", ABORTED, ABORTED)
    matrix.add("leader", "leader.reply.*", "transaction", (1, 2), ABORTED)
    matrix.leader_calls("abort", len(matrix.branches) - 1, ABORTED)
    matrix.follower_entry("decide_abort", ABORTED)
    *willing, refusing = matrix.branches
    matrix.add(refusing, "branch.refusal_tombstone", outcomes=ABORTED)
    matrix.add(refusing, "participant.*.answer", "prepare", outcomes=ABORTED)
    for name in willing:
        matrix.add(name, "participant.*", "abort", outcomes=ABORTED, moments=(".received",))
        matrix.add(name, "branch.rollback_prepared", outcomes=ABORTED)
        matrix.add(name, "branch.abort_tombstone", outcomes=ABORTED, moments=(".after",))
        matrix.add(name, "participant.*.answer", "abort", outcomes=ABORTED)


def of_participants(matrix: Matrix) -> None:
    matrix.story = "commit"
    for name in matrix.branches:
        matrix.add(name, "participant.*", "prepare", moments=(".received",))
        matrix.add(name, "branch.prepare_transaction")
        matrix.add(name, "participant.*.answer", "prepare")
        if matrix.protocol == "3pc":
            matrix.add(name, "participant.*", "pre_commit", outcomes=COMMITTED, moments=(".received",))
            matrix.add(name, "acceptor.*", "pre_commit", outcomes=COMMITTED)
            matrix.add(name, "participant.*.answer", "pre_commit", outcomes=COMMITTED)
        matrix.add(name, "participant.*", "commit", outcomes=COMMITTED, moments=(".received",))
        matrix.add(name, "branch.commit_prepared", outcomes=COMMITTED)
        matrix.add(name, "participant.*.answer", "commit", outcomes=COMMITTED)


def of_pause(matrix: Matrix) -> None:
    """The leader stops before what others will notice, and does it when its successor has gone on (C10)."""
    matrix.story = "paused"
    is_three_phase = matrix.protocol == "3pc"
    branches = range(1, len(matrix.branches) + 1)
    matrix.add("leader", "leader.request.*", "begin", moments=(".before",))
    decided = COMMITTED if is_three_phase else EITHER
    for kind, calls, outcomes in (("begin", "prepare", EITHER), ("precommit", "pre_commit", EITHER),
                                  ("decide_commit", "commit", decided), ("end", None, COMMITTED)):
        if kind != "precommit" or is_three_phase:
            matrix.add("leader", "leader.append.*", kind, outcomes=outcomes)
            matrix.add("leader", "log.persist.*", kind, outcomes=outcomes, moments=(".after",))
        if calls and (calls != "pre_commit" or is_three_phase):
            sent = COMMITTED if calls == "commit" else EITHER
            matrix.add("leader", "leader.send.*", calls, branches, sent, moments=(".before",))
            matrix.add("leader", "leader.result.*", calls, branches, sent, moments=(".before",))
    matrix.add("leader", "leader.reply.*", "transaction", (1, 2), COMMITTED, moments=(".before",))


def of_takeover(matrix: Matrix) -> None:
    """The leader is dead already, with all votes in its memory, when its successor dies."""
    matrix.story = "takeover"
    matrix.add("successor", "log.vote")
    for point in ("leader.append.*", "log.persist.*", "log.durable.*", "log.apply.*"):
        matrix.add("successor", point, "epoch")


def of_even_quorum(matrix: Matrix) -> None:
    """Two participants: the coordinator group is an acceptor, its accept is PRECOMMIT in the log."""
    matrix.story = "commit"
    matrix.leader_entry("precommit", EITHER, EITHER)
    matrix.leader_calls("pre_commit", len(matrix.branches), EITHER)
    matrix.leader_entry("decide_commit", COMMITTED, COMMITTED)
    matrix.follower_entry("precommit", EITHER)
    for name in matrix.branches:
        matrix.add(name, "acceptor.*", "pre_commit", outcomes=COMMITTED)
        matrix.add(name, "participant.*.answer", "pre_commit", outcomes=COMMITTED)


def of_termination(matrix: Matrix, story: str, outcomes: frozenset[str]) -> None:
    """All coordinators are gone, the participants decide: who proposes dies, or who is asked."""
    matrix.story = story
    others = range(1, len(matrix.branches))
    for ballot, own in (("promise", "proposer.own_promise"), ("accept", "proposer.own_accept")):
        matrix.add("proposer", own, outcomes=outcomes)
        matrix.add("proposer", "proposer.*", ballot, others, outcomes, moments=(".heard",))
        matrix.add("acceptor", "participant.*", ballot, outcomes=outcomes, moments=(".received",))
        matrix.add("acceptor", "acceptor.*", ballot, outcomes=outcomes)
        matrix.add("acceptor", "participant.*.answer", ballot, outcomes=outcomes)
    matrix.add("proposer", "recovery.finish", outcomes=outcomes)
    matrix.add("proposer", "proposer.tell", outcomes=outcomes, moments=(".before",))
    matrix.add("proposer", "proposer.*", "tell", outcomes=outcomes, moments=(".after",))


def of_group_as_acceptor() -> list[Case]:
    """The coordinators come back and are asked for promise and accept, because one of two participants is gone."""
    matrix = Matrix("3pc", TWO)
    matrix.story = "group"
    # Once the proposer has stored its own accept no quorum without a commit is left; before, the other participant,
    # when it is back, can make one with the proposer.
    for number, (kind, outcomes) in enumerate((("promise", EITHER), ("accept", COMMITTED)), 1):
        matrix.add("node", "leader.request.*", kind, outcomes=outcomes)
        for point in ("leader.append.*", "log.persist.*", "log.durable.*", "log.apply.*"):
            matrix.add("node", point, kind, outcomes=outcomes)
        matrix.add("node", "log.replicate.*", kind, (1, 2), outcomes, moments=(".before",))
        matrix.add("node", "leader.reply.*", "ballot", (number,), outcomes)
    matrix.add("node", "leader.send.*", "learn")
    matrix.add("node", "leader.result.*", "learn")
    return matrix.cases


def of_recovery() -> list[Case]:
    matrix = Matrix("2pc", TWO)
    matrix.story = "peers"
    matrix.add("inventory", "recovery.finish", outcomes=COMMITTED)
    matrix.story = "inquiry"
    matrix.add("asking", "recovery.finish", outcomes=ABORTED)
    # Until ABORT is logged the old leader can come back, with BEGIN on its disk, and be elected.
    matrix.add("node", "leader.request.*", "inquiry")
    matrix.add("node", "leader.append.*", "decide_abort")
    matrix.add("node", "leader.reply.*", "inquiry", outcomes=ABORTED)
    unasked = Matrix("3pc", THREE)
    unasked.story = "unasked"
    unasked.add("depot", "acceptor.*", "refusal", outcomes=ABORTED)
    cases = matrix.cases + unasked.cases
    for branches in (TWO, THREE):
        unrecorded = Matrix("3pc", branches)
        unrecorded.story = "unrecorded"
        unrecorded.add("proposer", "recovery.finish", outcomes=ABORTED)
        cases += unrecorded.cases
    return cases


def of_one_phase() -> list[Case]:
    matrix = Matrix("2pc", ("order",))
    matrix.story = "commit"
    matrix.leader_calls("one_phase", 1, EITHER)
    matrix.add("leader", "leader.append.*", "decide_commit")
    matrix.add("leader", "log.apply.*", "decide_commit", outcomes=COMMITTED)
    matrix.add("order", "participant.*", "one_phase", moments=(".received",))
    matrix.add("order", "branch.one_phase_commit")
    matrix.add("order", "participant.*.answer", "one_phase")
    return matrix.cases


def of_interactive() -> list[Case]:
    """Branches arrive one by one, each an entry; that the client wants to commit is in nobody's log."""
    matrix = Matrix("2pc", TWO)
    matrix.story = "interactive"
    for point in ("leader.request.*", "leader.append.*", "log.persist.*", "log.durable.*", "log.apply.*"):
        matrix.add("leader", point, "enlist", (1, 2))
    matrix.add("leader", "leader.request.*", "decide")
    matrix.add("leader", "leader.send.*", "prepare", (1, 2))
    matrix.add("leader", "leader.append.*", "decide_commit")
    matrix.add("leader", "log.apply.*", "decide_commit", outcomes=COMMITTED)
    return matrix.cases


def of_snapshots() -> list[Case]:
    matrix = Matrix("2pc", TWO)
    matrix.story = "snapshot"
    for role in ("leader", "follower"):
        matrix.add(role, "log.snapshot", moments=(".before", ".stored", ".used"))
    matrix.story = "install"
    matrix.add("follower", "log.snapshot_install", moments=(".received", ".stored", ".log_restarted", ".restored"))
    return matrix.cases


def all_cases() -> list[Case]:
    cases = []
    for protocol, branches in (("2pc", TWO), ("3pc", THREE)):
        matrix = Matrix(protocol, branches)
        of_commit(matrix)
        of_refusal(matrix)
        of_participants(matrix)
        of_takeover(matrix)
        of_pause(matrix)
        cases += matrix.cases
    odd, even = Matrix("3pc", THREE), Matrix("3pc", TWO)
    of_even_quorum(even)
    of_termination(odd, "precommitted", ABORTED)
    of_termination(odd, "accepted", COMMITTED)
    of_termination(even, "precommitted", ABORTED)
    cases += odd.cases + even.cases
    cases += of_group_as_acceptor() + of_recovery() + of_one_phase() + of_interactive() + of_snapshots()
    labels = [case.label for case in cases]
    assert len(labels) == len(set(labels)), "a case is in the matrix twice"
    return cases


POINT = re.compile(r'CONCORDAT_FAILPOINT\(\s*"([^"]+)"')
