"""The stories that are told around a crash: who is armed, what the clients want, who else is killed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from crash_matrix import Case
from crash_stage import PARTICIPANTS, Client, InteractiveClient, Line, Stage
from stack import call, wait_until

ATTEMPTS = 5
LINGER_SECONDS = 2.0  # after the client knows: acknowledgements and END still come
TOO_LATE_SECONDS = 0.15  # a survivor may have been elected by then


@dataclass
class Report:
    """What one case saw."""

    hits: int = 0
    outcome: str = "-"
    seconds: float = 0.0
    settle_seconds: float = 0.0
    victims: list[str] = field(default_factory=list)


def holders(stage: Stage, case: Case) -> list[str]:
    """The processes that the role of a case stands for."""
    if case.role in PARTICIPANTS:
        return [case.role]
    if case.role == "leader":
        # Only a leader passes its points; the log's points are everybody's.
        return stage.nodes() if case.point.startswith("leader.") else [stage.leader()]
    if case.role == "follower":
        return stage.followers()[:case.k]
    if case.role == "node":
        return stage.nodes()
    if case.role in ("proposer", "asking"):
        return list(case.branches)
    return stage.followers()


def lines(stage: Stage, case: Case) -> tuple[list[Line], list[str]]:
    """The plan of a case and the evidence to be found. Followers die each for itself, all others one for all."""
    if case.role == "follower":
        armed = [Line(name, case.name, evidence=f"evidence-{name}") for name in holders(stage, case)]
        return armed, [line.evidence for line in armed]
    return [Line(name, case.name, case.k) for name in holders(stage, case)], ["evidence"]


def some_time_after(done, linger: float):
    """Becomes true a while after `done` did."""
    done_since: list[float] = []

    def over() -> bool:
        if not done_since and done():
            done_since.append(time.monotonic())
        return bool(done_since) and time.monotonic() > done_since[0] + linger

    return over


def after_all_know(waiting: list[Client]):
    """A while after all clients know the outcome: what a point could still hit has been passed."""
    return some_time_after(lambda: all(not client.is_alive() for client in waiting), LINGER_SECONDS)


def wait_for_victims(stage: Stage, evidence: list[str], waiting: list[Client]) -> list[str]:
    """The dead, one for each evidence; fewer when the clients were done without it."""
    over = after_all_know(waiting)
    return [victim for victim in [stage.victim_of(name, over) for name in evidence] if victim is not None]


def wait_for_orphans(stage: Stage, evidence: list[str]) -> list[str]:
    """The same where participants are alone: over when nothing is left to be decided."""
    over = some_time_after(lambda: not stage.prepared(), 0.2)
    return [victim for victim in [stage.victim_of(name, over) for name in evidence] if victim is not None]


class Story:
    """commit, refuse: one transaction, one crash."""

    def __init__(self, stage: Stage, case: Case) -> None:
        self.stage, self.case = stage, case
        self.told: dict[str, str] = {}

    def crash(self) -> list[str]:
        """Tells the story until somebody died; the client stays and insists. Returns the victims."""
        plan, evidence = self.plan()
        self.stage.arm(plan)
        waiting = self.submit()
        victims = wait_for_victims(self.stage, evidence, waiting)
        self.revive()
        self.hear(waiting)
        return victims if len(victims) == len(evidence) else []

    def plan(self) -> tuple[list[Line], list[str]]:
        return lines(self.stage, self.case)

    def submit(self, count: int = 2, filler: int = 0) -> list[Client]:
        """Several clients at once with the same transaction, each at another node: one outcome for all of them."""
        xid = self.stage.next_xid()
        refusing = self.case.branches[-1] if self.case.story == "refuse" else None
        body = self.stage.body(xid, self.case.protocol, self.case.branches, refusing, filler)
        return [self.client(xid, body, first) for first in range(count)]

    def client(self, xid: str, body: dict, first: int) -> Client:
        return Client(self.stage, xid, body, first)

    def revive(self) -> None:
        self.stage.arm([])
        self.stage.start_the_dead()

    def hear(self, waiting: list[Client]) -> None:
        for client in waiting:
            told = client.told()
            before = self.told.setdefault(client.xid, told)
            assert told == before, f"{client.xid}: one client was told {before}, another {told}"


class Paused(Story):
    """C10: the leader does not die, it stands still at the point, and wakes up in the reign of its successor."""

    def crash(self) -> list[str]:
        plan, evidence = self.plan()
        self.stage.arm([replace(line, action="stop") for line in plan])
        waiting = self.submit()
        paused = self.stage.hit_by(evidence[0], after_all_know(waiting))
        if paused is not None:
            process = self.stage.programs[paused]
            wait_until(lambda: self.stage.is_stopped(paused), f"{paused} stands still")
            others = [node for node in self.stage.cluster.nodes if node is not process]
            wait_until(lambda: any(node.is_serving_leader() for node in others), f"{paused} has a successor",
                       explain=self.stage.log_tails)
            self.hear(waiting)
            process.resume()
        self.revive()
        self.hear(waiting)
        return [paused] if paused is not None else []

    def client(self, xid: str, body: dict, first: int) -> Client:
        # A request that the sleeper holds, or that a follower has forwarded to it, is given up early.
        return Client(self.stage, xid, body, first, patience=0.7)


class Interactive(Story):
    def submit(self, count: int = 1, filler: int = 0) -> list[Client]:
        return super().submit(1, filler)

    def client(self, xid: str, body: dict, first: int) -> Client:
        return InteractiveClient(self.stage, xid, body, first)


class Alone(Story):
    """The entry is durable at the leader and was sent to nobody: its core thread stands still before the peers."""

    def plan(self) -> tuple[list[Line], list[str]]:
        plan, evidence = super().plan()
        hold = f"log.replicate.{self.case.kind}.before"
        return plan + [Line(plan[0].process, hold, action="hold", evidence="evidence-hold")], evidence

    def revive(self) -> None:
        # Held when it repeated an older entry to a follower that was behind: it would stand still for ever.
        held = self.stage.evidence("evidence-hold")
        for process in self.stage.cluster.nodes:
            if held and process.is_running() and process.pid == held[2]:
                process.kill()
        super().revive()


class Takeover(Story):
    def plan(self) -> tuple[list[Line], list[str]]:
        plan, evidence = super().plan()
        first = Line(self.stage.leader(), "leader.result.prepare.after", len(self.case.branches), evidence="evidence-1")
        return plan + [first], ["evidence-1", *evidence]


class Snapshot(Story):
    FILLER = 40_000

    def submit(self, count: int = 1, filler: int = 0) -> list[Client]:
        return super().submit(1, self.FILLER)


class Install(Snapshot):
    """A follower was away for so long that what it misses is in a snapshot only."""

    AWAY = 6

    def crash(self) -> list[str]:
        plan, evidence = self.plan()
        absent = plan[0].process
        self.stage.programs[absent].kill()
        for _ in range(self.AWAY):
            self.hear(self.submit())
        self.stage.arm(plan)
        self.stage.start_the_dead([absent])
        victims = wait_for_victims(self.stage, evidence, self.submit())
        self.revive()
        return victims


class Orphaned(Story):
    """All coordinators die when their leader has reached a point; the participants finish without them."""

    def trigger(self) -> list[Line]:
        if self.case.story == "accepted":
            return [Line(node, "leader.append.decide_commit.before", evidence="evidence-trigger")
                    for node in self.stage.nodes()]
        return [Line(self.stage.leader(), "log.apply.precommit.before", evidence="evidence-trigger")]

    def plan(self) -> tuple[list[Line], list[str]]:
        if self.case.role != "acceptor":
            return super().plan()
        return [Line(self.acceptor(), self.case.name, self.case.k)], ["evidence"]

    def acceptor(self) -> str:
        """Not the participant whose turn it is to propose first (Recovery::is_its_turn), but the one after it."""
        turn = 2_166_136_261
        for byte in self.stage.upcoming_xid().encode():
            turn = (turn ^ byte) * 16_777_619 % 2**32
        return self.case.branches[(turn + 1) % len(self.case.branches)]

    def crash(self) -> list[str]:
        plan, evidence = self.plan()
        self.stage.arm(plan + self.trigger())
        waiting = self.submit()
        victims = []
        if self.coordinators_are_gone(waiting):
            victims = self.finish_alone(evidence)
        self.revive()
        self.hear(waiting)
        return victims

    def finish_alone(self, evidence: list[str]) -> list[str]:
        """The participants come to an end without coordinators; who died meanwhile is started again."""
        victims = wait_for_orphans(self.stage, evidence)
        self.stage.start_the_dead(PARTICIPANTS)
        self.stage.wait_until_settled()
        return victims

    def coordinators_are_gone(self, waiting: list[Client], *others: str) -> bool:
        """False when it took so long that the survivors may have gone on."""
        if not wait_for_victims(self.stage, ["evidence-trigger"], waiting):
            return False
        for name in others:
            self.stage.programs[name].kill()
        self.stage.kill_nodes()
        return self.stage.age_of("evidence-trigger") < TOO_LATE_SECONDS


class Group(Orphaned):
    """One of two participants is gone: the other one needs the coordinator group, which has come back."""

    def crash(self) -> list[str]:
        plan, evidence = self.plan()
        self.stage.arm(self.trigger())
        waiting = self.submit()
        victims = []
        if self.coordinators_are_gone(waiting, "inventory") and self.order_is_undecided(waiting[0].xid):
            self.stage.arm(plan)
            self.stage.start_the_dead(self.stage.nodes())
            victims = wait_for_victims(self.stage, evidence, waiting)
        self.revive()
        self.hear(waiting)
        return victims

    def order_is_undecided(self, xid: str) -> bool:
        """Waits for a ballot that the dead inventory had no part in. One before it may have got its promise, and then
        the order service has accepted an abort."""
        before, _ = self.stage.acceptor("order", xid)
        wait_until(lambda: self.stage.acceptor("order", xid)[0] > before, f"the order service promises a ballot of {xid}",
                   explain=self.stage.log_tails)
        return self.stage.acceptor("order", xid)[1] is None


class Unasked(Orphaned):
    """A participant dies before it knows of the transaction, then the coordinators: its peers' promise is its first."""

    def trigger(self) -> list[Line]:
        return [Line("depot", "participant.prepare.received", evidence="evidence-depot")] + [
            Line(node, "leader.result.prepare.before", 2, evidence="evidence-trigger") for node in self.stage.nodes()]

    def crash(self) -> list[str]:
        plan, evidence = self.plan()
        self.stage.arm(self.trigger())
        waiting = self.submit()
        victims = []
        if self.coordinators_are_gone(waiting):
            wait_for_victims(self.stage, ["evidence-depot"], [])
            self.stage.arm(plan)
            self.stage.start_the_dead(PARTICIPANTS)
            victims = self.finish_alone(evidence)
        self.revive()
        self.hear(waiting)
        return victims


