"""The table of steps agrees with the models, and refuses what is forbidden."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import check_traces  # noqa: E402
import checker  # noqa: E402
import transitions  # noqa: E402

SIZES = (
    ("1pc", 1, 0, ("L=3",)),
    ("2pc", 2, 0, ("N=2", "L=2")),
    ("3pc", 2, 3, ("N=2", "BALLOTS=3")),
    ("3pc", 3, 2, ("N=3", "BALLOTS=2", "AGAIN")),
    ("2pc", 2, 0, ("N=2", "L=2", "AGAIN")),
    ("2pc", 2, 0, ("N=2", "L=2", "SERVER_XID")),
)


def explore(protocol: str, participants: int, ballots: int, defines: tuple[str, ...], rows=None):
    """Errors that spin found in the model with the table's assertions, and the rows that were taken."""
    output = checker.explore(
        transitions.promela(protocol, participants, ballots, rows), transitions.HERE / transitions.MODELS[protocol],
        defines)
    assert "errors: " in output, output
    assert "max search depth too small" not in output
    taken = {line.split()[1] for line in output.splitlines() if line.startswith("TAKEN ")}
    return "errors: 0" in output, taken


@pytest.fixture(scope="module")
def explored():
    return {size: explore(*size) for size in SIZES}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: " ".join((size[0], *size[3])))
def test_every_step_of_the_models_is_a_row_of_the_table(size, explored):
    """In every reachable state a step satisfies its row, and nothing changes except as rows say."""
    assert explored[size][0]


def test_every_row_is_a_step_of_a_model(explored):
    """A row that no model takes would allow something that nobody has shown to be safe."""
    taken = set().union(*(rows for _, rows in explored.values()))
    assert taken == {row.name for row in transitions.read() if not row.unmodelled}


@pytest.mark.parametrize(("size", "old", "new"), [
    (SIZES[1], "when log == BEGUN && EVERY_VOTE", "when log == UNKNOWN && EVERY_VOTE"),
    (SIZES[1], "then branch[me] = READ_ONLY", "then branch[me] = PREPARED"),
    (SIZES[2], "then PROMISED(group, b)", "then nothing"),
    (SIZES[3], "ANY_NO || log == LOGGED_ABORT", "ANY_NO"),
])
def test_a_table_that_differs_from_the_models_is_noticed(size, old, new):
    text = (transitions.HERE / "transitions.txt").read_text(encoding="utf-8")
    assert text.count(old) >= 1
    assert not explore(*size, transitions.read(text.replace(old, new)))[0]


# ---------------------------------------------------------------- stories by hand


def lines(protocol: str, story: str) -> list[str]:
    """`actor event detail; …` as the lines of a trace; BEGIN first, as in most of them."""
    steps = [step.split(" ", 2) for step in story.split("; ")]
    return [f"{time}\tx\t{step[0]}\t{step[1]}\t{step[2] if len(step) > 2 else ''}"
            for time, step in enumerate((["log", "begin", protocol], *steps))]


TWO = "2pc a,b"
THREE = "3pc a,b,c"
FOUR = "3pc a,b,c,d"
ALL_YES = "a vote_yes; b vote_yes; c vote_yes"
PRECOMMITTED = f"{ALL_YES}; log precommit"
FOUR_PRECOMMITTED = f"{ALL_YES}; d vote_yes; log precommit"

ALLOWED = (
    (TWO, "a vote_yes; b vote_read_only; log decide_commit; client told_committed; a committed; log end"),
    (TWO, "a vote_yes; b tombstone; b vote_no; a aborted; log decide_abort; log end; client told_aborted"),
    (TWO, "a vote_yes; log decide_abort; b tombstone; a aborted; log decide_commit late"),
    (TWO, "log begin 2pc a,b; a vote_yes; b vote_yes; log decide_commit; log decide_abort late; a committed; b committed"),
    ("2pc", "log enlist a; log enlist b; a vote_yes; b vote_yes; log decide_commit; a committed; b committed; log end"),
    ("1pc a", "a committed; log decide_commit; client told_committed; log end"),
    ("1pc a", "a tombstone; a vote_no; log decide_abort; client told_aborted"),
    (TWO, "a tombstone; a vote_no; b vote_read_only; b vote_read_only; log decide_abort"),
    (THREE, f"{PRECOMMITTED}; a accept 0.0 commit; b accept 0.0 commit; log decide_commit; c committed; a committed; "
            "b committed; log end; client told_committed"),
    (THREE, f"{PRECOMMITTED}; a accept 0.0 commit; b promise 1.2; c promise 1.2; a promise 1.2; b accept 1.2 commit; "
            "c accept 1.2 commit; b committed; log decide_commit; a committed; c committed"),
    (THREE, f"{PRECOMMITTED}; b promise 1.2; c promise 1.2; b accept 1.2 abort; c accept 1.2 abort; c aborted; "
            "log decide_abort; a aborted; b aborted; client told_aborted"),
    (THREE, "a vote_yes; b tombstone; a aborted; log decide_abort; c tombstone"),
    (THREE, "a vote_yes; b tombstone; b vote_no; a aborted; a vote_yes; a aborted; a vote_no"),
    (TWO, "a vote_yes; log decide_abort; a aborted; a vote_yes; a aborted"),
    (FOUR, f"{FOUR_PRECOMMITTED}; a promise 1.1; b promise 1.1; log promise 1.1; a accept 1.1 commit; "
           "b accept 1.1 commit; log accept 1.1 commit; a committed; log decide_commit; d committed"),
)


