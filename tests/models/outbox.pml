/* The transactional outbox, its relay and the consumer's inbox.
 *
 * Three rows: 0 and 1 have the same key (their writers take turns on the aggregate's lock), 2 has another.
 * A row's id is drawn when it is inserted and it becomes visible when its transaction commits, so a row
 * with a lower id may appear after one with a higher id. Two relays share one bucket: the owner reads,
 * produces in id order and deletes what was acknowledged; ownership can move while the old owner is paused
 * in the middle of a batch. Relays and the consumer crash CRASHES times together, at any point.
 *
 * With HASTY the database crashes once, and with it goes what had not reached the disk: the commit of row 2, whose
 * writer did not wait for that, and any DELETE of the relay. The id of row 2 is drawn again, by another event.
 *
 * Checked (I6, I7): no event of an aborted transaction; the first occurrence of every event of a key in
 * commit order; every event of a committed transaction takes effect exactly once when all is quiet.
 *
 * -DCRASHES=n  -DHASTY   -DBUG_... mutants, each one technique left out; see tests/models/run
 */
#ifndef CRASHES
#define CRASHES 2
#endif
#define ROWS 3
#define RELAYS 2
/* Every row once, again after every crash and after the change of owner. */
#ifdef HASTY
#define TOPIC_LENGTH (ROWS * (CRASHES + 2) + 1)
#define EVENTS (ROWS + 1)
#else
#define TOPIC_LENGTH (ROWS * (CRASHES + 2))
#define EVENTS ROWS
#endif

/* A row. */
#define ABSENT 0
#define INSERTED 1
#define VISIBLE 2
#define ROLLED_BACK 3
#define DELETED 4

#define KEY(row) ((row) / 2)

byte state[ROWS];
byte id[ROWS];
byte next_id = 1;
byte commits;                                 /* history: how many committed so far */
byte commit_order[EVENTS];                    /* history: 1, 2, ... */
#ifdef HASTY
byte content = 2;                             /* the event in row 2: 2, after the crash 3 */
bit database_crashed;
#define EVENT_IN(row) (row == 2 -> content : row)
#else
#define EVENT_IN(row) row
#endif
bit lock[2];                                  /* the aggregate of a key */
byte owner;                                   /* relay that holds the bucket's lease */
bit taken_over;
byte topic[TOPIC_LENGTH], topic_end;
bit produced[EVENTS];                         /* history */
byte crashes;

/* The consumer. */
byte stored_offset;
bit seen[EVENTS];                             /* inbox */
byte effects[EVENTS];

#define UNPRODUCED_BEFORE(row, other) \
    (KEY(other) == KEY(row) && commit_order[other] != 0 && commit_order[other] < commit_order[row] && !produced[other])

inline append_to_topic(row) {
    assert(topic_end < TOPIC_LENGTH);
    assert(commit_order[row] != 0);
    assert(!UNPRODUCED_BEFORE(row, 0) && !UNPRODUCED_BEFORE(row, 1));
    produced[row] = 1;
    topic[topic_end] = row;
    topic_end++
}

proctype Writer(byte row) {
#ifdef BUG_INSERT_BEFORE_LOCK
    atomic { state[row] = INSERTED; id[row] = next_id; next_id++ }
    atomic { !lock[KEY(row)] -> lock[KEY(row)] = 1 }
#else
    /* The row is inserted last, when the aggregate's lock is held. */
    atomic { !lock[KEY(row)] -> lock[KEY(row)] = 1 }
    atomic { state[row] = INSERTED; id[row] = next_id; next_id++ }
#endif
#ifdef BUG_OUTBOX_IN_ITS_OWN_TRANSACTION
    state[row] = VISIBLE;
#endif
    if
    :: atomic {
        commits++; commit_order[row] = commits; lock[KEY(row)] = 0; state[row] = VISIBLE }
    :: atomic { lock[KEY(row)] = 0;
#ifndef BUG_OUTBOX_IN_ITS_OWN_TRANSACTION
        state[row] = ROLLED_BACK
#endif
        }
    fi
}

#define OUTSTANDING(row) (state[row] == VISIBLE && id[row] > cursor)
#define IN_BATCH(row) (batch[row] && !acknowledged[row])
#define NEXT(row) (IN_BATCH(row) && !(IN_BATCH(0) && id[0] < id[row]) && !(IN_BATCH(1) && id[1] < id[row]) \
    && !(IN_BATCH(2) && id[2] < id[row]))
#define BATCH_EMPTY (!batch[0] && !batch[1] && !batch[2])
#define BATCH_DONE (!IN_BATCH(0) && !IN_BATCH(1) && !IN_BATCH(2) && !BATCH_EMPTY)

#ifdef BUG_DELETE_BEFORE_ACKNOWLEDGED
#define TAKE(row) if :: OUTSTANDING(row) -> batch[row] = 1; state[row] = DELETED :: else fi
#elif defined(BUG_SKIP_LOCKED)
#define TAKE(row) if :: OUTSTANDING(row) && !other_holds[row] -> batch[row] = 1; other_holds[row] = 1 :: else fi
#else
#define TAKE(row) if :: OUTSTANDING(row) -> batch[row] = 1 :: else fi
#endif
#ifdef BUG_SKIP_LOCKED
bit other_holds[ROWS];
#define MAY_READ(me) true
#define TAKEABLE(row) (OUTSTANDING(row) && !other_holds[row])
#else
#define MAY_READ(me) (owner == me)
#define TAKEABLE(row) OUTSTANDING(row)
#endif
/* The event that was sent, not whatever has its id now. */
#ifdef BUG_DELETE_WHO_HAS_THE_ID
#define IS_THE_SAME(row) true
#else
#define IS_THE_SAME(row) (sent[row] == EVENT_IN(row))
#endif
#define DELETE(row) if :: batch[row] && acknowledged[row] && state[row] == VISIBLE && IS_THE_SAME(row) -> state[row] = DELETED :: else fi

