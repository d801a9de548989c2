-- The outbox: messages that a service writes in the transaction of its business rows, and what
-- concordat-relay needs to forward them to Kafka. A published row is deleted.

CREATE TABLE concordat_outbox (
    -- The writing transaction. The column comes before "id" on purpose: defaults are evaluated in
    -- column order, so a transaction has its number before it draws an id. The relay relies on it:
    -- a row that becomes visible late belongs to a transaction it has already seen in progress.
    xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id         bigint GENERATED ALWAYS AS IDENTITY,
    bucket     smallint NOT NULL GENERATED ALWAYS AS (
                   CASE WHEN key IS NULL THEN (id % 64)::smallint
                        ELSE (hashtext(encode(key, 'hex')) & 63)::smallint END) STORED,
    event_id   uuid NOT NULL DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    topic      text NOT NULL CHECK (octet_length(topic) BETWEEN 1 AND 249),
    key        bytea CHECK (octet_length(key) <= 4096),
    type       text NOT NULL DEFAULT '' CHECK (octet_length(type) <= 255),
    headers    jsonb CHECK (jsonb_typeof(headers) = 'object' AND octet_length(headers::text) <= 8192),
    payload    bytea,
    PRIMARY KEY (bucket, id)
) WITH (
    -- Every row is deleted soon: vacuum by count, not by share of a table that is mostly empty.
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 100000,
    autovacuum_vacuum_cost_delay = 1
);
COMMENT ON TABLE concordat_outbox IS
    'Messages not yet acknowledged by Kafka; a row exists until it is published.';

-- Cache 1: ids must grow in the order in which they are drawn, across all sessions.
ALTER TABLE concordat_outbox ALTER COLUMN id SET CACHE 1;

-- Column names of the Debezium outbox event router, for services that already write such a table.
CREATE VIEW concordat_outbox_debezium AS
    SELECT event_id AS id, topic::varchar AS aggregatetype, convert_from(key, 'UTF8')::varchar AS aggregateid,
           type::varchar AS type, convert_from(payload, 'UTF8') AS payload
      FROM concordat_outbox;

CREATE FUNCTION concordat_outbox_debezium_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO concordat_outbox (event_id, topic, key, type, payload)
    VALUES (coalesce(NEW.id, gen_random_uuid()), NEW.aggregatetype, convert_to(NEW.aggregateid, 'UTF8'),
            coalesce(NEW.type, ''), convert_to(NEW.payload, 'UTF8'));
    RETURN NEW;
END $$;

CREATE TRIGGER concordat_outbox_debezium_insert INSTEAD OF INSERT ON concordat_outbox_debezium
    FOR EACH ROW EXECUTE FUNCTION concordat_outbox_debezium_insert();

-- One row per bucket: who may publish it, until when by this server's clock. The epoch grows with
-- every change of owner; a DELETE of the relay counts only under the epoch it was given.
CREATE TABLE concordat_outbox_lease (
    bucket     smallint PRIMARY KEY CHECK (bucket BETWEEN 0 AND 63),
    owner      text,
    epoch      bigint NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 500);
INSERT INTO concordat_outbox_lease (bucket) SELECT generate_series(0, 63);

-- The relay instances that are alive, to share the buckets fairly.
CREATE TABLE concordat_outbox_relay (
    instance   text PRIMARY KEY CHECK (octet_length(instance) BETWEEN 1 AND 200),
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 500);

-- Keys that are stopped because one of their rows was refused for good. Their rows stay in the
-- outbox, in order, until the entry is removed.
CREATE TABLE concordat_outbox_parked (
    topic     text NOT NULL,
    key       bytea NOT NULL,
    row_id    bigint NOT NULL,
    event_id  uuid NOT NULL,
    reason    text NOT NULL,
    detail    text NOT NULL DEFAULT '',
    parked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, key)
);

-- Rows that were refused for good and taken out of the way. Nothing removes them but an operator.
CREATE TABLE concordat_outbox_dead (
    id         bigint PRIMARY KEY, -- as it was in the outbox
    event_id   uuid NOT NULL,
    created_at timestamptz NOT NULL,
    topic      text NOT NULL,
    key        bytea,
    type       text NOT NULL,
    headers    jsonb,
    payload    bytea,
    reason     text NOT NULL,
    detail     text NOT NULL DEFAULT '',
    dead_at    timestamptz NOT NULL DEFAULT now()
);

-- Puts a dead row back at the end of its key, with the same event id. False: no such row.
CREATE FUNCTION concordat_outbox_replay_dead(dead_id bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    WITH taken AS (DELETE FROM concordat_outbox_dead WHERE id = dead_id RETURNING *)
    INSERT INTO concordat_outbox (event_id, topic, key, type, headers, payload)
    SELECT event_id, topic, key, type, headers, payload FROM taken;
    RETURN FOUND;
END $$;

-- Lets a parked key go on, with the refused row first. False: the key is not parked.
CREATE FUNCTION concordat_outbox_replay_parked(parked_topic text, parked_key bytea) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM concordat_outbox_parked WHERE topic = parked_topic AND key = parked_key;
    RETURN FOUND;
END $$;

-- Lets a parked key go on without the refused row, which is kept as a dead row.
CREATE FUNCTION concordat_outbox_skip_parked(parked_topic text, parked_key bytea) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    entry concordat_outbox_parked;
BEGIN
    DELETE FROM concordat_outbox_parked WHERE topic = parked_topic AND key = parked_key RETURNING * INTO entry;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    WITH taken AS (
        DELETE FROM concordat_outbox o
         WHERE o.id = entry.row_id AND o.bucket = (hashtext(encode(parked_key, 'hex')) & 63)::smallint
        RETURNING o.*)
    INSERT INTO concordat_outbox_dead (id, event_id, created_at, topic, key, type, headers, payload, reason, detail)
    SELECT id, event_id, created_at, topic, key, type, headers, payload, entry.reason, entry.detail FROM taken;
    RETURN true;
END $$;
