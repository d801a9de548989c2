-- Unpublished messages, parked keys and dead rows are lost with these tables.
DROP FUNCTION concordat_outbox_skip_parked(text, bytea);
DROP FUNCTION concordat_outbox_replay_parked(text, bytea);
DROP FUNCTION concordat_outbox_replay_dead(bigint);
DROP TABLE concordat_outbox_dead;
DROP TABLE concordat_outbox_parked;
DROP TABLE concordat_outbox_relay;
DROP TABLE concordat_outbox_lease;
DROP VIEW concordat_outbox_debezium;
DROP FUNCTION concordat_outbox_debezium_insert();
DROP TABLE concordat_outbox;