inline forget_batch() {
    byte r;
    for (r : 0 .. (ROWS - 1)) {
#ifdef BUG_SKIP_LOCKED
        if
        :: batch[r] -> other_holds[r] = 0
        :: else
        fi;
#endif
        batch[r] = 0;
        acknowledged[r] = 0
    }
    r = 0
}

#ifdef HASTY
#define SENT(row) sent[row]
#define READ_EVENTS sent[0] = 0; sent[1] = 1; sent[2] = content
#else
#define SENT(row) row
#define READ_EVENTS skip
#undef IS_THE_SAME
#define IS_THE_SAME(row) true
#endif
#define PRODUCE(row) atomic { NEXT(row) -> append_to_topic(SENT(row)); acknowledged[row] = 1 }

proctype Relay(byte me) {
    bit batch[ROWS], acknowledged[ROWS];
    byte cursor, r1, last;
#ifdef HASTY
    byte sent[ROWS];
#endif
    end: do
    :: atomic { MAY_READ(me) && BATCH_EMPTY && (TAKEABLE(0) || TAKEABLE(1) || TAKEABLE(2)) ->
        TAKE(0); TAKE(1); TAKE(2); READ_EVENTS }
    :: PRODUCE(0)
    :: PRODUCE(1)
    :: PRODUCE(2)
#ifdef BUG_PASS_REJECTED_ROW
    /* The broker refuses row 0 once; the relay goes on with the next one. */
    :: atomic { NEXT(0) && IN_BATCH(1) && !produced[0] ->
        append_to_topic(1); acknowledged[1] = 1 }
#endif
    :: atomic { BATCH_DONE ->
        if
        :: owner == me ->
#ifdef BUG_DELETE_RANGE
            last = 0;
            for (r1 : 0 .. (ROWS - 1)) {
                if
                :: batch[r1] && id[r1] > last -> last = id[r1]
                :: else
                fi
            }
            for (r1 : 0 .. (ROWS - 1)) {
                if
                :: state[r1] == VISIBLE && id[r1] <= last -> state[r1] = DELETED
                :: else
                fi
            }
            r1 = 0; last = 0;
#endif
#ifdef BUG_CURSOR
            for (r1 : 0 .. (ROWS - 1)) {
                if
                :: batch[r1] && id[r1] > cursor -> cursor = id[r1]
                :: else
                fi
            }
            r1 = 0;
#endif
            DELETE(0); DELETE(1); DELETE(2)
        :: owner != me                    /* lost the lease meanwhile: the new owner produces them again */
        fi;
        forget_batch() }
    :: atomic { !BATCH_EMPTY && crashes < CRASHES -> crashes++; forget_batch() }
    od
}

#ifdef HASTY
#define MAYBE_UNDO_DELETE(row) if :: state[row] == DELETED -> state[row] = VISIBLE :: true fi
/* Batches stay in the relays' memory. */
proctype DatabaseCrash() {
    end: atomic { commit_order[2] != 0 ->
        database_crashed = 1;
        MAYBE_UNDO_DELETE(0); MAYBE_UNDO_DELETE(1);
        state[2] = ABSENT }
    atomic { commits++; content = 3; commit_order[3] = commits; state[2] = VISIBLE }
}
#endif

/* The lease runs out once, at any moment. */
proctype Lease() {
    end: atomic { !taken_over -> taken_over = 1; owner = 1 }
}

proctype Consumer() {
    byte position, row;
    end: do
    :: atomic { position < topic_end && position == stored_offset ->
        row = topic[position];
#ifdef BUG_STORE_OFFSET_FIRST
        stored_offset = position + 1 }
    atomic {
        if
        :: crashes < CRASHES -> crashes++; position = stored_offset; goto end
        :: true
        fi;
#endif
        /* One local transaction: the inbox row and the effect. */
        if
#ifndef BUG_NO_INBOX
        :: seen[row]
#endif
        :: !seen[row] -> seen[row] = 1; effects[row]++; assert(effects[row] <= 1)
#ifdef BUG_NO_INBOX
        :: seen[row] -> effects[row]++; assert(effects[row] <= 1)
#endif
        fi;
        position++; row = 0 }
    :: atomic { position > stored_offset -> stored_offset = position }
    :: atomic { position > stored_offset && crashes < CRASHES -> crashes++; position = stored_offset }
    od
}

active proctype Monitor() {
    byte row;
    endm: timeout;
    for (row : 0 .. (EVENTS - 1)) {
#ifdef HASTY
        if
        :: row == 2 && database_crashed      /* it was taken back: it may have been sent before */
        :: else ->
#endif
        assert(effects[row] == (commit_order[row] != 0 -> 1 : 0))
#ifdef HASTY
        fi
#endif
    }
}

init {
    atomic {
        run Writer(0); run Writer(1); run Writer(2);
        run Relay(0); run Relay(1);
#ifdef HASTY
        run DatabaseCrash();                  /* instead of a change of owner, to keep the search small */
#else
        run Lease();
#endif
        run Consumer()
    }
}
