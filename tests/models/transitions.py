"""The table of steps (transitions.txt): read, turned into Python conditions, and into assertions for spin."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODELS = {
    "1pc": "one_phase_commit.pml",
    "2pc": "two_phase_commit.pml",
    "3pc": "quorum_three_phase_commit.pml",
}
NAME = re.compile(r"[A-Za-z_]\w*")
HISTORY = {"precommitted": False, "presumed": False, "undone": True}  # no variables of the models; True: arrays


@dataclass(frozen=True)
class Row:
    name: str
    protocol: str
    actor: str
    events: tuple[str, ...]
    when: str
    then: tuple[str, ...]
    unmodelled: str
    rare: str


def read(text: str | None = None) -> tuple[Row, ...]:
    if text is None:
        text = (HERE / "transitions.txt").read_text(encoding="utf-8")
    rows = []
    for block in re.split(r"\n(?=\w)", re.sub(r"^(#.*)?\n", "", text, flags=re.MULTILINE)):
        lines = [line.strip() for line in block.strip().splitlines()]
        protocol, actor, *events = lines[1].split()
        members = dict(line.split(" ", 1) for line in lines[2:])
        assert set(members) <= {"when", "then", "unmodelled", "rare"}, lines[0]
        then = re.split(r",\s*(?![^(]*\))", members["then"])
        rows.append(Row(lines[0], protocol, actor, tuple(events), members["when"],
                        () if then == ["nothing"] else tuple(then), members.get("unmodelled", ""),
                        members.get("rare", "")))
    assert len({row.name for row in rows}) == len(rows)
    return tuple(rows)


def constants(protocol: str) -> dict[str, int]:
    """The numbers that the model of a protocol gives to its words."""
    text = (HERE / MODELS[protocol]).read_text(encoding="utf-8")
    return {name: int(value) for name, value in re.findall(r"^#define ([A-Z_]+) (\d+)$", text, re.MULTILINE)}


# ---------------------------------------------------------------- Python


@dataclass
class Transaction:
    """What a trace has shown of one transaction, in the words of the table."""

    participants: list[str]
    words: dict[str, int]
    log: int = 0
    decided: int = 0
    precommitted: int = 0
    presumed: int = 0
    CLOSED: bool = False
    branch: list[int] = field(default_factory=list)
    vote: list[int] = field(default_factory=list)
    outcome: list[int] = field(default_factory=list)
    undone: list[int] = field(default_factory=list)
    promised: list[tuple[int, int]] = field(default_factory=list)
    accepted: list = field(default_factory=list)  # per acceptor: (ballot, value) or None
    promises: dict = field(default_factory=dict)  # ballot -> acceptor -> what it had accepted
    accepts: dict = field(default_factory=dict)  # (ballot, value) -> acceptors

    def __post_init__(self) -> None:
        self.resize()

    def resize(self) -> None:
        missing = len(self.participants) - len(self.branch)
        for numbers in (self.branch, self.vote, self.outcome, self.undone):
            numbers.extend([0] * missing)
        self.promised = [(0, 0)] * (len(self.participants) + 1)
        self.accepted = [None] * (len(self.participants) + 1)

    @property
    def group(self) -> int:
        return len(self.participants)

    @property
    def quorum(self) -> int:
        acceptors = len(self.participants) + (1 - len(self.participants) % 2)
        return acceptors // 2 + 1

    @property
    def EVERY_VOTE(self) -> bool:  # noqa: N802  the table's word
        refused = (self.words["WORKING"], self.words["BRANCH_ABORTED"])
        return all(one not in refused for one in self.branch)

    def ANY_BRANCH(self, state: int) -> bool:  # noqa: N802
        return state in self.branch

    @property
    def ALL_YES(self) -> bool:  # noqa: N802
        return all(one == self.words["YES"] for one in self.vote)

    @property
    def ANY_NO(self) -> bool:  # noqa: N802
        return self.words["NO"] in self.vote

    @property
    def ANY_IN_DOUBT(self) -> bool:  # noqa: N802
        return 0 in self.outcome

    def CHOSEN(self, value: int) -> bool:  # noqa: N802
        return any(len(who) >= self.quorum for (_, what), who in self.accepts.items() if what == value)

    def PROPOSABLE(self, ballot, value: int) -> bool:  # noqa: N802
        if ballot == (0, 0):
            return bool(self.precommitted) and value == self.words["COMMIT"]
        before = self.promises.get(ballot, {}).values()
        for highest, what in [((-1, 0), self.words["ABORT"]), *(one for one in before if one is not None)]:
            holders = sum(1 for one in before if one is None or one[0] <= highest)
            if what == value and holders >= self.quorum:
                return True
        return False

    def PROMISED(self, acceptor: int, ballot) -> None:  # noqa: N802
        self.promised[acceptor] = ballot
        self.promises.setdefault(ballot, {})[acceptor] = self.accepted[acceptor]

    def ACCEPTED(self, acceptor: int, ballot, value: int) -> None:  # noqa: N802
        if ballot == 0:
            ballot = (0, 0)
        if acceptor == self.group and len(self.participants) % 2:
            return  # the group is no acceptor
        self.promised[acceptor] = max(self.promised[acceptor], ballot)
        self.accepted[acceptor] = (ballot, value)
        self.accepts.setdefault((ballot, value), set()).add(acceptor)


def to_python(text: str, words: dict[str, int]) -> str:
    text = text.replace("&&", " and ").replace("||", " or ")
    text = re.sub(r"!(?!=)", " not ", text)

    def name(match: re.Match) -> str:
        word = match[0]
        if word in ("and", "or", "not", "me", "b", "v"):
            return word
        return str(words[word]) if word in words else f"t.{word}"

    return NAME.sub(name, text).strip()


def compiled(row: Row):
    """(condition, effect), both functions of (transaction, me, b, v)."""
    words = constants(row.protocol)
    body = [to_python(effect, words) for effect in row.then]
    source = "def effect(t, me, b, v):\n    pass\n" + "".join(f"    {line}\n" for line in body)
    space: dict = {}
    exec(source, space)  # the table is part of the tree
    return eval(f"lambda t, me, b, v: {to_python(row.when, words)}"), space["effect"]


# ---------------------------------------------------------------- Promela


def _effects(row: Row, acceptors: int, participants: int) -> list[str]:
    lines = []
    for effect in row.then:
        call = re.fullmatch(r"(PROMISED|ACCEPTED)\((\w+), (\w+)(?:, \w+)?\)", effect)
        if call is None:
            lines.append(f"t_{effect.replace('==', '=')}")
            continue
        if call[2] == "group" and acceptors == participants:
            continue
        who = f"[{call[2]}]"
        if call[1] == "PROMISED":
            lines.append(f"t_promised{who} = {call[3]}")
        else:
            lines.append(f"t_promised{who} = {call[3]}")
            lines.append(f"t_accepted_ballot{who} = {call[3]} + 1")
            lines.append(f"t_accepted_value{who} = accept_asked_value({call[3]})")
    return lines


def _quorum_words(acceptors: int, ballots: int) -> str:
    """CHOSEN and PROPOSABLE over the messages of the model."""
    everyone = range(acceptors)
    chosen = " || ".join(f"(ACCEPTS({b}) >= MAJORITY && accept_asked[{b}] == (v))" for b in range(ballots))
    at_most = " + ".join(f"(promise_given[AT(b, {a})] && promise_ballot[AT(b, {a})] <= (h))" for a in everyone)
    has = " || ".join(
        f"(promise_given[AT(b, {a})] && promise_ballot[AT(b, {a})] == (h) && promise_value[AT(b, {a})] == (v))"
        for a in everyone)
    above = " || ".join(f"(CARRIES(b, {h}, v) && AT_MOST(b, {h}) >= MAJORITY)" for h in range(1, ballots))
    return "\n".join((
        f"#define CHOSEN(v) ({chosen})",
        f"#define AT_MOST(b, h) ({at_most})",
        f"#define CARRIES(b, h, v) ({has})",
        "#define PROPOSABLE(b, v) ((b) == 0 && t_precommitted && (v) == COMMIT || (b) > 0 && "
        f"((v) == ABORT && AT_MOST(b, 0) >= MAJORITY || {above}))",
        "#define ANY_NO (" + " || ".join(f"vote[{a}] == NO" for a in everyone[:acceptors - (acceptors % 2 == 0)]) + ")",
        "#define accept_asked_value(b) (accept_asked[b] == 0 -> COMMIT : accept_asked[b])",
    ))


def promela(protocol: str, participants: int, ballots: int = 0, table: tuple[Row, ...] | None = None) -> str:
    """What is put in front of a model so that every TAKEN(row) asserts its row, on variables that only rows change."""
    rows = [row for row in table or read() if row.protocol == protocol and not row.unmodelled]
    acceptors = participants + (1 - participants % 2)
    scalars = [name for name in ("log", "decided") if any(f"{name} =" in effect for row in rows for effect in row.then)]
    arrays = [name for name in ("branch", "vote", "outcome")
              if any(effect.startswith(f"{name}[") for row in rows for effect in row.then)]
    shadow = {name: 0 for name in scalars} | {name: participants for name in arrays}
    if protocol == "3pc":
        shadow |= {name: acceptors for name in ("promised", "accepted_ballot", "accepted_value")}
    same = " && ".join(
        f"t_{name} == {name}" if size == 0 else " && ".join(f"t_{name}[{i}] == {name}[{i}]" for i in range(size))
        for name, size in shadow.items())
    lines = [f"byte t_{name}{f'[{size}]' if size else ''};" for name, size in shadow.items()]
    lines += [f"bit t_{name}{f'[{participants}]' if array else ''};" for name, array in HISTORY.items()]
    if protocol == "3pc":
        lines += [_quorum_words(acceptors, ballots)]
        if participants % 2 == 0:
            lines[-1] = lines[-1].replace(f" || vote[{participants}] == NO", "")
    names = ", ".join(f'"{row.name}"' for row in rows)
    lines.append(
        "c_decl { static const char* const row_names[] = {" + names + "}; static unsigned char taken["
        f"{len(rows)}]; __attribute__((destructor)) static void print_taken(void) {{ int i; "
        f"for (i = 0; i < {len(rows)}; i++) if (taken[i]) printf(\"TAKEN %s\\n\", row_names[i]); }} }}")
    for number, row in enumerate(rows):
        condition = re.sub(r"\bgroup\b", str(participants), row.when)
        condition = re.sub(r"\bv\b", "accept_asked_value(b)", condition)
        condition = re.sub(rf"\b({'|'.join(HISTORY)})\b", r"t_\1", condition)
        effects = [re.sub(r"\bgroup\b", str(participants), effect)
                   for effect in _effects(row, acceptors, participants)]
        body = "; ".join((f"assert({same})", f"assert({condition})", *effects, f"c_code {{ taken[{number}] = 1; }}"))
        # The parameter names must not clash with those of the models' own macros.
        lines.append(f"#define STEP_{row.name}(me, b) {body};")
    lines += ["#define TAKEN(row) STEP_##row(0, 0)", "#define TAKEN_BY(row, who) STEP_##row(who, 0)",
              "#define TAKEN_AT(row, who, at) STEP_##row(who, at)"]
    return "\n".join(lines) + "\n"
