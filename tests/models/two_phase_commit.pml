/* Two-phase commit whose decision is an entry of a replicated log.
 *
 * The log is one variable: the state machine that every replica computes from the committed entries. What
 * makes it distributed is around it: L leaders that follow each other, of which only the newest can append
 * and the others do not know that they are deposed, each with its own, possibly stale, view of the log; N
 * participants; and a network that loses, repeats and reorders. A message is a bit that, once set, may be
 * read any number of times at any later moment, or never. All state is durable where it is written, so a
 * crash with restart is a process that takes no step for a while.
 *
 * PREPARE is sent in parallel with appending BEGIN, so a BEGIN may be lost although participants have seen
 * its PREPARE. Every BEGIN makes a secret of its own, the capability that participants show each other; the
 * one in the log must be the one that they hold, whatever PREPAREs of older epochs are still on their way.
 *
 * Checked: no participant commits what another aborts (I1), a commit has every vote (I2), nobody is told
 * "committed" before it is decided (I3), the decision never changes (I4), effects happen at most once (I6),
 * who voted for the commit holds the capability in the log; with -DLIVE, nobody stays in doubt once
 * everything that can happen has happened (I5).
 *
 * -DN=2|3 participants   -DL=1|2|3 leaders
 * -DREUSE                the client uses the xid once more when it is forgotten and its messages are gone
 * -DAGAIN                a PREPARE that arrives between rollback and tombstone prepares the branch once more
 * -DSERVER_XID           only the first leader makes this xid: when its epoch is over, it is closed
 * -DCOORDINATOR_DIES     the whole group may be gone for ever
 * -DDEAD=k               participants 0 .. k-1 may be gone for ever
 * -DBUG_...              mutants, each one rule broken; see tests/models/run
 * TAKEN(...)             names the row of transitions.txt that allows this step; see README.md
 */
#ifndef N
#define N 2
#endif
#ifndef L
#define L 2
#endif
#ifndef DEAD
#define DEAD 0
#endif
#ifndef TAKEN
#define TAKEN(row)
#define TAKEN_BY(row, who)
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

byte log;
byte epoch;                                  /* the newest leader's number plus one */
byte view[L];
byte begun_by;                               /* whose BEGIN is in the log, hence whose capability */
byte decided;                                /* history: the first decision, 0 before it */
bit told_committed;                          /* history: the client has its answer */
byte branch[N];
byte seen[N], held[N];                       /* the highest epoch of a PREPARE; the capability it brought */
bit acknowledged[N];
bit sent_prepare[L];
byte shown[L];                               /* the capability in a leader's PREPARE */
bit yes[L * N];                              /* answers yes or read-only to one leader's PREPARE */
bit sent_commit, sent_abort;
bit asked[N], answered_abort[N], answered_commit[N];
#ifdef REUSE
bit reused;
byte effects[N];
#endif

#define LEADS (epoch == me + 1)
#ifdef SERVER_XID
#define MAY_BEGIN (me == 0)
#define CLOSED (epoch > 1)
#else
#define MAY_BEGIN true
#define CLOSED false
#endif
#ifdef AGAIN
bit undone[N], again[N];
#define UNDONE undone[me] = 1;
#define NEVER_AGAIN assert(!again[me]);
#define PREPARED_AGAIN \
    atomic { sent_prepare[L - 1] && undone[me] && branch[me] == BRANCH_ABORTED && !again[me] -> \
        TAKEN_BY(two_prepared_again, me) branch[me] = PREPARED; again[me] = 1; yes[(L - 1) * N + me] = 1 }
#else
#define UNDONE
#define NEVER_AGAIN
#define PREPARED_AGAIN false
#endif
#define ALL_YES_TO(e) ALL_OF(yes, (e) * N)
#if N == 2
#define ALL_OF(bits, at) (bits[(at)] && bits[(at) + 1])
#define ANY_OF(bits, at) (bits[(at)] || bits[(at) + 1])
#define ANY_BRANCH(is) (branch[0] == is || branch[1] == is)
#define EVERY_VOTE (branch[0] != WORKING && branch[1] != WORKING && !ANY_BRANCH(BRANCH_ABORTED))
#else
#define ALL_OF(bits, at) (bits[(at)] && bits[(at) + 1] && bits[(at) + 2])
#define ANY_OF(bits, at) (bits[(at)] || bits[(at) + 1] || bits[(at) + 2])
#define ANY_BRANCH(is) (branch[0] == is || branch[1] == is || branch[2] == is)
#define EVERY_VOTE (branch[0] != WORKING && branch[1] != WORKING && branch[2] != WORKING \
    && !ANY_BRANCH(BRANCH_ABORTED))
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