@pytest.mark.parametrize(("protocol", "story"), ALLOWED)
def test_a_story_that_keeps_the_rules_is_allowed(protocol, story):
    replay = check_traces.Replay()
    replay.run(lines(protocol, story))
    assert replay.steps == story.count("; ") + 2


# The last step of each breaks a rule; everything before it is allowed.
FORBIDDEN = (
    (TWO, "a vote_yes; log decide_commit"),                                     # a vote is missing
    (TWO, "a vote_yes; b tombstone; log decide_commit"),
    (TWO, "a vote_yes; b vote_yes; a committed"),                               # before the decision
    (TWO, "a vote_yes; b vote_yes; a aborted"),                                 # a time-out decides
    (TWO, "a vote_yes; b vote_yes; client told_committed"),
    (TWO, "a vote_yes; client told_aborted"),
    (TWO, "a vote_yes; b vote_yes; log decide_commit; client told_aborted"),
    (TWO, "a vote_yes; b vote_yes; log decide_commit; a aborted"),
    (TWO, "a vote_yes; b vote_yes; log decide_commit; a committed; a committed"),   # the effect twice
    (TWO, "a vote_yes; b vote_yes; log decide_commit; a committed; log end"),   # forgotten too early
    (TWO, "a vote_yes; b vote_yes; log end"),
    (TWO, "a vote_yes; log decide_abort; a committed"),
    (TWO, "a vote_yes; a vote_no"),                                             # a refusal after the vote
    (TWO, "a tombstone; a vote_yes"),                                             # a tombstone is for ever
    (TWO, "a vote_read_only; b vote_yes; log decide_commit; a committed"),      # it has left
    (TWO, "a vote_yes; b vote_yes; log decide_commit; a tombstone"),            # it refuses what is committed
    (TWO, "c vote_yes"),                                                        # no participant
    (TWO, "a vote_no"),                                                         # without its tombstone
    (THREE, "a vote_no"),
    ("1pc a", "a vote_no"),
    (TWO, "log precommit"),                                                     # another protocol's step
    ("1pc a", "log decide_commit"),
    ("1pc a", "a committed; log decide_abort"),                                 # the branch decided otherwise
    ("1pc a", "log decide_abort; a committed"),
    ("1pc a", "a committed; client told_committed"),
    (THREE, "a vote_yes; b vote_yes; log precommit"),                           # Q4
    (THREE, f"{PRECOMMITTED}; log decide_abort"),                               # Q4
    (THREE, f"{ALL_YES}; log decide_abort; log precommit; a accept 0.0 commit"),  # Q4, Q5
    (THREE, f"{ALL_YES}; a accept 0.0 commit"),                                 # Q5
    (THREE, f"{PRECOMMITTED}; a promise 1.2; a accept 0.0 commit"),             # Q5
    (THREE, f"{PRECOMMITTED}; a accept 0.0 abort"),
    (THREE, f"{PRECOMMITTED}; a accept 0.0 commit; log decide_commit"),         # Q6
    (THREE, f"{PRECOMMITTED}; a accept 0.0 commit; a committed"),               # Q8
    (THREE, f"{PRECOMMITTED}; client told_committed"),                          # Q6
    (THREE, f"{PRECOMMITTED}; b promise 1.2; b accept 1.2 abort"),              # Q7: no quorum promised
    (THREE, f"{PRECOMMITTED}; a accept 0.0 commit; b accept 0.0 commit; a promise 1.2; c promise 1.2; "
            "a accept 1.2 abort"),                                              # Q7: a value was accepted
    (THREE, f"{PRECOMMITTED}; b promise 1.2; c promise 1.2; b accept 1.2 commit"),  # Q7: none was
    (THREE, f"{PRECOMMITTED}; b promise 2.2; b promise 1.3"),                   # a lower promise
    (THREE, f"{PRECOMMITTED}; b promise 1.2; c promise 1.2; b promise 2.1; b accept 1.2 abort"),
    (THREE, f"{PRECOMMITTED}; b promise 1.2; c promise 1.2; b accept 1.2 abort; b aborted"),   # Q10
    (THREE, "a promise 1.2"),                                                   # Q2: it refuses instead
    (THREE, "a vote_yes; a tombstone"),                                         # Q2
    (THREE, "a vote_yes; a aborted"),                                           # Q11
    (THREE, f"{PRECOMMITTED}; a accept 0.0 commit; b accept 0.0 commit; log decide_commit; client told_aborted"),
    (THREE, f"{PRECOMMITTED}; a accept 0.0 commit; b accept 0.0 commit; log decide_commit; a committed; log end"),
    (FOUR, f"{FOUR_PRECOMMITTED}; a accept 0.0 commit; log decide_commit"),     # 2 of 5
    (FOUR, f"{FOUR_PRECOMMITTED}; log promise 1.1; a promise 1.1; b promise 1.1; log accept 1.1 abort"),
)


@pytest.mark.parametrize(("protocol", "story"), FORBIDDEN)
def test_the_step_that_breaks_a_rule_is_refused(protocol, story):
    trace = lines(protocol, story)
    check_traces.Replay().run(trace[:-1])
    with pytest.raises(check_traces.Forbidden, match="no row allows"):
        check_traces.Replay().run(trace)


def test_a_damaged_line_is_refused():
    with pytest.raises(check_traces.Forbidden, match="not a line"):
        check_traces.Replay().run(["12\tx\tlog begin"])
