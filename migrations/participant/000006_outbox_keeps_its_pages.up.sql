-- VACUUM gives empty pages at the end of a table back to the disk, and locks the table exclusively
-- for that: writers, the relay's polls and its deletes wait. The outbox is empty at every moment of
-- calm and needs the same pages again. After a backlog of unusual size an operator gives them back
-- with VACUUM (TRUNCATE true), see docs/operating/relay.md.

ALTER TABLE concordat_outbox SET (vacuum_truncate = off, toast.vacuum_truncate = off);
