-- Prepared branches would be left without their records: finish every one of them first.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_prepared_xacts WHERE database = current_database()) THEN
        RAISE EXCEPTION 'there are prepared transactions in this database; finish them first';
    END IF;
END $$;
DROP TABLE concordat_alarm;
DROP TABLE concordat_branch;
DROP TABLE concordat_outcome;
