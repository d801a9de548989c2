-- Dead rows are known by their id in the outbox again: no two of them may have had the same one.
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
         WHERE o.id = entry.row_id AND o.bucket = (hashtext(encode(parked_key, 'hex')) & 63)::smallint
        RETURNING o.*)
    INSERT INTO concordat_outbox_dead (id, event_id, created_at, topic, key, type, headers, payload, reason, detail)
    SELECT id, event_id, created_at, topic, key, type, headers, payload, entry.reason, entry.detail FROM taken;
    RETURN true;
END $$;

ALTER TABLE concordat_outbox_dead DROP COLUMN id;
ALTER TABLE concordat_outbox_dead RENAME COLUMN row_id TO id;
ALTER TABLE concordat_outbox_dead ADD PRIMARY KEY (id);
