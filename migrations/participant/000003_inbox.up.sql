-- The inbox: which messages a consumer has already acted on. A row is written in the transaction
-- of the effect, so the effect happens once however often the message is delivered.

CREATE TABLE concordat_inbox (
    -- The day (UTC) on which the message was created, not received: every delivery of a message
    -- carries the same creation time, so all of them meet in one partition and its primary key.
    day        date NOT NULL,
    consumer   text NOT NULL CHECK (octet_length(consumer) BETWEEN 1 AND 200),
    message_id text NOT NULL CHECK (octet_length(message_id) BETWEEN 1 AND 200),
    PRIMARY KEY (day, consumer, message_id)
) PARTITION BY RANGE (day);

-- Messages without a usable creation time, and days for which no partition was made in time.
CREATE TABLE concordat_inbox_default PARTITION OF concordat_inbox DEFAULT;

-- Makes the partitions of the coming days and drops those older than "keep". A partition that cannot
-- be made because the default one already holds rows of its day is left out. Keep must be longer than
-- the topics' retention: what is forgotten would be acted on again if it were still delivered.
-- Several callers may run it at once.
CREATE FUNCTION concordat_inbox_maintain(keep interval DEFAULT '8 days') RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    today   date := (now() AT TIME ZONE 'UTC')::date;
    wanted  date;
    old     record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('concordat_inbox_maintain'));
    FOR wanted IN SELECT today + n FROM generate_series(-1, 3) AS n LOOP
        IF to_regclass(format('concordat_inbox_%s', to_char(wanted, 'YYYYMMDD'))) IS NULL
           AND NOT EXISTS (SELECT FROM concordat_inbox_default WHERE day = wanted) THEN
            EXECUTE format('CREATE TABLE concordat_inbox_%s PARTITION OF concordat_inbox FOR VALUES FROM (%L) TO (%L)',
                           to_char(wanted, 'YYYYMMDD'), wanted, wanted + 1);
        END IF;
    END LOOP;
    FOR old IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'concordat_inbox'::regclass AND c.relname ~ '^concordat_inbox_[0-9]{8}$'
           AND to_date(right(c.relname, 8), 'YYYYMMDD') < today - keep
    LOOP
        EXECUTE format('DROP TABLE %I', old.relname);
    END LOOP;
END $$;

SELECT concordat_inbox_maintain();
