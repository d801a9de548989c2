/* One-phase commit of a transaction with a single branch: the participant decides.
 *
 * The log, the leaders and the network are those of two_phase_commit.pml. A call is repeated until it is
 * answered; an attempt may be carried out late, more than once (which the outcome row makes once), or never.
 * "Turned away" is the answer of a participant that did nothing with the call and never will.
 *
 * Checked: the log never says other than the participant (I1, I4), the client is told what the log says (I3);
 * with -DLIVE, what the participant has done gets into the log (I5).
 *
 * -DL=2|3 leaders with two attempts each      -DBUG_... mutants, each one rule broken
 * TAKEN(...)             names the row of transitions.txt that allows this step; see README.md
 */
#ifndef L
#define L 2
#endif
#define ATTEMPTS 2
#ifndef TAKEN
#define TAKEN(row)
#define TAKEN_BY(row, who)
#endif

#define UNKNOWN 0
#define BEGUN 1
#define COMMITTED 2
#define ABORTED 3

#define WORKING 0
#define BRANCH_COMMITTED 2
#define BRANCH_ABORTED 3

#define CALLED 1
#define TURNED_AWAY 2
#define SAID_COMMITTED 3
#define SAID_ABORTED 4

byte log, epoch, decided;
byte begun_by;                               /* the epoch of the BEGIN in the log: later leaders know of it */
byte branch[1];
byte call[L * ATTEMPTS];                     /* a request on its way, then the answer on its way back */
bit told_committed;

#define AT(k) (me * ATTEMPTS + (k))
#define LEADS (epoch == me + 1)

/* I1, I4: called when a decision enters the log. */
inline decide(outcome) {
    assert(decided == 0 || decided == outcome);
    assert(outcome == ABORTED || branch[0] == BRANCH_COMMITTED);
    assert(outcome == COMMITTED || branch[0] != BRANCH_COMMITTED);
    decided = outcome;
    log = outcome
}

#ifdef BUG_CALL_BEFORE_BEGIN
#define MAY_CALL (log == UNKNOWN || (log == BEGUN && begun_by <= me + 1))
#else
#define MAY_CALL (log == BEGUN && begun_by <= me + 1)
#endif
#ifdef BUG_ABORT_WHILE_CALLED
#define NOTHING_CAN_HAVE_HAPPENED true
#elif defined(BUG_UNKNOWN_IS_REFUSAL)
#define NOTHING_CAN_HAVE_HAPPENED (begun_here && !in_flight)
#else
#define NOTHING_CAN_HAVE_HAPPENED (begun_here && !in_flight && only_refusals)
#endif

proctype Leader(byte me) {
    bit begun_here, in_flight, only_refusals;
    byte attempts;
    end: do
    /* Begun before its epoch, the call may have been sent: only what it began itself is known to be unsent. */
    :: atomic { epoch == me -> epoch = me + 1; only_refusals = 1;
#ifdef BUG_NEW_LEADER_ABORTS
        begun_here = 1
#endif
        }
    :: atomic { LEADS && log == UNKNOWN -> TAKEN(one_begin) log = BEGUN; begun_by = me + 1; begun_here = 1 }
    :: atomic { LEADS && log == UNKNOWN -> TAKEN(one_tombstone) decide(ABORTED) }    /* an inquiry */
    /* Also by a leader that is deposed and does not know it. */
    :: atomic { epoch > me && MAY_CALL && !in_flight && attempts < ATTEMPTS ->
        call[AT(attempts)] = CALLED; attempts++; in_flight = 1 }
    /* No answer in time: the effect is unknown. */
    :: atomic { in_flight -> in_flight = 0; only_refusals = 0 }
    :: atomic { in_flight && call[AT(attempts - 1)] == TURNED_AWAY -> in_flight = 0 }
    :: atomic { LEADS && log == BEGUN && in_flight && call[AT(attempts - 1)] == SAID_COMMITTED ->
        TAKEN(one_commit) decide(COMMITTED); in_flight = 0 }
    :: atomic { LEADS && log == BEGUN && in_flight && call[AT(attempts - 1)] == SAID_ABORTED ->
        TAKEN(one_abort) decide(ABORTED); in_flight = 0 }
    /* The deadline, or the client's abort. */
    :: atomic { LEADS && log == BEGUN && NOTHING_CAN_HAVE_HAPPENED -> TAKEN(one_abort) decide(ABORTED) }
    :: atomic { log == COMMITTED && !told_committed -> TAKEN(one_told_committed) told_committed = 1 }
#ifdef BUG_ANSWER_BEFORE_COMMITTED
    :: atomic { in_flight && call[AT(attempts - 1)] == SAID_COMMITTED && !told_committed ->
        told_committed = 1; assert(log == COMMITTED) }
#endif
#if defined(LIVE) && !defined(BUG_CALL_GIVEN_UP)
    /* The last leader has as many attempts as it needs. */
    :: atomic { LEADS && me == L - 1 && attempts == ATTEMPTS && !in_flight && log == BEGUN ->
        attempts--; call[AT(attempts)] = 0 }
#endif
    od
}

#ifdef LIVE
#define MAY_TURN_AWAY false
#else
#define MAY_TURN_AWAY true
#endif

#define SERVE(k) \
    atomic { call[k] == CALLED && branch[0] == WORKING -> \
        if \
        :: TAKEN_BY(one_committed, 0) branch[0] = BRANCH_COMMITTED; call[k] = SAID_COMMITTED \
        :: TAKEN_BY(one_refused, 0) branch[0] = BRANCH_ABORTED; call[k] = SAID_ABORTED \
        :: MAY_TURN_AWAY -> call[k] = TURNED_AWAY \
        fi; \
        assert(decided != ABORTED || branch[0] != BRANCH_COMMITTED) } \
    :: atomic { call[k] == CALLED && branch[0] == BRANCH_COMMITTED -> call[k] = SAID_COMMITTED } \
    :: atomic { call[k] == CALLED && branch[0] == BRANCH_ABORTED -> call[k] = SAID_ABORTED }

proctype Participant() {
    end: do
    :: SERVE(0)
    :: SERVE(1)
    :: SERVE(2)
    :: SERVE(3)
#if L > 2
    :: SERVE(4)
    :: SERVE(5)
#endif
    od
}

#ifdef LIVE
/* When the newest leader has had its answer. */
active proctype Monitor() {
    endm: timeout;
    assert(log != BEGUN)
}
#endif

init {
    byte i;
    atomic {
        for (i : 0 .. (L - 1)) { run Leader(i) };
        run Participant()
    }
}
