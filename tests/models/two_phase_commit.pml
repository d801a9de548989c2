/* Two-phase commit whose decision is an entry of a replicated log.
 *
 * The log is one variable: the state machine that every replica computes from the committed entries. What
 * makes it distributed is around it: L processes that all believe they lead, each with its own, possibly
 * stale, view of the log; N participants; and a network that loses, repeats and reorders. A message is a
 * bit that, once set, may be read any number of times at any later moment, or never. All state is durable
 * where it is written, so a crash with restart is a process that takes no step for a while.
 *
 * Checked: no participant commits what another aborts (I1), a commit has every vote (I2), nobody is told
 * "committed" before it is decided (I3), the decision never changes (I4); with -DLIVE, nobody stays in
 * doubt once everything that can happen has happened (I5).
 *
 * -DN=2|3 participants   -DL=2|3 leaders
 * -DPIPELINED_BEGIN      PREPARE is sent in parallel with appending BEGIN
 * -DBUG_...              mutants, each one rule broken; see tests/models/run
 */
#ifndef N
#define N 2
#endif
#ifndef L
#define L 2
#endif

/* The transaction in the log. */
#define UNKNOWN 0
#define BEGUN 1
#define COMMITTED 2
#define ABORTED 3
#define FORGOTTEN 4

/* A branch at its participant. ABORTED covers the tombstone of a branch that was never prepared. */
#define WORKING 0
#define PREPARED 1
#define BRANCH_COMMITTED 2
#define BRANCH_ABORTED 3
#define READ_ONLY 4

/* Votes. */
#define YES 1
#define NO 2

byte log;
byte view[L];
byte decided;                                /* history: the first decision, 0 before it */
bit told_committed;                          /* history: the client has its answer */
byte branch[N];
byte vote[N];
bit acknowledged[N];
bit sent_prepare, sent_commit, sent_abort;
bit asked[N], answered_abort[N], answered_commit[N];

#if N == 2
#define ALL_YES (vote[0] == YES && vote[1] == YES)
#define ALL_DONE (acknowledged[0] && acknowledged[1])
#define ANY_YES (vote[0] == YES || vote[1] == YES)
#define ANY_DONE (acknowledged[0] || acknowledged[1])
#define ANY_ASKED (asked[0] || asked[1])
#else
#define ALL_YES (vote[0] == YES && vote[1] == YES && vote[2] == YES)
#define ALL_DONE (acknowledged[0] && acknowledged[1] && acknowledged[2])
#define ANY_YES (vote[0] == YES || vote[1] == YES || vote[2] == YES)
#define ANY_DONE (acknowledged[0] || acknowledged[1] || acknowledged[2])
#define ANY_ASKED (asked[0] || asked[1] || asked[2])
#endif

/* I1: called after every change of a branch. */
inline agree(i) {
    byte other;
    for (other : 0 .. (N - 1)) {
        assert(!(branch[other] == BRANCH_COMMITTED && branch[i] == BRANCH_ABORTED));
        assert(!(branch[other] == BRANCH_ABORTED && branch[i] == BRANCH_COMMITTED))
    }
    other = 0
}

/* I2, I3, I4: called when a decision enters the log. */
inline decide(outcome) {
    assert(decided == 0 || decided == outcome);
    assert(outcome == ABORTED || ALL_YES);
    assert(!(outcome == ABORTED && told_committed));
    decided = outcome;
    log = outcome
}

/* What a leader may answer to "what became of the transaction?": the log, read linearizably. */
#define ANSWER(i) \
    if \
    :: log == COMMITTED -> answered_commit[i] = 1 \
    :: else -> answered_abort[i] = 1 \
    fi
#ifdef PIPELINED_BEGIN
#define ANSWERABLE (log >= COMMITTED)
#else
#define ANSWERABLE (log >= COMMITTED || log == UNKNOWN)
#endif

inline answer_inquiry(i) {
#ifdef BUG_STALE_READ
    /* From the leader's own memory, where an unknown transaction means "aborted". */
    atomic { asked[i] && !answered_abort[i] && !answered_commit[i] && view[me] != BEGUN ->
        if
        :: view[me] == COMMITTED -> answered_commit[i] = 1
        :: else -> answered_abort[i] = 1
        fi }
#elif defined(BUG_INQUIRY_UNANSWERED)
    false
#else
    atomic { asked[i] && !answered_abort[i] && !answered_commit[i] && ANSWERABLE -> ANSWER(i) }
#endif
}

