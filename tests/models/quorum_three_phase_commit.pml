/* Quorum three-phase commit: the participants are acceptors of the decision and can finish without the
 * coordinator group. After Skeen, "A Quorum-Based Commit Protocol" (1982), and Keidar & Dolev (1998).
 *
 * Acceptors are the N participants, plus the coordinator group (one replicated log, hence one process) when
 * N is even, so that their number A is odd. Ballot 0 belongs to the coordinator group; higher ballots to
 * whoever runs the termination protocol. A message is a bit that may be read late, repeatedly or never. All
 * state is durable where it is written, so a crash with restart is a process that takes no step for a while.
 *
 * The group promises and accepts by entries of its log, and only after PRECOMMIT: before it, whoever asks for
 * a promise makes it abort. A participant that is asked for a promise before it voted refuses for ever.
 *
 * Checked: no two outcomes anywhere (I1), commit only with every vote (I2), nobody is told "committed" that
 * could still be aborted (I3); with -DLIVE, every live participant has an outcome once everything that can
 * happen has happened (I5).
 *
 * -DN=2|3|4 participants   -DBALLOTS=2|3        ballots 0 .. BALLOTS-1
 * -DVOTED                  begin when all have voted yes: the part of a large size that is not trivial
 * -DAGAIN                  a PREPARE that arrives between rollback and tombstone prepares the branch once more
 * -DCOORDINATOR_DIES       the whole group may be gone for ever
 * -DDEAD=k                 participants 0 .. k-1 may be gone for ever
 * -DBUG_...                mutants, each one rule broken; see tests/models/run
 * TAKEN(...)               names the row of transitions.txt that allows this step; see README.md
 */
#ifndef N
#define N 2
#endif
#ifndef BALLOTS
#define BALLOTS 3
#endif
#ifndef DEAD
#define DEAD 0
#endif
#ifndef TAKEN
#define TAKEN(row)
#define TAKEN_BY(row, who)
#define TAKEN_AT(row, who, at)
#endif
#define GROUP_IS_ACCEPTOR (1 - (N % 2))
#define A (N + GROUP_IS_ACCEPTOR)
#define MAJORITY (A / 2 + 1)

#ifdef BUG_TERMINATE_WITH_MINORITY
#define TERMINATION_QUORUM (A / 2)
#elif defined(BUG_QUORUM_NOT_NAMED)
/* Whoever does not know how many acceptors there are takes those who answer for all. */
#define TERMINATION_QUORUM 1
#else
#define TERMINATION_QUORUM MAJORITY
#endif
#ifdef BUG_COMMIT_WITH_MINORITY
#define COMMIT_QUORUM (A / 2)
#else
#define COMMIT_QUORUM MAJORITY
#endif

/* Values that ballots carry, and outcomes of branches. */
#define COMMIT 1
#define ABORT 2

/* Votes. A NO is a tombstone: it is never taken back. */
#define YES 1
#define NO 2

/* The transaction in the coordinator group's log. */
#define UNKNOWN 0
#define PREPARING 1
#define PRECOMMITTED 2
#define LOGGED_ABORT 3
#define LOGGED_COMMIT 4

#define AT(b, a) ((b) * A + (a))

byte vote[N], outcome[N];
#ifdef AGAIN
bit again[N];
#define NEVER_AGAIN assert(!again[me]);
#else
#define NEVER_AGAIN
#endif
byte log;
bit sent_prepare, decided_commit, decided_abort;
bit told_committed;                          /* history: the client has its answer */
/* Acceptors: highest promise; highest accepted ballot plus one, and its value. */
byte promised[A], accepted_ballot[A], accepted_value[A];
/* Messages of the termination protocol, by ballot and acceptor. */
bit promise_asked[BALLOTS], promise_given[BALLOTS * A];
byte promise_ballot[BALLOTS * A], promise_value[BALLOTS * A];
byte accept_asked[BALLOTS];
bit accept_given[BALLOTS * A];