class Peers(Orphaned):
    """Two-phase: one participant has committed, the other one was away, the coordinators are gone."""

    def trigger(self) -> list[Line]:
        return [Line("inventory", "participant.commit.received", evidence="evidence-trigger")]

    def crash(self) -> list[str]:
        plan, evidence = self.plan()
        self.stage.arm(self.trigger())
        waiting = self.submit()
        victims = []
        if wait_for_victims(self.stage, ["evidence-trigger"], waiting):
            self.stage.wait_until_settled("order")
            self.stage.kill_nodes()
            self.stage.arm(plan)
            self.stage.start_the_dead(PARTICIPANTS)
            victims = self.finish_alone(evidence)
        self.revive()
        self.hear(waiting)
        return victims


class Inquiry(Story):
    """Nobody remembers the transaction, for BEGIN was on the dead leader's disk only; prepared participants ask."""

    def crash(self) -> list[str]:
        plan, evidence = self.plan()
        leader, followers = self.stage.leader(), self.stage.followers()
        forgetting = [Line(name, "log.receive.begin.before", evidence=f"evidence-{name}") for name in followers]
        self.stage.arm(forgetting + [Line(leader, "leader.result.prepare.after", 2, evidence="evidence-leader")])
        xid = self.stage.next_xid()
        body = self.stage.body(xid, self.case.protocol, self.case.branches)
        impatient = Client(self.stage, xid, body, self.stage.nodes().index(leader), insists=False)
        victims = []
        if wait_for_victims(self.stage, ["evidence-leader"], [impatient]):
            # A follower that is not hit now has not been sent BEGIN, and does not know of it either.
            for line in forgetting:
                self.stage.victim_of(line.evidence, some_time_after(lambda: True, 0.2))
            self.stage.start_the_dead(followers)
            self.stage.arm(plan)
            victims = wait_for_orphans(self.stage, evidence)
        self.revive()
        if victims:
            self.stage.wait_until_settled()
        self.hear([Client(self.stage, xid, body, 0)])
        return victims


