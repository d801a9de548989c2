/* Quorum three-phase commit: the participants are acceptors of the decision and can finish without the
 * coordinator group. After Skeen, "A Quorum-Based Commit Protocol" (1982), and Keidar & Dolev (1998).
 *
 * Acceptors are the N participants, plus the coordinator group (one replicated log, hence one process) when
 * N is even, so that their number A is odd. Ballot 0 belongs to the coordinator group; higher ballots to
 * whoever runs the termination protocol. A message is a bit that may be read late, repeatedly or never. All
 * state is durable where it is written, so a crash with restart is a process that takes no step for a while.
 *
 * Checked: no two outcomes anywhere (I1), commit only with every vote (I2); with -DLIVE, every live
 * participant has an outcome once everything that can happen has happened (I5).
 *
 * -DN=2|3|4 participants   -DBALLOTS=2|3        ballots 0 .. BALLOTS-1
 * -DCOORDINATOR_DIES       the whole group may be gone for ever
 * -DPARTICIPANT_DIES       participant 0 may be gone for ever
 * -DBUG_...                mutants, each one rule broken; see tests/models/run
 */
#ifndef N
#define N 2
#endif
#ifndef BALLOTS
#define BALLOTS 3
#endif
#define GROUP_IS_ACCEPTOR (1 - (N % 2))
#define A (N + GROUP_IS_ACCEPTOR)
#define MAJORITY (A / 2 + 1)

#ifdef BUG_TERMINATE_WITH_MINORITY
#define TERMINATION_QUORUM (A / 2)
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
#define PREPARING 0
#define PRECOMMITTED 1
#define LOGGED_ABORT 2
#define LOGGED_COMMIT 3

#define AT(b, a) ((b) * A + (a))

byte vote[N], outcome[N];
byte log;
bit sent_prepare, decided_commit, decided_abort;
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
inline announce_abort() { assert(!decided_commit); decided_abort = 1 }

#define PROMISE(a, b) \
    atomic { promise_asked[b] && promised[a] < b && !promise_given[AT(b, a)] -> \
        promised[a] = b; \
        promise_ballot[AT(b, a)] = accepted_ballot[a]; promise_value[AT(b, a)] = accepted_value[a]; \
        promise_given[AT(b, a)] = 1 }
#define ACCEPT(a, b) \
    atomic { accept_asked[b] != 0 && promised[a] <= b && !accept_given[AT(b, a)] -> \
        promised[a] = b; accepted_ballot[a] = b + 1; accepted_value[a] = accept_asked[b]; \
        accept_given[AT(b, a)] = 1 }
#ifdef BUG_ACCEPT_AFTER_HIGHER_PROMISE
#define MAY_PRECOMMIT(a) true
#else
#define MAY_PRECOMMIT(a) (promised[a] == 0)
#endif

proctype Participant(byte me) {
    end: do
    :: atomic { sent_prepare && vote[me] == 0 && outcome[me] == 0 -> vote[me] = YES }
    :: atomic { vote[me] == 0 && outcome[me] == 0 -> vote[me] = NO; outcome[me] = ABORT; agree(me) }
#ifdef BUG_REFUSE_AFTER_YES
    :: atomic { vote[me] == YES && outcome[me] == 0 -> vote[me] = NO; outcome[me] = ABORT; agree(me) }
#endif
#ifdef BUG_TIMEOUT_DECIDES
    :: atomic { vote[me] == YES && outcome[me] == 0 && accepted_ballot[me] == 0 ->
        outcome[me] = ABORT; agree(me) }
#endif
    /* PRE-COMMIT, ballot 0. */
    :: atomic { accept_asked[0] == COMMIT && vote[me] == YES && MAY_PRECOMMIT(me) && !accept_given[AT(0, me)] ->
        accepted_ballot[me] = 1; accepted_value[me] = COMMIT; accept_given[AT(0, me)] = 1 }
    :: PROMISE(me, 1)
    :: ACCEPT(me, 1)
#if BALLOTS > 2
    :: PROMISE(me, 2)
    :: ACCEPT(me, 2)
#endif
#ifdef BUG_VOLATILE_ACCEPTOR
    :: atomic { promised[me] != 0 -> promised[me] = 0; accepted_ballot[me] = 0; accepted_value[me] = 0 }
#endif
    /* Any tombstone settles it for everybody. */
    :: atomic { vote[me] == NO && !decided_abort -> announce_abort() }
    :: atomic { decided_commit && outcome[me] == 0 -> outcome[me] = COMMIT; agree(me) }
    :: atomic { decided_abort && outcome[me] == 0 -> outcome[me] = ABORT; agree(me) }
#ifdef PARTICIPANT_DIES
    :: me == 0 -> break
#endif
    od
}