#if A == 3
#define PROMISES(b) (promise_given[AT(b, 0)] + promise_given[AT(b, 1)] + promise_given[AT(b, 2)])
#define ACCEPTS(b) (accept_given[AT(b, 0)] + accept_given[AT(b, 1)] + accept_given[AT(b, 2)])
#else
#define PROMISES(b) (promise_given[AT(b, 0)] + promise_given[AT(b, 1)] + promise_given[AT(b, 2)] \
    + promise_given[AT(b, 3)] + promise_given[AT(b, 4)])
#define ACCEPTS(b) (accept_given[AT(b, 0)] + accept_given[AT(b, 1)] + accept_given[AT(b, 2)] \
    + accept_given[AT(b, 3)] + accept_given[AT(b, 4)])
#endif
#if N == 2
#define ALL_YES (vote[0] == YES && vote[1] == YES)
#elif N == 3
#define ALL_YES (vote[0] == YES && vote[1] == YES && vote[2] == YES)
#else
#define ALL_YES (vote[0] == YES && vote[1] == YES && vote[2] == YES && vote[3] == YES)
#endif

/* I1, I2: called after every change of an outcome. */
inline agree(i) {
    byte other;
    for (other : 0 .. (N - 1)) {
        assert(!(outcome[other] == COMMIT && outcome[i] == ABORT));
        assert(!(outcome[other] == ABORT && outcome[i] == COMMIT))
    }
    assert(outcome[i] != COMMIT || ALL_YES);
    other = 0
}

/* I1 of the decisions themselves, whether or not anybody hears of them. */
inline announce_commit() { assert(!decided_abort); decided_commit = 1 }
inline announce_abort() { assert(!decided_commit && !told_committed); decided_abort = 1 }

/* Steps of an acceptor. With an outcome it answers that instead, or has been on its way to this step before it. */
#define PROMISE(a, b, row) \
    promise_asked[b] && promised[a] < b && !promise_given[AT(b, a)] -> \
        TAKEN_AT(row, a, b) promised[a] = b; \
        promise_ballot[AT(b, a)] = accepted_ballot[a]; promise_value[AT(b, a)] = accepted_value[a]; \
        promise_given[AT(b, a)] = 1
#define ACCEPT(a, b, row) \
    accept_asked[b] != 0 && promised[a] <= b && !accept_given[AT(b, a)] -> \
        TAKEN_AT(row, a, b) promised[a] = b; accepted_ballot[a] = b + 1; accepted_value[a] = accept_asked[b]; \
        accept_given[AT(b, a)] = 1
/* Asked for a promise before it voted, a participant refuses (Q2): that settles it at once (Q8). */
#define PARTICIPATE(b) \
    atomic { promise_asked[b] && vote[me] == 0 && outcome[me] == 0 -> \
        TAKEN_BY(three_refused, me) vote[me] = NO; outcome[me] = ABORT; agree(me) } \
    :: atomic { vote[me] == YES && PROMISE(me, b, three_promise) } \
    :: atomic { ACCEPT(me, b, three_accept) }
#ifdef BUG_ACCEPT_AFTER_HIGHER_PROMISE
#define MAY_PRECOMMIT(a) true
#else
#define MAY_PRECOMMIT(a) (promised[a] == 0)
#endif