class Unrecorded(Orphaned):
    """BEGIN is on nobody's disk when all coordinators die: its prepared participants end what no log has ever known."""

    def crash(self) -> list[str]:
        plan, evidence = self.plan()
        leader, nodes = self.stage.leader(), self.stage.nodes()
        self.stage.arm(plan + [Line(name, "log.persist.begin.before", action="hold", evidence=f"evidence-{name}")
                               for name in nodes])
        xid = self.stage.next_xid()
        body = self.stage.body(xid, self.case.protocol, self.case.branches)
        impatient = Client(self.stage, xid, body, nodes.index(leader), insists=False)
        wait_until(lambda: self.all_are_prepared() or not impatient.is_alive(), "all votes, or the client gives up")
        is_held = self.all_are_prepared() and any(self.stage.evidence(f"evidence-{name}") for name in nodes)
        self.stage.kill_nodes()  # what is held stands still for ever
        victims = self.finish_alone(evidence) if is_held else []
        self.revive()
        assert not victims or self.status_of(xid) == 404, f"{xid}: BEGIN was held back, and yet it is recorded"
        self.hear([Client(self.stage, xid, body, 0)])
        return victims

    def all_are_prepared(self) -> bool:
        return len(self.stage.prepared()) == len(self.case.branches)

    def status_of(self, xid: str) -> int:
        url = f"{self.stage.cluster.nodes[0].url}/v1/transactions/{xid}"
        return wait_until(lambda: (status := call("GET", url).status) in (200, 404) and status,
                          f"the group answers for {xid}", explain=self.stage.log_tails)


