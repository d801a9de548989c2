/* Three-phase commit as Skeen described it in 1981, on a network that delays and loses.
 *
 * Without -DTIMEOUTS it blocks, but agrees. With the timeout transitions that are meant to make it
 * nonblocking, a slow message is enough for one participant to commit and another to abort. That
 * counter-example is why the product has quorum three-phase commit instead.
 */
#ifndef N
#define N 2
#endif

#define INITIAL 0
#define WAITING 1
#define PRECOMMITTED 2
#define COMMITTED 3
#define ABORTED 4

#define YES 1
#define NO 2

byte vote[N], branch[N];
bit sent_prepare, sent_precommit, sent_commit, sent_abort;
bit acknowledged[N];

#define ALL_YES (vote[0] == YES && vote[1] == YES)
#define ALL_ACKNOWLEDGED (acknowledged[0] && acknowledged[1])

inline agree(i) {
    byte other;
    for (other : 0 .. (N - 1)) {
        assert(!(branch[other] == COMMITTED && branch[i] == ABORTED));
        assert(!(branch[other] == ABORTED && branch[i] == COMMITTED))
    }
    other = 0
}

proctype Participant(byte me) {
    end: do
    :: atomic { sent_prepare && branch[me] == INITIAL -> branch[me] = WAITING; vote[me] = YES }
    :: atomic { branch[me] == INITIAL -> branch[me] = ABORTED; vote[me] = NO; agree(me) }
    :: atomic { sent_precommit && branch[me] == WAITING -> branch[me] = PRECOMMITTED; acknowledged[me] = 1 }
    :: atomic { sent_commit && (branch[me] == WAITING || branch[me] == PRECOMMITTED) ->
        branch[me] = COMMITTED; agree(me) }
    :: atomic { sent_abort && branch[me] < COMMITTED -> branch[me] = ABORTED; agree(me) }
#ifdef TIMEOUTS
    :: atomic { branch[me] == WAITING -> branch[me] = ABORTED; agree(me) }
    :: atomic { branch[me] == PRECOMMITTED -> branch[me] = COMMITTED; agree(me) }
#endif
    od
}

active proctype Coordinator() {
    byte i;
    atomic { for (i : 0 .. (N - 1)) { run Participant(i) } }
    atomic { sent_prepare = 1 }
    if
    :: atomic { ALL_YES -> sent_precommit = 1 }
    :: atomic { sent_abort = 1; goto finished }
    fi;
    end: if
    :: atomic { ALL_ACKNOWLEDGED -> sent_commit = 1 }
#ifdef TIMEOUTS
    :: atomic { sent_commit = 1 }
#endif
    fi;
    finished: skip
}