proctype Leader(byte me) {
    end: do
    :: atomic { view[me] != log -> view[me] = log }          /* learns of entries late, or never */
    :: atomic { log == UNKNOWN -> log = BEGUN }
#if defined(PIPELINED_BEGIN) || defined(BUG_PREPARE_BEFORE_BEGIN)
    :: atomic { !sent_prepare -> sent_prepare = 1 }
#else
    :: atomic { view[me] == BEGUN && !sent_prepare -> sent_prepare = 1 }
#endif
#ifdef PIPELINED_BEGIN
    :: atomic { log == UNKNOWN && ALL_YES -> decide(COMMITTED) }
    :: atomic { log == UNKNOWN -> decide(ABORTED) }
    :: atomic { ANY_ASKED && log < COMMITTED -> decide(ABORTED) }
#endif
#ifdef BUG_COMMIT_WITHOUT_ALL_VOTES
    :: atomic { log == BEGUN && ANY_YES -> decide(COMMITTED) }
#endif
    :: atomic { log == BEGUN && ALL_YES -> decide(COMMITTED) }
    :: atomic { log == BEGUN -> decide(ABORTED) }             /* a NO, or the deadline */
#ifdef BUG_LATER_DECISION_WINS
    :: atomic { log == COMMITTED && view[me] == BEGUN -> decide(ABORTED) }
#endif
#ifdef BUG_SEND_BEFORE_COMMITTED
    :: atomic { view[me] == BEGUN && ALL_YES && !sent_commit -> sent_commit = 1 }
#endif
#ifdef BUG_ANSWER_BEFORE_COMMITTED
    :: atomic { view[me] == BEGUN && ALL_YES && !told_committed -> told_committed = 1 }
#endif
#ifdef BUG_LEADERSHIP_LOST_IS_FAILURE
    :: atomic { view[me] == BEGUN && ALL_YES && !sent_abort ->
        if
        :: log == BEGUN -> decide(COMMITTED)                  /* the entry may well be committed */
        :: else
        fi;
        sent_abort = 1 }
#endif
    :: atomic { view[me] == COMMITTED && !sent_commit -> sent_commit = 1 }
    :: atomic { view[me] == ABORTED && !sent_abort -> sent_abort = 1 }
    :: atomic { view[me] == COMMITTED && !told_committed -> told_committed = 1 }
#ifdef BUG_FORGET_EARLY
    :: atomic { log == COMMITTED && ANY_DONE -> log = FORGOTTEN }
#endif
    :: atomic { log == COMMITTED && ALL_DONE -> log = FORGOTTEN }
    :: atomic { log == ABORTED -> log = FORGOTTEN }           /* presumed abort needs no acknowledgement */
#ifdef BUG_FORGOTTEN_IS_NEW
    :: atomic { log == FORGOTTEN -> log = BEGUN }             /* the same xid, submitted again */
#endif
    :: answer_inquiry(0)
    :: answer_inquiry(1)
#if N > 2
    :: answer_inquiry(2)
#endif
#ifdef BUG_ANSWER_UNDECIDED
    :: atomic { asked[0] && log == BEGUN -> answered_abort[0] = 1 }
#endif
    od
}

proctype Participant(byte me) {
    end: do
    :: atomic { sent_prepare && branch[me] == WORKING -> branch[me] = PREPARED; vote[me] = YES }
    :: atomic { sent_prepare && branch[me] == WORKING -> branch[me] = BRANCH_ABORTED; vote[me] = NO; agree(me) }
    :: atomic { sent_prepare && branch[me] == WORKING ->
        branch[me] = READ_ONLY; vote[me] = YES; acknowledged[me] = 1 }
    :: atomic { sent_commit && branch[me] == PREPARED -> branch[me] = BRANCH_COMMITTED; agree(me) }
    :: atomic { sent_commit && branch[me] == BRANCH_COMMITTED && !acknowledged[me] -> acknowledged[me] = 1 }
#ifdef BUG_ACKNOWLEDGE_BEFORE_DURABLE
    :: atomic { sent_commit && branch[me] == PREPARED && !acknowledged[me] -> acknowledged[me] = 1 }
#endif
    :: atomic { sent_abort && branch[me] < BRANCH_COMMITTED -> branch[me] = BRANCH_ABORTED; agree(me) }
    :: atomic { branch[me] == PREPARED && !asked[me] -> asked[me] = 1 }
    :: atomic { branch[me] == PREPARED && answered_abort[me] -> branch[me] = BRANCH_ABORTED; agree(me) }
    :: atomic { branch[me] == PREPARED && answered_commit[me] ->
        branch[me] = BRANCH_COMMITTED; acknowledged[me] = 1; agree(me) }
#ifdef BUG_TIMEOUT_DECIDES
    :: atomic { branch[me] == PREPARED -> branch[me] = BRANCH_ABORTED; agree(me) }
#endif
    od
}

#ifdef LIVE
active proctype Monitor() {
    byte k;
    endm: timeout;
    for (k : 0 .. (N - 1)) {
        assert(branch[k] != PREPARED)
    }
}
#endif

init {
    byte i;
    atomic {
        for (i : 0 .. (N - 1)) { run Participant(i) };
        for (i : 0 .. (L - 1)) { run Leader(i) }
    }
}
