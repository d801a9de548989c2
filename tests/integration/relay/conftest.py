"""Fixtures of the relay tests: one PostgreSQL and one Kafka for all; a database and topics for each test."""

import itertools
import os
import re
import sys
from pathlib import Path

import psycopg
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from kafka import KafkaBroker  # noqa: E402
from postgres import PostgresCluster  # noqa: E402
from relay_process import PATIENCE_SECONDS, SOURCE, Relay, Worker, header, probe, records, wait_until  # noqa: E402

NUMBERS = itertools.count(1)
MIGRATIONS = Path(os.environ.get("CONCORDAT_MIGRATIONS", SOURCE / "migrations")) / "participant"


@pytest.fixture(scope="session")
def postgres():
    with PostgresCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kafka():
    with KafkaBroker() as broker:
        yield broker


class Outbox:
    """A database with the tables of a participant, and Kafka topics that only this test uses."""

    def __init__(self, postgres, kafka, folder):
        self.postgres = postgres
        self.kafka = kafka
        self.folder = folder
        self.number = next(NUMBERS)
        self.database = f"relay_{self.number}"
        postgres.create_database(self.database)
        self.url = postgres.url(self.database)
        for script in sorted(MIGRATIONS.glob("*.up.sql")):
            self.execute(script.read_text(encoding="utf-8"))

    def topic(self, name="orders", partitions=4, **configuration):
        """Makes the Kafka topic for the outbox topic and returns the outbox topic."""
        topic = f"t{self.number}.{name}"
        settings = "".join(f":{key.replace('_', '.')}={value}" for key, value in configuration.items())
        probe("create", self.kafka.bootstrap, f"outbox.event.{topic}:{partitions}{settings}")
        return topic

    def relay(self, **options):
        return Relay(self.folder, self.url, options.pop("bootstrap", self.kafka.bootstrap), **options)

    def worker(self, topic, *arguments):
        return Worker(self.folder, self.kafka.bootstrap, self.url, f"outbox.event.{topic}", *arguments)

    def make_effect_table(self):
        """What inbox_worker writes to."""
        self.execute("CREATE TABLE effect (consumer text, message_id text, topic text, part int, off bigint, key text, "
                     "value text, at timestamptz DEFAULT clock_timestamp(), n bigserial)")

    def records(self, *topics):
        return records(self.kafka.bootstrap, *(f"outbox.event.{topic}" for topic in topics))

    # -------------------------------------------------------------- the database

    def connect(self, autocommit=True):
        return psycopg.connect(self.url, autocommit=autocommit)

    def execute(self, sql, parameters=None):
        with self.connect() as connection:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def publish(self, topic, key, payload, connection=None):
        """Writes a row as a service would without the SDK; its id."""
        sql = ("INSERT INTO concordat_outbox (topic, key, type, payload) VALUES (%s, %s, 'test', %s) "
               "RETURNING id")
        values = (topic, key.encode() if key is not None else None,
                  payload.encode() if isinstance(payload, str) else payload)
        if connection is not None:
            return connection.execute(sql, values).fetchone()[0]
        return self.execute(sql, values)[0][0]

    def publish_many(self, topic, count, keys=10, start=0, size=0):
        """Rows "0", "1", ... spread over keys, in one transaction."""
        self.execute(
            "INSERT INTO concordat_outbox (topic, key, type, payload) "
            "SELECT %s, convert_to('key-' || i %% %s, 'UTF8'), 'test', convert_to(rpad(i::text, "
            "greatest(length(i::text), %s), '.'), 'UTF8') FROM generate_series(%s::int, %s::int) i ORDER BY i",
            (topic, keys, size, start, start + count - 1))

    def outstanding(self):
        return self.execute("SELECT count(*) FROM concordat_outbox")[0][0]

    def wait_empty(self, what=None, seconds=PATIENCE_SECONDS):
        wait_until(lambda: self.outstanding() == 0, what or (lambda: f"{self.outstanding()} rows left"), seconds)


@pytest.fixture
def outbox(postgres, kafka, tmp_path):
    made = Outbox(postgres, kafka, tmp_path)
    yield made
    postgres.drop_database(made.database)


def first_deliveries(found):
    """event id → its first record, in the order of the partitions; what Kafka holds twice is there once."""
    first = {}
    for record in sorted(found, key=lambda entry: (entry["partition"], entry["offset"])):
        first.setdefault(header(record, "id"), record)
    return first


def values_by_key(found):
    """key → values in the order of their offsets."""
    out = {}
    for record in sorted(found, key=lambda entry: (entry["partition"], entry["offset"])):
        out.setdefault(record["key"], []).append(record["value"])
    return out


def assert_in_order(found, count):
    """publish_many's rows: every one, once, each key in order."""
    seen = []
    for values in values_by_key(found).values():
        numbers = [int(re.match(r"\d+", value).group()) for value in values]
        assert numbers == sorted(numbers)
        seen += numbers
    assert sorted(seen) == list(range(count))


def murmur2(data):
    """Kafka's hash of keys, as its Java client computes it."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    value = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at:at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        value = value * m & mask ^ k
    rest = data[whole:]
    if rest:
        value = (value ^ int.from_bytes(rest, "little")) * m & mask
    value = (value ^ value >> 13) * m & mask
    return value ^ value >> 15