proctype Participant(byte me) {
    end: do
    :: atomic { sent_prepare && vote[me] == 0 && outcome[me] == 0 ->
        TAKEN_BY(three_vote_yes, me) vote[me] = YES }
    :: atomic { vote[me] == 0 && outcome[me] == 0 ->
        TAKEN_BY(three_refused, me) vote[me] = NO; outcome[me] = ABORT; agree(me) }
#ifdef AGAIN
    :: atomic { sent_prepare && vote[me] == YES && outcome[me] == ABORT && !again[me] ->
        TAKEN_BY(three_prepared_again, me) outcome[me] = 0; again[me] = 1 }
#endif
#ifdef BUG_REFUSE_AFTER_YES
    :: atomic { vote[me] == YES && outcome[me] == 0 -> vote[me] = NO; outcome[me] = ABORT; agree(me) }
#endif
#ifdef BUG_YES_BEFORE_PREPARED
    :: atomic { vote[me] == YES && outcome[me] == 0 && accepted_ballot[me] == 0 -> vote[me] = 0 }
#endif
#ifdef BUG_TIMEOUT_DECIDES
    :: atomic { vote[me] == YES && outcome[me] == 0 && accepted_ballot[me] == 0 ->
        outcome[me] = ABORT; agree(me) }
#endif
    /* PRE-COMMIT, ballot 0. */
    :: atomic { accept_asked[0] == COMMIT && vote[me] == YES && MAY_PRECOMMIT(me) &&
        !accept_given[AT(0, me)] ->
        TAKEN_AT(three_accept, me, 0)
        accepted_ballot[me] = 1; accepted_value[me] = COMMIT; accept_given[AT(0, me)] = 1 }
    :: PARTICIPATE(1)
#if BALLOTS > 2
    :: PARTICIPATE(2)
#endif
#ifdef BUG_VOLATILE_ACCEPTOR
    :: atomic { promised[me] != 0 -> promised[me] = 0; accepted_ballot[me] = 0; accepted_value[me] = 0 }
#endif
#ifndef BUG_TOMBSTONE_UNSAID
    /* Any tombstone settles it for everybody who asks. */
    :: atomic { vote[me] == NO && !decided_abort -> announce_abort() }
#endif
#ifdef BUG_ACCEPTED_IS_DECIDED
    :: atomic { accepted_ballot[me] != 0 && accepted_value[me] == COMMIT && !decided_commit -> announce_commit() }
#endif
    :: atomic { decided_commit && outcome[me] == 0 ->
        TAKEN_BY(three_committed, me) outcome[me] = COMMIT; NEVER_AGAIN agree(me) }
    :: atomic { decided_abort && outcome[me] == 0 && vote[me] == YES ->
        TAKEN_BY(three_aborted, me) outcome[me] = ABORT; agree(me) }
    :: atomic { decided_abort && outcome[me] == 0 && vote[me] == 0 ->
        TAKEN_BY(three_refused, me) vote[me] = NO; outcome[me] = ABORT; agree(me) }
#if DEAD > 0
    :: me < DEAD -> break
#endif
    od
}

#ifdef BUG_GROUP_PROMISES_WHILE_PREPARING
#define GROUP_MAY_PROMISE (log == PREPARING || log == PRECOMMITTED)
#else
#define GROUP_MAY_PROMISE (log == PRECOMMITTED)
#endif

