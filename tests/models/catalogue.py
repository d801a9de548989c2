"""Which models are checked, in which sizes, which mutants must fail, and which rule each of them breaks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    model: str
    defines: tuple[str, ...]
    holds: bool  # False: spin must find a violated assertion
    rule: str  # what is shown, or which rule the mutant breaks
    least_states: int = 0  # a model that shrank below this no longer says what it said
    violation: str = ""  # a part of the assertion that must be the violated one
    compiler: tuple[str, ...] = ()  # options of the checker's compilation
    minutes: int = 15  # at most

    @property
    def name(self) -> str:
        return " ".join((self.model.removesuffix(".pml"), *self.defines))


TWO = "two_phase_commit.pml"
ONE = "one_phase_commit.pml"
QUORUM = "quorum_three_phase_commit.pml"
CLASSIC = "classic_three_phase_commit.pml"
OUTBOX = "outbox.pml"

HOLDING = (
    Run(TWO, ("N=2", "L=2", "LIVE"), True, "2PC agrees and drains", 80_000),
    Run(TWO, ("N=2", "L=3", "LIVE"), True, "three leaders, lost BEGINs, stale PREPAREs", 2_000_000),
    Run(TWO, ("N=3", "L=2", "LIVE"), True, "three participants", 1_200_000),
    Run(TWO, ("N=2", "L=2", "REUSE", "LIVE"), True, "an xid used again: effects happen once", 350_000),
    Run(TWO, ("N=2", "L=2", "DEAD=1", "LIVE"), True, "2PC decides: one participant gone", 80_000),
    Run(TWO, ("N=2", "L=2", "AGAIN"), True, "a branch prepared again between rollback and tombstone", 100_000),
    Run(TWO, ("N=2", "L=2", "SERVER_XID", "LIVE"), True, "an xid that is closed without an entry", 30_000),
    Run(ONE, ("L=3",), True, "a single branch decides, the log follows", 60_000),
    Run(ONE, ("L=3", "LIVE"), True, "the log learns what the branch did", 7_000),
    Run(QUORUM, ("N=2", "BALLOTS=3"), True, "quorum 3PC, two participants, two rival terminations", 150_000),
    Run(QUORUM, ("N=3", "BALLOTS=3"), True, "three participants, three ballots", 600_000),
    Run(QUORUM, ("N=4", "BALLOTS=2"), True, "four participants and the group", 450_000),
    Run(QUORUM, ("N=2", "BALLOTS=3", "COORDINATOR_DIES", "LIVE"), True, "3PC decides: group gone, 2 of 3 left", 300_000),
    Run(QUORUM, ("N=2", "BALLOTS=2", "DEAD=1", "LIVE"), True, "3PC decides: participant gone, 2 of 3 left", 5_000),
    Run(QUORUM, ("N=3", "BALLOTS=2", "COORDINATOR_DIES", "DEAD=1", "LIVE"), True,
        "3PC decides: group and participant gone, 2 of 3 left", 50_000),
    Run(QUORUM, ("N=3", "BALLOTS=2", "AGAIN"), True, "a branch prepared again between rollback and tombstone", 10_000),
    Run(CLASSIC, (), True, "classic 3PC without timeouts blocks, but agrees"),
    Run(OUTBOX, ("CRASHES=2",), True, "outbox, relays, inbox: exactly one effect", 4_000_000),
    Run(OUTBOX, ("CRASHES=1", "HASTY"), True, "a crash of the database takes commits and DELETEs back", 400_000),
)


def blocked(model: str, what: str, *defines: str) -> Run:
    """Nobody errs, but somebody stays in doubt: the limit of the protocol, shown to be real."""
    return Run(model, (*defines, "LIVE"), False, what, 0, "branch[k]!=1" if model == TWO else "outcome[k]!=0")


BLOCKING = (
    blocked(TWO, "2PC waits: the group is gone, all are in doubt", "N=2", "L=2", "COORDINATOR_DIES"),
    blocked(QUORUM, "Q10, 3PC waits: 1 of 3 left", "N=2", "BALLOTS=2", "COORDINATOR_DIES", "DEAD=1"),
    blocked(QUORUM, "Q10, 3PC waits: 1 of 3 left, the group is no acceptor", "N=3", "BALLOTS=2", "DEAD=2"),
    blocked(QUORUM, "Q10, 3PC waits: 2 of 5 left", "N=4", "BALLOTS=2", "COORDINATOR_DIES", "DEAD=2"),
)


@dataclass(frozen=True)
class Rule:
    """A rule of the protocol, the mutants that break it, and the tests of what models cannot say."""

    key: str
    text: str
    mutants: tuple[Run, ...] = ()
    tests: tuple[str, ...] = ()


def mutant(model: str, bug: str, rule: str, *defines: str) -> Run:
    return Run(model, (*defines, f"BUG_{bug}"), False, rule)


B2 = "BALLOTS=2"
N3 = "N=3"

RULES = (
    Rule("P1", "BEGIN and PREPARE go in parallel; what the log does not know is aborted there before it is answered",
         (mutant(TWO, "UNKNOWN_ANSWERED_UNLOGGED", "an unknown xid is answered without logging ABORT"),)),
    Rule("P2", "commit needs every vote",
         (mutant(TWO, "COMMIT_WITHOUT_ALL_VOTES", "I2: one yes is enough"),)),
    Rule("P3", "only a committed decision is sent and answered",
         (mutant(TWO, "SEND_BEFORE_COMMITTED", "COMMIT is sent before it is in the log"),
          mutant(TWO, "ANSWER_BEFORE_COMMITTED", "I3: the client is told before it is in the log"))),
    Rule("P4", "a commit is forgotten after all acknowledgements, and those are true",
         (mutant(TWO, "FORGET_EARLY", "one acknowledgement is enough to forget"),
          mutant(TWO, "ACKNOWLEDGE_BEFORE_DURABLE", "a branch acknowledges what it has not done yet"))),
    Rule("P5", "the first decision stands",
         (mutant(TWO, "LATER_DECISION_WINS", "I4: a later decision replaces the first"),)),
    Rule("P6", "leadership lost is an unknown outcome",
         (mutant(TWO, "LEADERSHIP_LOST_IS_FAILURE", "a lost append is taken for an abort"),)),
    Rule("P7", "an inquiry is answered linearizably, and not before there is a decision",
         (mutant(TWO, "STALE_READ", "answered from a leader's own memory"),
          mutant(TWO, "ANSWER_UNDECIDED", "an undecided transaction is called aborted"),
          mutant(TWO, "INQUIRY_UNANSWERED", "I5: who is in doubt cannot ask", "LIVE"))),
    Rule("P8", "a new leader serves after its epoch entry, and resumes what is unfinished",
         (mutant(TWO, "SERVES_BEFORE_EPOCH", "it takes a known xid for a new one"),
          mutant(TWO, "NOT_RESUMED", "I5: it leaves alone what others began", "LIVE"))),
    Rule("P9", "a PREPARE of an older epoch is refused, one of a newer epoch replaces what the older one said",
         (mutant(TWO, "EPOCH_NOT_CHECKED", "a stale PREPARE is heeded"),
          mutant(TWO, "OLDER_CONTEXT_KEPT", "the capability of a lost BEGIN is kept")),
         ("tests/unit/core/transaction_coordinator_test.cpp",)),
    Rule("P10", "clocks decide nothing",
         (mutant(TWO, "TIMEOUT_DECIDES", "a branch in doubt rolls back by itself"),)),
    Rule("P11", "who voted read-only leaves; who voted yes does not",
         (mutant(TWO, "YES_IS_SPARED", "a yes is not told the decision"),)),
    Rule("P12", "a single branch commits in one phase and decides by it",
         (mutant(ONE, "CALL_BEFORE_BEGIN", "the call leaves before BEGIN is committed"),
          mutant(ONE, "ABORT_WHILE_CALLED", "the deadline aborts while the call is on its way"),
          mutant(ONE, "UNKNOWN_IS_REFUSAL", "a call without an answer is taken for one without effect"),
          mutant(ONE, "NEW_LEADER_ABORTS", "a new leader thinks that nothing was sent"),
          mutant(ONE, "ANSWER_BEFORE_COMMITTED", "I3: the client is told before it is in the log"))),
    Rule("P13", "a forgotten xid is closed; outcome rows catch what clients re-use",
         (mutant(TWO, "FORGOTTEN_IS_NEW", "a forgotten xid is begun again"),
          mutant(TWO, "OUTCOME_ROWS_DROPPED", "I6: without outcome rows the effect happens twice", "REUSE"))),
    Rule("P14", "calls are repeated until they are answered",
         (mutant(ONE, "CALL_GIVEN_UP", "I5: the call is not repeated", "LIVE"),),
         ("tests/golden/transcripts/retries.txt", "tests/unit/core/call_scheduler_test.cpp")),
    Rule("P15", "cooperative termination in 2PC: only an outcome or a tombstone of a peer ends a doubt",
         (mutant(TWO, "UNPREPARED_PEER_MEANS_ABORT", "a peer that has not voted is taken for a no"),)),
    Rule("Q1", "what an acceptor votes, promises or accepts is durable before the reply leaves",
         (mutant(QUORUM, "VOLATILE_ACCEPTOR", "a participant forgets promises", B2),
          mutant(QUORUM, "GROUP_ANSWERS_BEFORE_LOGGED", "the group's promise is not in its log yet"))),
    Rule("Q2", "a participant refuses only before it voted, and for ever",
         (mutant(QUORUM, "REFUSE_AFTER_YES", "a refusal after the vote", B2),)),
    Rule("Q3", "PREPARE names participants and quorum; yes only if the branch is prepared",
         (mutant(QUORUM, "YES_BEFORE_PREPARED", "a yes that a crash takes back", B2),
          mutant(QUORUM, "QUORUM_NOT_NAMED", "who answers is taken for everybody", N3, B2))),
    Rule("Q4", "the log takes exactly one of PRECOMMIT (all yes) and ABORT",
         (mutant(QUORUM, "PRECOMMIT_WITHOUT_ALL_VOTES", "one yes is enough", N3, B2),
          mutant(QUORUM, "PRECOMMIT_AFTER_ABORT", "PRECOMMIT behind an ABORT", N3, B2),
          mutant(QUORUM, "ABORT_AFTER_PRECOMMIT", "a unilateral ABORT behind PRECOMMIT", B2))),
    Rule("Q5", "PRE-COMMIT is sent after it is logged, accepted if nothing higher was promised",
         (mutant(QUORUM, "PRECOMMIT_BEFORE_LOGGED", "sent before it is logged", N3, B2),
          mutant(QUORUM, "ACCEPT_AFTER_HIGHER_PROMISE", "accepted after a higher promise"),
          mutant(QUORUM, "GROUP_PROMISES_WHILE_PREPARING", "the group promises without aborting, then precommits", B2))),
    Rule("Q6", "COMMIT needs a quorum of accepts, then the client is answered",
         (mutant(QUORUM, "COMMIT_WITH_MINORITY", "a minority is enough", N3, B2),
          mutant(QUORUM, "ANSWER_AT_PRECOMMIT", "the client is answered at PRECOMMIT", N3, B2))),
    Rule("Q7", "a ballot of its own: promises of a quorum, the highest accepted value or abort, accepts of a quorum",
         (mutant(QUORUM, "IGNORE_ACCEPTED_VALUE", "accepted values are ignored", B2),
          mutant(QUORUM, "BALLOT_NOT_UNIQUE", "two proposers share a ballot", N3, B2))),
    Rule("Q8", "an outcome, a no or a tombstone settles it; an accepted value does not",
         (mutant(QUORUM, "ACCEPTED_IS_DECIDED", "an accepted value is taken for the decision", N3, B2),
          mutant(QUORUM, "TOMBSTONE_UNSAID", "I5: a tombstone is not told", B2, "COORDINATOR_DIES", "LIVE"))),
    Rule("Q9", "after PRECOMMIT the leader learns what the participants decided",
         (mutant(QUORUM, "IGNORE_PARTICIPANTS_ABORT", "the participants' abort is ignored", B2),)),
    Rule("Q10", "a minority never decides; it stays prepared (the runs that wait)",
         (mutant(QUORUM, "TERMINATE_WITH_MINORITY", "a minority terminates", "N=4", B2),)),
    Rule("Q11", "timeouts start ballots, never decisions",
         (mutant(QUORUM, "TIMEOUT_DECIDES", "a timeout decides", B2),
          Run(CLASSIC, ("TIMEOUTS",), False, "classic 3PC's timeouts break agreement"))),
    Rule("O1", "no cursor is authoritative", (mutant(OUTBOX, "CURSOR", "a cursor passes late rows"),)),
    Rule("O2", "rows are deleted by explicit ids, and only the event that was sent",
         (mutant(OUTBOX, "DELETE_RANGE", "a range is deleted"),
          mutant(OUTBOX, "DELETE_WHO_HAS_THE_ID", "an id that was drawn again", "CRASHES=1", "HASTY"))),
    Rule("O3", "one owner per bucket", (mutant(OUTBOX, "SKIP_LOCKED", "relays share a bucket"),)),
    Rule("O4", "later rows of a key wait for a rejected one",
         (mutant(OUTBOX, "PASS_REJECTED_ROW", "a rejected row is passed"),)),
    Rule("O7", "rows are deleted after the acknowledgement",
         (mutant(OUTBOX, "DELETE_BEFORE_ACKNOWLEDGED", "deleted when taken"),)),
    Rule("I6", "one effect: the aggregate's lock first, one transaction, the inbox, offsets last",
         (mutant(OUTBOX, "INSERT_BEFORE_LOCK", "the row is inserted before the lock"),
          mutant(OUTBOX, "OUTBOX_IN_ITS_OWN_TRANSACTION", "I7: the row commits by itself"),
          mutant(OUTBOX, "NO_INBOX", "duplicates take effect"),
          mutant(OUTBOX, "STORE_OFFSET_FIRST", "offsets are stored before the effect"))),
)

MUTANTS = tuple(run for rule in RULES for run in rule.mutants)

RUNS = HOLDING + BLOCKING + MUTANTS


def rules_table() -> str:
    """Rule by rule which mutant breaks it, for README.md."""
    lines = ["| rule | | broken on purpose, and caught |", "|---|---|---|"]
    for rule in RULES:
        broken = [f"`{run.defines[-1]}` {run.rule}" for run in rule.mutants]
        broken += [f"[{test.rsplit('/', 1)[-1]}](../../{test})" for test in rule.tests]
        lines.append(f"| {rule.key} | {rule.text} | {'<br>'.join(broken)} |")
    return "\n".join(lines)


# Larger sizes for scripts/campaign: minutes, hours and gigabytes instead of seconds. HC4 keeps 64 bits of a state.
COLLAPSE = ("-DCOLLAPSE",)
HASH_COMPACT = ("-DHC4",)
LARGE = (
    Run(OUTBOX, ("CRASHES=3",), True, "outbox with three crashes", 20_000_000),
    Run(TWO, ("N=3", "L=3"), True, "three participants, three leaders", 20_000_000, "", COLLAPSE, 120),
    Run(QUORUM, ("N=3", "BALLOTS=3", "COORDINATOR_DIES", "DEAD=1", "LIVE"), True,
        "group and participant gone, two rivals", 1_000_000),
    Run(QUORUM, ("N=4", "BALLOTS=2", "DEAD=2", "LIVE"), True, "3PC decides: two participants gone, 3 of 5 left", 2_000_000),
    Run(QUORUM, ("N=4", "BALLOTS=2", "COORDINATOR_DIES", "DEAD=1", "LIVE"), True, "3PC decides: 3 of 5 left", 1_000_000),
    Run(QUORUM, ("N=4", "BALLOTS=3", "VOTED"), True, "four participants, three ballots", 10_000_000, "", HASH_COMPACT, 600),
)
