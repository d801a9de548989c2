-- A read-only branch leaves its vote behind: a PREPARE that arrives again must not run the work again
-- and end as a no, which peers would take for the outcome of the transaction.

ALTER TABLE concordat_outcome
    DROP CONSTRAINT concordat_outcome_outcome_check,
    ADD CONSTRAINT concordat_outcome_outcome_check
        CHECK (outcome IN ('committed', 'aborted', 'read_only')) NOT VALID;
COMMENT ON TABLE concordat_outcome IS
    'Committed branches, read-only ones, and tombstones of those that were aborted or refused.';
