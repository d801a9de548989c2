-- What a participant must remember about its branches beside its business rows.
--
-- A branch is prepared  when pg_prepared_xacts lists '<prefix>:<xid>:<branch>',
--             committed when concordat_outcome says 'committed': that row is written by the prepared
--                       transaction itself,
--             aborted   when concordat_outcome says 'aborted': a tombstone that a late prepare hits.

CREATE TABLE concordat_outcome (
    xid        text COLLATE "C" NOT NULL CHECK (octet_length(xid) BETWEEN 1 AND 64),
    branch     integer NOT NULL CHECK (branch BETWEEN 0 AND 65535),
    outcome    text COLLATE "C" NOT NULL CHECK (outcome IN ('committed', 'aborted')),
    reason     text NOT NULL DEFAULT '',
    decided_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (xid, branch)
);
COMMENT ON TABLE concordat_outcome IS
    'Committed branches, and tombstones of those that were aborted or refused.';
-- For forgetting the oldest.
CREATE INDEX concordat_outcome_decided_at ON concordat_outcome USING brin (decided_at);

-- A row of its own, committed before the branch is prepared and outside that transaction, so that it
-- can be read and changed while the branch is in doubt.
CREATE TABLE concordat_branch (
    xid               text COLLATE "C" NOT NULL CHECK (octet_length(xid) BETWEEN 1 AND 64),
    branch            integer NOT NULL CHECK (branch BETWEEN 0 AND 65535),
    epoch             bigint NOT NULL DEFAULT 0,
    -- What PREPARE said about the transaction: peers, capability, coordinators, quorum. JSON text.
    context           text,
    -- The acceptor of quorum 3PC: highest ballot promised, highest ballot accepted with its value.
    promised_round    bigint NOT NULL DEFAULT 0,
    promised_proposer integer NOT NULL DEFAULT 0,
    accepted_round    bigint,
    accepted_proposer integer,
    accepted_value    text COLLATE "C" CHECK (accepted_value IN ('committed', 'aborted')),
    -- Reservation style only: reserved and not yet confirmed or released, and with which payload.
    reserved          boolean NOT NULL DEFAULT false,
    payload           text,
    created_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (xid, branch),
    CHECK ((accepted_round IS NULL) = (accepted_value IS NULL)
           AND (accepted_round IS NULL) = (accepted_proposer IS NULL))
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 10000);
COMMENT ON TABLE concordat_branch IS
    'Context and acceptor state of branches; rows of finished branches are removed after a while.';
CREATE INDEX concordat_branch_created_at ON concordat_branch USING brin (created_at);
CREATE INDEX concordat_branch_reserved ON concordat_branch (created_at) WHERE reserved;

-- What must not happen and did: found at a delivery, never repaired by the software.
CREATE TABLE concordat_alarm (
    xid        text COLLATE "C" NOT NULL,
    branch     integer NOT NULL,
    kind       text COLLATE "C" NOT NULL CHECK (kind IN ('prepared_branch_lost', 'heuristic_outcome')),
    detail     text NOT NULL,
    seen       bigint NOT NULL DEFAULT 1,
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (xid, branch, kind)
);
COMMENT ON TABLE concordat_alarm IS
    'Branches whose outcome differs from the decision of their transaction; for a person to settle.';