#define HOLDS_THE_RIGHT_CAPABILITY(i) (branch[i] != PREPARED || held[i] == begun_by)

/* I2, I3, I4: called when a decision enters the log. */
inline decide(outcome) {
    assert(decided == 0 || decided == outcome);
    assert(!(outcome == ABORTED && told_committed));
    if
    :: outcome == COMMITTED ->
        assert(EVERY_VOTE);
        assert(HOLDS_THE_RIGHT_CAPABILITY(0) && HOLDS_THE_RIGHT_CAPABILITY(1));
#if N > 2
        assert(HOLDS_THE_RIGHT_CAPABILITY(2))
#endif
    :: else
    fi;
    decided = outcome;
    log = outcome
}

/* What the leader may answer to "what became of the transaction?": the log, read linearizably. A closed xid that
 * the log does not know can never get into it. */
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
#elif defined(BUG_UNKNOWN_ANSWERED_UNLOGGED)
    atomic { LEADS && asked[i] && !answered_abort[i] && log == UNKNOWN -> answered_abort[i] = 1 }
#else
    atomic { LEADS && asked[i] && !answered_abort[i] && !answered_commit[i] && (log >= COMMITTED || (log == UNKNOWN && CLOSED)) ->
        if
        :: log == COMMITTED -> answered_commit[i] = 1
        :: else -> answered_abort[i] = 1
        fi }
#endif
}

#ifdef REUSE
/* The client takes the xid again. By now the log has forgotten it, and so has the network. */
inline use_again() {
    byte k;
    reused = 1; log = UNKNOWN; begun_by = 0; decided = 0; told_committed = 0;
    sent_commit = 0; sent_abort = 0;
    for (k : 0 .. (L - 1)) { view[k] = UNKNOWN; sent_prepare[k] = 0; shown[k] = 0 }
    for (k : 0 .. (L * N - 1)) { yes[k] = 0 }
    for (k : 0 .. (N - 1)) {
        acknowledged[k] = 0; asked[k] = 0; answered_abort[k] = 0; answered_commit[k] = 0;
#ifdef BUG_OUTCOME_ROWS_DROPPED
        if
        :: branch[k] == BRANCH_COMMITTED -> branch[k] = WORKING
        :: else
        fi
#endif
    }
    k = 0
}
#define COUNT_EFFECT effects[me]++; assert(effects[me] <= 1);
#else
#define COUNT_EFFECT
#endif

#ifdef BUG_NOT_RESUMED
#define MINE (begun_by == me + 1)
#else
#define MINE true
#endif

