-- Messages that are delivered again after this are acted on again.
DROP FUNCTION concordat_inbox_maintain(interval);
DROP TABLE concordat_inbox;
