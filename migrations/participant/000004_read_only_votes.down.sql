-- The votes of read-only branches are forgotten: none of their transactions may be under way.
DELETE FROM concordat_outcome WHERE outcome = 'read_only';
ALTER TABLE concordat_outcome
    DROP CONSTRAINT concordat_outcome_outcome_check,
    ADD CONSTRAINT concordat_outcome_outcome_check CHECK (outcome IN ('committed', 'aborted'));
COMMENT ON TABLE concordat_outcome IS
    'Committed branches, and tombstones of those that were aborted or refused.';