proctype Leader(byte me) {
    end: do
    /* Elected: its epoch entry is committed, so everything before it is applied. */
    :: atomic { epoch == me -> epoch = me + 1;
#ifndef BUG_SERVES_BEFORE_EPOCH
        view[me] = log
#endif
        }
    :: atomic { view[me] != log -> view[me] = log }          /* learns of entries late, or never */
    /* The client's BEGIN, and PREPARE in parallel with it; or PREPARE again of what the log has begun. */
    :: atomic { LEADS && MAY_BEGIN && log == UNKNOWN && (!sent_prepare[me] || shown[me] == me + 1) ->
        TAKEN(two_begin) log = BEGUN; begun_by = me + 1 }
    :: atomic { MAY_BEGIN && view[me] == UNKNOWN && epoch > me && !sent_prepare[me] ->
        sent_prepare[me] = 1; shown[me] = me + 1 }
    :: atomic { view[me] == BEGUN && LEADS && MINE && !sent_prepare[me] ->
        sent_prepare[me] = 1; shown[me] = begun_by }
    /* The decision may stand right behind its BEGIN. */
    :: atomic { LEADS && log == UNKNOWN && ALL_YES_TO(me) && shown[me] == me + 1 ->
        TAKEN(two_begin) begun_by = me + 1; log = BEGUN; TAKEN(two_commit) decide(COMMITTED) }
    :: atomic { LEADS && log == BEGUN && MINE && ALL_YES_TO(me) -> TAKEN(two_commit) decide(COMMITTED) }
    :: atomic { LEADS && log == BEGUN && MINE -> TAKEN(two_abort) decide(ABORTED) }   /* a NO, the deadline */
    /* An inquiry about what the log does not know: a BEGIN that comes later has no effect. */
    :: atomic { LEADS && ANY_OF(asked, 0) && log == UNKNOWN && !CLOSED -> TAKEN(two_tombstone) decide(ABORTED) }
#ifdef BUG_COMMIT_WITHOUT_ALL_VOTES
    :: atomic { LEADS && log == BEGUN && ANY_OF(yes, me * N) -> decide(COMMITTED) }
#endif
#ifdef BUG_LATER_DECISION_WINS
    :: atomic { LEADS && log == COMMITTED && view[me] == BEGUN -> decide(ABORTED) }
#endif
#ifdef BUG_SEND_BEFORE_COMMITTED
    :: atomic { view[me] == BEGUN && ALL_YES_TO(me) && !sent_commit -> sent_commit = 1 }
#endif
#ifdef BUG_ANSWER_BEFORE_COMMITTED
    :: atomic { view[me] == BEGUN && ALL_YES_TO(me) && !told_committed -> told_committed = 1 }
#endif
#ifdef BUG_LEADERSHIP_LOST_IS_FAILURE
    :: atomic { view[me] == BEGUN && ALL_YES_TO(me) && !sent_abort ->
        if
        :: LEADS && log == BEGUN -> decide(COMMITTED)         /* the entry may well be committed */
        :: else
        fi;
        sent_abort = 1 }
#endif
    :: atomic { view[me] == COMMITTED && !sent_commit -> sent_commit = 1 }
    /* The branches are told, and the client. */
    :: atomic { view[me] == ABORTED && !sent_abort -> TAKEN(two_told_aborted) sent_abort = 1 }
    :: atomic { view[me] == COMMITTED && !told_committed -> TAKEN(two_told_committed) told_committed = 1 }
#ifdef BUG_FORGET_EARLY
    :: atomic { LEADS && log == COMMITTED && ANY_OF(acknowledged, 0) -> log = FORGOTTEN }
#endif
    :: atomic { LEADS && log == COMMITTED && ALL_OF(acknowledged, 0) -> TAKEN(two_end_commit) log = FORGOTTEN }
    /* Presumed abort needs no acknowledgement. */
    :: atomic { LEADS && log == ABORTED -> TAKEN(two_end_abort) log = FORGOTTEN }
#ifdef BUG_FORGOTTEN_IS_NEW
    :: atomic { LEADS && log == FORGOTTEN -> log = BEGUN }    /* the same xid, submitted again */
#endif
#ifdef REUSE
    :: atomic { LEADS && log == FORGOTTEN && !reused -> use_again() }
#endif
    :: answer_inquiry(0)
    :: answer_inquiry(1)
#if N > 2
    :: answer_inquiry(2)
#endif
#ifdef BUG_ANSWER_UNDECIDED
    :: atomic { LEADS && asked[0] && log == BEGUN -> answered_abort[0] = 1 }
#endif
#ifdef COORDINATOR_DIES
    :: break
#endif
    od
}

#ifdef BUG_EPOCH_NOT_CHECKED
#define NOT_STALE(e) true
#else
#define NOT_STALE(e) ((e) + 1 >= seen[me])
#endif
#define ASKS(e) (sent_prepare[e] && !yes[(e) * N + me] && NOT_STALE(e))

/* The newest epoch's PREPARE says who the peers are and what they show each other. */
inline heed(e) {
#ifdef BUG_OLDER_CONTEXT_KEPT
    if
    :: held[me] == 0 -> held[me] = shown[e]
    :: else
    fi;
#else
    held[me] = shown[e];
#endif
    if
    :: seen[me] < e + 1 -> seen[me] = e + 1
    :: else
    fi;
    yes[(e) * N + me] = 1;
    assert(decided != COMMITTED || HOLDS_THE_RIGHT_CAPABILITY(me))
}

