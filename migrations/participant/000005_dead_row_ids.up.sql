-- Dead rows have ids of their own: a sequence of the outbox that begins anew (TRUNCATE ... RESTART IDENTITY, a restored
-- dump, a crash) gives ids out again, and the second dead row with the same one could not be kept. What was `id` is
-- `row_id`; dead rows that are there keep their id.

ALTER TABLE concordat_outbox_dead DROP CONSTRAINT concordat_outbox_dead_pkey;
ALTER TABLE concordat_outbox_dead RENAME COLUMN id TO row_id;
ALTER TABLE concordat_outbox_dead ADD COLUMN id bigint;
UPDATE concordat_outbox_dead SET id = row_id;
ALTER TABLE concordat_outbox_dead
    ALTER COLUMN id SET NOT NULL,
    ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY,
    ADD PRIMARY KEY (id);
SELECT setval('concordat_outbox_dead_id_seq', max(id)) FROM concordat_outbox_dead HAVING max(id) > 0;

-- What is taken out is the event that was refused, not the one that has its id now.
CREATE OR REPLACE FUNCTION concordat_outbox_skip_parked(parked_topic text, parked_key bytea) RETURNS boolean
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
         WHERE o.id = entry.row_id AND o.event_id = entry.event_id
           AND o.bucket = (hashtext(encode(parked_key, 'hex')) & 63)::smallint
        RETURNING o.*)
    INSERT INTO concordat_outbox_dead (row_id, event_id, created_at, topic, key, type, headers, payload, reason, detail)
    SELECT id, event_id, created_at, topic, key, type, headers, payload, entry.reason, entry.detail FROM taken;
    RETURN true;
END $$;
