"""Fixtures of the branch tests: one PostgreSQL for all, a database per test, and processes that end with it."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from branch_process import Database, FakeCoordinator  # noqa: E402
from postgres import PostgresCluster  # noqa: E402

@pytest.fixture(scope="session")
def cluster():
    # What kill -9 takes away is what never left the server's memory; the system's cache survives it, so
    # fsync tests nothing here and costs minutes. A slow WAL writer shows commits that were not flushed.
    settings = {"fsync": "off", "wal_writer_delay": "10s", "deadlock_timeout": "100ms"}
    with PostgresCluster(settings=settings) as cluster:
        yield cluster


@pytest.fixture
def database(cluster):
    database = Database(cluster)
    yield database
    database.close()


@pytest.fixture
def databases(cluster):
    """Three of them, for three participants."""
    three = [Database(cluster) for _ in range(3)]
    yield three
    for database in three:
        database.close()


@pytest.fixture
def coordinator():
    coordinator = FakeCoordinator()
    yield coordinator
    coordinator.close()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(32) as pool:
        yield pool