#ifdef BUG_YES_IS_SPARED
#define SPARED 1
#else
#define SPARED 0
#endif
/* The first delivery; a repetition, or a new leader that resumes: outcome rows keep the vote for ever. */
#define PREPARE(e) \
    atomic { ASKS(e) && branch[me] == WORKING -> \
        TAKEN_BY(two_vote_yes, me) branch[me] = PREPARED; acknowledged[me] = SPARED; heed(e) } \
    :: atomic { ASKS(e) && branch[me] == WORKING -> \
        TAKEN_BY(two_vote_read_only, me) branch[me] = READ_ONLY; acknowledged[me] = 1; heed(e) } \
    :: atomic { sent_prepare[e] && NOT_STALE(e) && branch[me] == WORKING -> \
        TAKEN_BY(two_refused, me) branch[me] = BRANCH_ABORTED; agree(me) } \
    :: atomic { ASKS(e) && (branch[me] == PREPARED || branch[me] == BRANCH_COMMITTED) -> heed(e) } \
    :: atomic { ASKS(e) && branch[me] == READ_ONLY -> acknowledged[me] = 1; heed(e) }

#define LEARN(what) \
    atomic { branch[me] == PREPARED && (what) == BRANCH_COMMITTED -> \
        TAKEN_BY(two_committed, me) branch[me] = BRANCH_COMMITTED; NEVER_AGAIN COUNT_EFFECT agree(me) } \
    :: atomic { branch[me] == PREPARED && (what) == BRANCH_ABORTED -> \
        TAKEN_BY(two_aborted, me) UNDONE branch[me] = BRANCH_ABORTED; agree(me) }

proctype Participant(byte me) {
    end: do
    :: PREPARE(0)
#if L > 1
    :: PREPARE(1)
#endif
#if L > 2
    :: PREPARE(2)
#endif
    :: PREPARED_AGAIN
    :: atomic { sent_commit && branch[me] == PREPARED ->
        TAKEN_BY(two_committed, me) branch[me] = BRANCH_COMMITTED; NEVER_AGAIN COUNT_EFFECT agree(me) }
    :: atomic { sent_commit && branch[me] == BRANCH_COMMITTED && !acknowledged[me] -> acknowledged[me] = 1 }
#ifdef BUG_ACKNOWLEDGE_BEFORE_DURABLE
    :: atomic { sent_commit && branch[me] == PREPARED && !acknowledged[me] -> acknowledged[me] = 1 }
#endif
    :: atomic { sent_abort && branch[me] == PREPARED ->
        TAKEN_BY(two_aborted, me) UNDONE branch[me] = BRANCH_ABORTED; agree(me) }
    :: atomic { sent_abort && branch[me] == WORKING ->
        TAKEN_BY(two_refused, me) branch[me] = BRANCH_ABORTED; agree(me) }
    :: atomic { branch[me] == PREPARED && !asked[me] -> asked[me] = 1 }
    :: atomic { branch[me] == PREPARED && answered_abort[me] ->
        if
        :: log == UNKNOWN && CLOSED -> TAKEN_BY(two_aborted_closed, me) skip
        :: else -> TAKEN_BY(two_aborted, me) skip
        fi;
        UNDONE branch[me] = BRANCH_ABORTED; agree(me) }
    :: atomic { branch[me] == PREPARED && answered_commit[me] ->
        TAKEN_BY(two_committed, me) branch[me] = BRANCH_COMMITTED; NEVER_AGAIN COUNT_EFFECT
        acknowledged[me] = 1; agree(me) }
    /* Cooperative termination: a peer's outcome or tombstone. */
    :: LEARN(branch[(me + 1) % N])
#if N > 2
    :: LEARN(branch[(me + 2) % N])
#endif
#ifdef BUG_UNPREPARED_PEER_MEANS_ABORT
    :: atomic { branch[me] == PREPARED && branch[(me + 1) % N] == WORKING ->
        branch[me] = BRANCH_ABORTED; agree(me) }
#endif
#ifdef BUG_TIMEOUT_DECIDES
    :: atomic { branch[me] == PREPARED -> branch[me] = BRANCH_ABORTED; agree(me) }
#endif
#if DEAD > 0
    :: me < DEAD -> break
#endif
    od
}

#ifdef LIVE
active proctype Monitor() {
    byte k;
    endm: timeout;
    for (k : DEAD .. (N - 1)) {
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
