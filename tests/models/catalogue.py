"""Which models are checked, in which sizes, and which mutants must fail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    model: str
    defines: tuple[str, ...]
    holds: bool  # False: spin must find a violated assertion
    rule: str  # what is shown, or which rule the mutant breaks
    least_states: int = 0  # a model that shrank below this no longer says what it said

    @property
    def name(self) -> str:
        return " ".join((self.model.removesuffix(".pml"), *self.defines))


TWO = "two_phase_commit.pml"
QUORUM = "quorum_three_phase_commit.pml"
CLASSIC = "classic_three_phase_commit.pml"
OUTBOX = "outbox.pml"

HOLDING = (
    Run(TWO, ("N=2", "L=2", "LIVE"), True, "2PC agrees and drains", 3_000),
    Run(TWO, ("N=3", "L=3", "LIVE"), True, "2PC, three participants, three leaders", 60_000),
    Run(TWO, ("N=2", "L=2", "PIPELINED_BEGIN", "LIVE"), True, "BEGIN in parallel with PREPARE", 3_000),
    Run(TWO, ("N=3", "L=3", "PIPELINED_BEGIN", "LIVE"), True, "the same, larger", 60_000),
    Run(QUORUM, ("N=2", "BALLOTS=2"), True, "quorum 3PC, two participants", 5_000),
    Run(QUORUM, ("N=2", "BALLOTS=3"), True, "two rival terminations", 300_000),
    Run(QUORUM, ("N=3", "BALLOTS=2", "COORDINATOR_DIES", "LIVE"), True, "no coordinator: all still decide", 20_000),
    Run(QUORUM, ("N=3", "BALLOTS=2", "PARTICIPANT_DIES", "LIVE"), True, "one dead: the others still decide", 20_000),
    Run(QUORUM, ("N=3", "BALLOTS=3"), True, "three participants, three ballots", 1_000_000),
    Run(QUORUM, ("N=4", "BALLOTS=2"), True, "four participants and the group", 1_000_000),
    Run(CLASSIC, (), True, "classic 3PC without timeouts blocks, but agrees"),
    Run(OUTBOX, ("CRASHES=2",), True, "outbox, relays, inbox: exactly one effect", 50_000),
)


def mutant(model: str, bug: str, rule: str, *defines: str) -> Run:
    return Run(model, (*defines, f"BUG_{bug}"), False, rule)


MUTANTS = (
    mutant(TWO, "SEND_BEFORE_COMMITTED", "only a committed decision is sent"),
    mutant(TWO, "ANSWER_BEFORE_COMMITTED", "I3: the client is answered after the decision is durable"),
    mutant(TWO, "LEADERSHIP_LOST_IS_FAILURE", "leadership lost is an unknown outcome"),
    mutant(TWO, "FORGET_EARLY", "a commit is forgotten after all acknowledgements"),
    mutant(TWO, "FORGOTTEN_IS_NEW", "a forgotten xid is closed, never new"),
    mutant(TWO, "STALE_READ", "an inquiry is answered linearizably"),
    mutant(TWO, "INQUIRY_UNANSWERED", "I5: who is in doubt can ask, even after it is forgotten", "LIVE"),
    mutant(TWO, "ANSWER_UNDECIDED", "an undecided inquiry first logs ABORT"),
    mutant(TWO, "PREPARE_BEFORE_BEGIN", "an unknown xid is aborted in the log before it is answered"),
    mutant(TWO, "TIMEOUT_DECIDES", "a branch in doubt never decides by itself"),
    mutant(TWO, "COMMIT_WITHOUT_ALL_VOTES", "I2: every participant voted yes"),
    mutant(TWO, "LATER_DECISION_WINS", "I4: the first decision stands"),
    mutant(TWO, "ACKNOWLEDGE_BEFORE_DURABLE", "a branch acknowledges what it has done"),
    mutant(QUORUM, "VOLATILE_ACCEPTOR", "Q1: durable before the reply leaves", "BALLOTS=2"),
    mutant(QUORUM, "REFUSE_AFTER_YES", "Q2: a refusal comes before the vote", "BALLOTS=2"),
    mutant(QUORUM, "PRECOMMIT_WITHOUT_ALL_VOTES", "Q4: PRECOMMIT means all yes", "N=3", "BALLOTS=2"),
    mutant(QUORUM, "ABORT_AFTER_PRECOMMIT", "Q4: no unilateral abort after PRECOMMIT", "BALLOTS=2"),
    mutant(QUORUM, "PRECOMMIT_BEFORE_LOGGED", "Q5: PRE-COMMIT is sent after it is logged", "N=3", "BALLOTS=2"),
    mutant(QUORUM, "ACCEPT_AFTER_HIGHER_PROMISE", "Q5: not accepted after a higher promise"),
    mutant(QUORUM, "COMMIT_WITH_MINORITY", "Q6: COMMIT needs a quorum", "N=3", "BALLOTS=2"),
    mutant(QUORUM, "TERMINATE_WITH_MINORITY", "Q7, Q10: a minority never decides", "N=3", "BALLOTS=2"),
    mutant(QUORUM, "IGNORE_ACCEPTED_VALUE", "Q7: the highest accepted value wins", "BALLOTS=2"),
    mutant(QUORUM, "IGNORE_PARTICIPANTS_ABORT", "Q9: the leader learns the participants' abort", "BALLOTS=2"),
    mutant(QUORUM, "TIMEOUT_DECIDES", "Q11: timeouts start ballots, never decisions", "BALLOTS=2"),
    Run(CLASSIC, ("TIMEOUTS",), False, "classic 3PC's timeouts break agreement"),
    mutant(OUTBOX, "CURSOR", "O1: no cursor is authoritative"),
    mutant(OUTBOX, "DELETE_RANGE", "O2: deleted by explicit ids"),
    mutant(OUTBOX, "SKIP_LOCKED", "O3: one owner per bucket"),
    mutant(OUTBOX, "PASS_REJECTED_ROW", "O4: later rows of a key wait for a rejected one"),
    mutant(OUTBOX, "DELETE_BEFORE_ACKNOWLEDGED", "O7: deleted after the acknowledgement"),
    mutant(OUTBOX, "INSERT_BEFORE_LOCK", "the row is inserted after the aggregate's lock"),
    mutant(OUTBOX, "OUTBOX_IN_ITS_OWN_TRANSACTION", "I7: the row commits with its transaction"),
    mutant(OUTBOX, "NO_INBOX", "I6: the inbox removes duplicates"),
    mutant(OUTBOX, "STORE_OFFSET_FIRST", "offsets are stored after the database commit"),
)

RUNS = HOLDING + MUTANTS

# Larger sizes for scripts/campaign: minutes and gigabytes instead of seconds.
LARGE = (
    Run(OUTBOX, ("CRASHES=3",), True, "outbox with three crashes", 20_000_000),
    Run(QUORUM, ("N=3", "BALLOTS=3", "COORDINATOR_DIES", "LIVE"), True, "no coordinator, two rivals", 3_000_000),
    Run(QUORUM, ("N=3", "BALLOTS=3", "PARTICIPANT_DIES", "LIVE"), True, "one dead, two rivals", 3_000_000),
    Run(QUORUM, ("N=4", "BALLOTS=2", "COORDINATOR_DIES", "LIVE"), True, "four participants alone", 1_000_000),
)