STORIES = {
    "commit": Story, "refuse": Story, "paused": Paused, "interactive": Interactive, "alone": Alone,
    "takeover": Takeover, "snapshot": Snapshot, "install": Install, "precommitted": Orphaned, "accepted": Orphaned,
    "group": Group, "unasked": Unasked, "peers": Peers, "inquiry": Inquiry,
    "unrecorded": Unrecorded,
}


class FollowUp:
    """Work goes on: one that must be refused, and one that must commit, while the rest is being cleared up.

    A leader that has just lost its followers may take a transaction that nobody remembers later; it is aborted, and
    its client orders once more. With a quorum back that cannot go on.
    """

    def __init__(self, stage: Stage, case: Case) -> None:
        self.stage, self.case = stage, case
        self.refused = self._submit(case.branches[0])
        self.granted = [self._submit(None)]

    def _submit(self, refusing: str | None) -> Client:
        xid = self.stage.next_xid()
        return Client(self.stage, xid, self.stage.body(xid, self.case.protocol, self.case.branches, refusing), 0)

    def hear(self) -> None:
        assert self.refused.told() == "aborted", f"{self.refused.xid}: committed, though there was not enough"
        while self.granted[-1].told() != "committed":
            assert len(self.granted) < ATTEMPTS, f"{self.granted[-1].xid}: work does not go on"
            self.granted.append(self._submit(None))

    def check(self) -> None:
        for client in [self.refused, *self.granted]:
            self.stage.check(client.xid, self.case.branches, client.told(), everywhere=False)


def run(stage: Stage, case: Case) -> Report:
    """One case: the crash, the return, the audit. A point that nobody reached is a failure."""
    report = Report()
    started = time.monotonic()
    for _ in range(ATTEMPTS):
        stage.disarm()
        stage.wait_until_level()
        story = STORIES[case.story](stage, case)
        report.victims = story.crash()
        crashed = time.monotonic()
        later = FollowUp(stage, case)
        for xid, told in story.told.items():
            stage.check_acknowledged(xid, told)
        later.hear()
        stage.wait_until_settled()
        report.settle_seconds = time.monotonic() - crashed
        for xid, told in story.told.items():
            stage.check(xid, case.branches, told)
            # An attempt that missed the point went another way; all there is to ask of it is that all agree.
            assert not report.victims or told in case.outcomes, \
                f"{xid}: {told}, but only {set(case.outcomes)} is right at {case.name}"
            report.outcome = told
        later.check()
        if report.victims:
            break
    report.hits = len(report.victims)
    report.seconds = time.monotonic() - started
    assert report.hits, f"{case.label}: the point was never reached in {ATTEMPTS} attempts\n{stage.log_tails()}"
    return report