#if GROUP_IS_ACCEPTOR
#define GROUP_MAY_PRECOMMIT (promised[N] == 0)
#else
#define GROUP_MAY_PRECOMMIT true
#endif

proctype CoordinatorGroup() {
    end: do
    :: atomic { !sent_prepare -> sent_prepare = 1 }
    :: atomic { log == PREPARING && ALL_YES && GROUP_MAY_PRECOMMIT ->
        log = PRECOMMITTED; accept_asked[0] = COMMIT;
#if GROUP_IS_ACCEPTOR
        accepted_ballot[N] = 1; accepted_value[N] = COMMIT; accept_given[AT(0, N)] = 1
#endif
        }
#ifdef BUG_PRECOMMIT_WITHOUT_ALL_VOTES
    :: atomic { log == PREPARING && vote[0] == YES -> log = PRECOMMITTED; accept_asked[0] = COMMIT }
#endif
#ifdef BUG_PRECOMMIT_BEFORE_LOGGED
    :: atomic { log == PREPARING && ALL_YES && accept_asked[0] == 0 -> accept_asked[0] = COMMIT }
    :: atomic { ACCEPTS(0) >= COMMIT_QUORUM && !decided_commit -> announce_commit() }
#endif
    /* A NO or the deadline: alone only as long as PRECOMMIT is not in the log. */
    :: atomic { log == PREPARING -> log = LOGGED_ABORT; announce_abort() }
#ifdef BUG_ABORT_AFTER_PRECOMMIT
    :: atomic { log == PRECOMMITTED -> log = LOGGED_ABORT; announce_abort() }
#endif
    :: atomic { log == PRECOMMITTED && !decided_commit && ACCEPTS(0) >= COMMIT_QUORUM ->
        log = LOGGED_COMMIT; announce_commit() }
    /* What the participants decided without the group is learned and logged. */
    :: atomic { log == PRECOMMITTED && decided_abort -> log = LOGGED_ABORT }
    :: atomic { log == PRECOMMITTED && decided_commit -> log = LOGGED_COMMIT }
#ifdef BUG_IGNORE_PARTICIPANTS_ABORT
    :: atomic { log == PRECOMMITTED && decided_abort -> log = LOGGED_COMMIT; announce_commit() }
#endif
#if GROUP_IS_ACCEPTOR
    :: PROMISE(N, 1)
    :: ACCEPT(N, 1)
#if BALLOTS > 2
    :: PROMISE(N, 2)
    :: ACCEPT(N, 2)
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

#ifdef PARTICIPANT_DIES
#define FIRST_LIVE 1
#else
#define FIRST_LIVE 0
#endif
#ifdef LIVE
active proctype Monitor() {
    byte k;
    endm: timeout;
    for (k : FIRST_LIVE .. (N - 1)) {
        assert(outcome[k] != 0)
    }
}
#endif

init {
    byte i;
    atomic {
        for (i : 0 .. (N - 1)) { run Participant(i) };
        run CoordinatorGroup();
        run Termination(1);
#if BALLOTS > 2
        run Termination(2)
#endif
    }
}