proctype CoordinatorGroup() {
    end: do
    /* PREPARE is sent in parallel with BEGIN. */
    :: atomic { !sent_prepare -> sent_prepare = 1 }
    :: atomic { log == UNKNOWN -> TAKEN(three_begin) log = PREPARING }
    /* An inquiry or a ballot about what the log does not know: a later BEGIN has no effect. */
    :: atomic { log == UNKNOWN -> TAKEN(three_tombstone) log = LOGGED_ABORT; announce_abort() }
    :: atomic { log == PREPARING && ALL_YES ->
        TAKEN(three_precommit)
        log = PRECOMMITTED; accept_asked[0] = COMMIT;
#if GROUP_IS_ACCEPTOR
        accepted_ballot[N] = 1; accepted_value[N] = COMMIT; accept_given[AT(0, N)] = 1
#endif
        }
#ifdef BUG_PRECOMMIT_WITHOUT_ALL_VOTES
    :: atomic { log == PREPARING && vote[0] == YES -> log = PRECOMMITTED; accept_asked[0] = COMMIT }
#endif
#ifdef BUG_PRECOMMIT_AFTER_ABORT
    :: atomic { log == LOGGED_ABORT && ALL_YES -> log = PRECOMMITTED; accept_asked[0] = COMMIT }
#endif
#ifdef BUG_PRECOMMIT_BEFORE_LOGGED
    :: atomic { log == PREPARING && ALL_YES && accept_asked[0] == 0 -> accept_asked[0] = COMMIT }
    :: atomic { ACCEPTS(0) >= COMMIT_QUORUM && !decided_commit -> announce_commit() }
#endif
    /* A NO, the deadline or a ballot: alone only as long as PRECOMMIT is not in the log. */
    :: atomic { log == PREPARING -> TAKEN(three_abort) log = LOGGED_ABORT; announce_abort() }
#ifdef BUG_ABORT_AFTER_PRECOMMIT
    :: atomic { log == PRECOMMITTED -> log = LOGGED_ABORT; announce_abort() }
#endif
    :: atomic { log == PRECOMMITTED && !decided_commit && ACCEPTS(0) >= COMMIT_QUORUM ->
        TAKEN(three_commit) log = LOGGED_COMMIT; announce_commit() }
    /* What the participants decided without the group is learned and logged. */
    :: atomic { log == PRECOMMITTED && decided_abort -> TAKEN(three_abort) log = LOGGED_ABORT }
    :: atomic { log == PRECOMMITTED && decided_commit -> TAKEN(three_commit) log = LOGGED_COMMIT }
#ifdef BUG_IGNORE_PARTICIPANTS_ABORT
    :: atomic { log == PRECOMMITTED && decided_abort -> log = LOGGED_COMMIT; announce_commit() }
#endif
    :: atomic { log == LOGGED_COMMIT && !told_committed -> TAKEN(three_told_committed) told_committed = 1 }
#ifdef BUG_ANSWER_AT_PRECOMMIT
    :: atomic { log == PRECOMMITTED && !told_committed -> told_committed = 1 }
#endif
#if GROUP_IS_ACCEPTOR
    :: atomic { GROUP_MAY_PROMISE && PROMISE(N, 1, three_group_promise) }
    :: atomic { log == PRECOMMITTED && ACCEPT(N, 1, three_group_accept) }
#if BALLOTS > 2
    :: atomic { GROUP_MAY_PROMISE && PROMISE(N, 2, three_group_promise) }
    :: atomic { log == PRECOMMITTED && ACCEPT(N, 2, three_group_accept) }
#endif
#ifdef BUG_GROUP_ANSWERS_BEFORE_LOGGED
    /* The next leader reads a log in which the promise, and what was accepted, never came to be. */
    :: atomic { promised[N] != 0 ->
        promised[N] = 0; accepted_ballot[N] = 1; accepted_value[N] = COMMIT }
#endif
#endif
#ifdef COORDINATOR_DIES
    :: break
#endif
    od
}

/* Promises that the proposer has received: any subset that is a quorum, or all of them. */
inline highest_accepted(b, everything) {
    count = 0; highest = 0; value = 0;
    for (k : 0 .. (A - 1)) {
        if
        :: promise_given[AT(b, k)] ->
            count++;
            if
            :: promise_ballot[AT(b, k)] > highest ->
                highest = promise_ballot[AT(b, k)]; value = promise_value[AT(b, k)]
            :: else
            fi
        :: !promise_given[AT(b, k)] || !everything
        fi
    }
}

/* The termination protocol, run by anybody on a timeout, with a ballot of its own. */
proctype Termination(byte ballot) {
    byte k, count, highest, value;
    promise_asked[ballot] = 1;
    endp: atomic { PROMISES(ballot) >= TERMINATION_QUORUM ->
        highest_accepted(ballot, false);
        if
        :: count >= TERMINATION_QUORUM
        :: else -> highest_accepted(ballot, true)
        fi;
#ifdef BUG_IGNORE_ACCEPTED_VALUE
        value = 0;
#endif
        if
        :: value == 0 -> accept_asked[ballot] = ABORT
        :: else -> accept_asked[ballot] = value
        fi;
        k = 0; count = 0; highest = 0; value = 0 }
    enda: atomic { ACCEPTS(ballot) >= TERMINATION_QUORUM ->
        if
        :: accept_asked[ballot] == COMMIT -> announce_commit()
        :: else -> announce_abort()
        fi }
}

#ifdef LIVE
active proctype Monitor() {
    byte k;
    endm: timeout;
    for (k : DEAD .. (N - 1)) {
        assert(outcome[k] != 0)
    }
}
#endif

init {
    byte i;
    atomic {
#ifdef VOTED
        log = PREPARING; sent_prepare = 1;
        for (i : 0 .. (N - 1)) { vote[i] = YES };
#endif
        for (i : 0 .. (N - 1)) { run Participant(i) };
        run CoordinatorGroup();
        run Termination(1);
#ifdef BUG_BALLOT_NOT_UNIQUE
        run Termination(1);
#endif
#if BALLOTS > 2
        run Termination(2)
#endif
    }
}
