"""The scripts of migrations/participant, as a migration tool runs them."""

from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[3] / "migrations" / "participant"
NAMES = sorted(path.name.removesuffix(".up.sql") for path in SCRIPTS.glob("*.up.sql"))

# Everything that a script may make or change, in words.
CATALOGUE = """
    SELECT format('column %s.%s %s%s%s', c.relname, attname, format_type(atttypid, atttypmod),
                  CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END, attidentity)
      FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
     WHERE c.relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
    UNION ALL SELECT format('constraint %s: %s', conname, pg_get_constraintdef(oid))
      FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT format('relation %s %s %s %s %s', relname, relkind, obj_description(oid, 'pg_class'), reloptions,
                            (SELECT reloptions FROM pg_class t WHERE t.oid = c.reltoastrelid))
      FROM pg_class c WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    ORDER BY 1"""


def run(database, name, direction):
    database.execute((SCRIPTS / f"{name}.{direction}.sql").read_text(encoding="utf-8"))


def catalogue(database):
    return [words for (words,) in database.execute(CATALOGUE)]


def test_every_script_is_undone_by_its_counterpart(database):
    """Down after up leaves what was there before, script by script and all together."""
    assert NAMES
    empty = catalogue(database)
    for name in NAMES:
        before = catalogue(database)
        run(database, name, "up")
        after = catalogue(database)
        assert after != before
        run(database, name, "down")
        assert catalogue(database) == before
        run(database, name, "up")
        assert catalogue(database) == after
    for name in reversed(NAMES):
        run(database, name, "down")
    assert catalogue(database) == empty


def test_dead_rows_keep_their_ids_and_new_ones_get_others(database):
    """An operator's note of a dead row's id is still right after 000005, and the next dead row takes none of theirs."""
    for name in NAMES[:NAMES.index("000005_dead_row_ids")]:
        run(database, name, "up")
    database.execute("INSERT INTO concordat_outbox_dead (id, event_id, created_at, topic, type, reason) "
                     "SELECT i, gen_random_uuid(), now(), 'orders', 'test', 'refused' FROM unnest(ARRAY[7, 41]) i")
    run(database, "000005_dead_row_ids", "up")
    database.execute("INSERT INTO concordat_outbox_dead (row_id, event_id, created_at, topic, type, reason) "
                     "VALUES (7, gen_random_uuid(), now(), 'orders', 'test', 'refused')")
    assert database.execute("SELECT id, row_id FROM concordat_outbox_dead ORDER BY id") == [(7, 7), (41, 41), (42, 7)]
    assert database.execute("SELECT concordat_outbox_replay_dead(42)") == [(True,)]
    assert database.execute("SELECT count(*) FROM concordat_outbox") == [(1,)]
