ALTER TABLE concordat_outbox RESET (vacuum_truncate, toast.vacuum_truncate);
